//! A real browser for a test: one file of `tests/browser`, run by Node.js against the program.

use std::{path::PathBuf, process::Command};

use super::server::Server;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/browser");
/// Each names a part of the browser; `scripts/browser` gives both.
const CHROMIUM: &str = "FINTECH_CHROMIUM";
const FOLDER: &str = "FINTECH_BROWSER";

/// Runs `tests/browser/FILE` against the console of a server. `variables` are what the file's first lines ask for.
#[track_caller]
pub fn browse(file: &str, server: &Server, variables: &[(&str, &str)]) {
    let base = server.operations_url();
    // Pictures of what failed.
    let kept = beside_the_build("failed");
    let mut all = vec![("BASE_URL", base.as_str()), ("KEPT", kept.to_str().unwrap())];
    all.extend(variables);
    run(file, &all);
}

/// Runs a file that needs no server. All of its tests must pass, and there must be some; what it printed is shown otherwise.
#[track_caller]
pub fn run(file: &str, variables: &[(&str, &str)]) {
    variable(CHROMIUM);
    let output = Command::new("node")
        .args(["--test", "--test-reporter=spec"])
        .arg(format!("{FILES}/{file}"))
        // Who signs in is the test's to say.
        .env_remove("OPERATOR")
        .env_remove("PASSWORD")
        .env_remove("NODE_OPTIONS")
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("Node.js does not run: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{file} failed:\n{stdout}{stderr}");
    assert!(count(&stdout, "pass") > 0, "{file} tested nothing:\n{stdout}{stderr}");
    assert_eq!(count(&stdout, "skipped") + count(&stdout, "todo"), 0, "{file} left something out:\n{stdout}");
}

/// Of the reporter's last lines, such as `ℹ pass 15`.
fn count(output: &str, what: &str) -> u32 {
    let mut lines = output.lines().rev().filter_map(|line| line.strip_prefix("ℹ "));
    lines.find_map(|line| line.strip_prefix(what)?.trim().parse().ok()).unwrap_or(0)
}

/// A folder or file beside what npm fetched.
pub fn beside_the_build(name: &str) -> PathBuf {
    PathBuf::from(variable(FOLDER)).join(name)
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, or eval \"$(scripts/browser)\" && cargo test")
    })
}
