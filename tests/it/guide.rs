//! Runs the commands of `docs/KafkaTestingGuide.md` in one shell, as a reader would, on services of their own, and
//! compares what they print with what the guide shows.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::backend::Folder;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const FENCE: &str = "```";
/// Printed between two blocks, so that their outputs can be told apart.
const MARK: &str = "=== block";

struct Block {
    commands: String,
    /// What the guide shows behind it.
    shown: Vec<String>,
}

/// The blocks that are run (`sh`), each with the one behind it that shows its output (`text`).
fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix(FENCE) else { continue };
        let body: Vec<String> = lines.by_ref().take_while(|line| *line != FENCE).map(str::to_owned).collect();
        match kind {
            "sh" => blocks.push(Block { commands: body.join("\n"), shown: Vec::new() }),
            "text" => blocks.last_mut().unwrap().shown = body,
            _ => {}
        }
    }
    blocks
}

/// Digits and hexadecimal ids differ from run to run, and so does the space that lines them up.
fn normalized(line: &str) -> String {
    let mut normalized = String::new();
    for word in line.split_whitespace() {
        let mut is_number = false;
        for c in word.chars() {
            if c.is_ascii_digit() {
                if !is_number {
                    normalized.push('#');
                }
                is_number = true;
            } else {
                normalized.push(c);
                is_number = false;
            }
        }
        normalized.push(' ');
    }
    normalized
}

/// Where a number is the point, it is compared as it stands.
fn is_exact(line: &str) -> bool {
    line.chars().all(|c| c.is_ascii_digit()) || line.starts_with("LAG ") || line.starts_with("position:")
}

#[test]
fn every_command_of_the_guide_does_what_it_shows() {
    let guide = fs::read_to_string(format!("{ROOT}/docs/KafkaTestingGuide.md")).unwrap();
    let blocks = blocks(&guide);
    assert!(blocks.len() > 15);
    let state = Folder::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    // A command that fails ends the session; whatever is left of it is stopped.
    let mut script =
        "set -eu\ntrap 'for job in $(jobs -p); do kill -9 $job; done; scripts/services down' EXIT\n"
            .to_owned();
    for block in &blocks {
        script.push_str(&block.commands.replace("5153", &port));
        script.push_str("\necho '");
        script.push_str(MARK);
        script.push_str("'\n");
    }
    let output = run(
        &script.replace("target/guide", &format!("{}/guide", state.path().display())),
        &port,
        state.path(),
    );
    let printed: Vec<&str> = output.split(&format!("{MARK}\n")).collect();
    assert_eq!(printed.len(), blocks.len() + 1, "the session ended early:\n{output}");
    for (block, printed) in blocks.iter().zip(printed) {
        let lines: Vec<String> = printed.lines().map(normalized).collect();
        for shown in &block.shown {
            let found = if is_exact(shown) {
                printed.lines().any(|line| line.trim() == shown.trim())
            } else {
                lines.contains(&normalized(shown))
            };
            assert!(found, "{}\n\nshould print\n{shown}\n\nand printed\n{printed}", block.commands);
        }
    }
}

/// Gives what the session prints on standard output and standard error, in one.
fn run(script: &str, port: &str, state: &Path) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_fintech")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash")
        .args(["-c", "exec bash 2>&1"])
        .current_dir(ROOT)
        .env("PATH", path)
        .env("FINTECH_SERVICES", state.join("services"))
        .env("Server__ApiAddress", format!("127.0.0.1:{port}"))
        .env("Kafka__SessionTimeoutMilliseconds", "6000")
        .env_remove("ConnectionStrings__DefaultConnection")
        .env_remove("Kafka__BootstrapServers")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
