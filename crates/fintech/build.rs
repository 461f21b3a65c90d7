//! Says which commit a release is of: `FINTECH_REVISION`, and `FINTECH_VERSION` as `fintech --version` shows it.
//!
//! Nothing of the machine, the folder or the moment is told, so the same commit gives the same bytes. A build for
//! development tells no commit: each new one would have it compiled again. Sources without their git tree, as in an image's
//! build, are told theirs in the variable `FINTECH_COMMIT`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const VARIABLE: &str = "FINTECH_COMMIT";
const UNKNOWN: &str = "unknown";
/// Behind a commit from which the sources differ.
const MODIFIED: &str = "-modified";
/// What the program is made of; what else is changed does not make it another.
const SOURCES: [&str; 6] = ["Cargo.toml", "Cargo.lock", ".cargo", "bench", "crates", "schemas"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo tells the version");
    let given = env::var(VARIABLE).ok().filter(|commit| !commit.is_empty() && commit != UNKNOWN);
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_git).flatten());
    if let Some(commit) = &commit {
        let digits = commit.strip_suffix(MODIFIED).unwrap_or(commit);
        let is_hash = digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(
            is_hash,
            "{VARIABLE} must be 40 hexadecimal digits, {MODIFIED} behind them or not, and is {commit}"
        );
    }
    println!("cargo::rustc-env=FINTECH_RUST_VERSION={}", rust_version());
    let shown = commit.as_ref().map_or(version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=FINTECH_VERSION={shown}");
    println!("cargo::rustc-env=FINTECH_REVISION={}", commit.as_deref().unwrap_or(UNKNOWN));
}

/// Of the compiler that builds this, such as 1.95.0.
fn rust_version() -> String {
    let rustc = env::var_os("RUSTC").expect("cargo tells its compiler");
    let output = Command::new(rustc).arg("--version").output().expect("a compiler says its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).expect("rustc VERSION").to_owned()
}

/// The commit of these sources, where they are a git tree of their own and not a folder in somebody else's.
fn of_git() -> Option<String> {
    let root = fs::canonicalize("../..").ok()?;
    let top = git(&root, &["rev-parse", "--show-toplevel"])?;
    if fs::canonicalize(top).ok()? != root {
        return None;
    }
    let commit = git(&root, &["rev-parse", "HEAD"])?;
    let branch = git(&root, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "packed-refs", &branch] {
        let path = git(&root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        // One that is not there would count as changed each time.
        if let Some(path) = path.filter(|path| path.is_file()) {
            watch(&path);
        }
    }
    for source in SOURCES {
        watch(&root.join(source));
    }
    let status = ["--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--"];
    let changed = git(&root, &[&status[..], &SOURCES[..]].concat())?;
    let modified = if changed.is_empty() { "" } else { MODIFIED };
    Some(format!("{commit}{modified}"))
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

/// What git says, without the end of its line; `None`: it does not know, or is not there.
fn git(root: &PathBuf, arguments: &[&str]) -> Option<String> {
    let ended = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let said = String::from_utf8(ended.stdout).ok()?;
    ended.status.success().then(|| said.trim_end().to_owned())
}
