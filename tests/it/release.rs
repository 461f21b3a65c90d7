//! What a release is made of and is asked of the executable: its version, the same wherever it stands; the manual; what shells
//! complete.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    backend::{Folder, Kind},
    program::{Ended, run},
    server::Server,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = run(folder, arguments, &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

/// The version stands in Cargo.toml alone; whatever tells one tells that.
#[test]
fn the_version_is_the_same_wherever_it_is_told() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")).unwrap();
    let version = version.strip_suffix('"').unwrap();
    let folder = Folder::new();
    assert_eq!(said(folder.path(), &["-V"]), format!("fintech {version}\n"));
    // A release says behind it which commit it is of.
    let long = said(folder.path(), &["--version"]);
    let commit =
        long.trim_end().strip_prefix(&format!("fintech {version}")).unwrap_or_else(|| panic!("{long}"));
    assert!(commit.is_empty() || commit.starts_with(" (") && commit.len() >= 43, "{long}");
    assert_eq!(said(folder.path(), &["events", "tail", "-V"]), format!("fintech-events-tail {version}\n"));

    let server = Server::start(Kind::Sqlite);
    assert_eq!(server.get("/openapi.json").expect(200).json["info"]["version"], version);
    assert_eq!(server.get("/health").expect(200).json["version"], version);
    let asyncapi = fs::read_to_string(root().join("docs/asyncapi.json")).unwrap();
    let asyncapi: Value = serde_json::from_str(&asyncapi).unwrap();
    assert_eq!(asyncapi["info"]["version"], version);
}

/// A page a command, each of which groff can set without a complaint.
#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = Folder::new();
    let pages = folder.path().join("man");
    said(folder.path(), &["man", "--out", pages.to_str().unwrap()]);
    let names: Vec<PathBuf> = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["fintech", "fintech-reconcile", "fintech-events-tail", "fintech-man"] {
        assert!(names.contains(&pages.join(format!("{name}.1"))), "{name} is not in {names:?}");
    }
    assert!(names.len() > 40, "{}", names.len());
    for page in &names {
        let set = Command::new("groff")
            // Of UTF-8, as man calls it; how words are set in a line is no complaint about the page.
            .args(["-K", "utf8", "-man", "-Tutf8", "-ww", "-Wbreak", "-z"])
            .arg(page)
            .stdin(Stdio::null())
            .output()
            .expect("groff is Debian's groff-base");
        let complaints = String::from_utf8_lossy(&set.stderr).into_owned();
        assert!(set.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
    }
    let first = fs::read_to_string(pages.join("fintech.1")).unwrap();
    assert_eq!(said(folder.path(), &["man"]), first);
    for part in ["EXIT STATUS", "Kafka:BootstrapServers", "fintech\\-reconcile(1)"] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
}

/// Settings that are wrong where somebody stands do not spoil the shell that starts there.
#[test]
fn completions_and_the_manual_ask_for_no_settings() {
    let folder = Folder::new();
    fs::write(folder.path().join("appsettings.json"), "{").unwrap();
    assert!(said(folder.path(), &["completions", "zsh"]).starts_with("#compdef fintech"));
    assert!(said(folder.path(), &["completions", "fish"]).contains("complete -c fintech"));
    assert!(said(folder.path(), &["man"]).contains(".SH NAME"));
    assert_eq!(run(folder.path(), &["completions", "dos"], &[]).code, Some(2));
}

/// What bash offers for the last of these words, by the script as bash reads it.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    // As readline does: it looks up the command's function, and hands it the command, the word and the one before it.
    const ASK: &str = r#"
        set -e
        source "$1"; shift
        function=$(complete -p fintech | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        "$function" fintech "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let ended = Command::new("bash")
        .args(["--norc", "-c", ASK, "bash"])
        .arg(script)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && complaints.is_empty(), "{words:?}: {complaints}");
    String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    let folder = Folder::new();
    let script = folder.path().join("fintech.bash");
    fs::write(&script, said(folder.path(), &["completions", "bash"])).unwrap();
    assert_eq!(completed(&script, &["fintech", "rec"]), ["reconcile"]);
    assert_eq!(completed(&script, &["fintech", "rel"]), ["relay"]);
    assert_eq!(completed(&script, &["fintech", "events", "ver"]), ["verify"]);
    assert_eq!(completed(&script, &["fintech", "reconcile", "--fol"]), ["--follow"]);
    assert_eq!(completed(&script, &["fintech", "completions", "fi"]), ["fish"]);
}
