//! The executable, run to its end or started.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Output, Stdio},
};

/// The real program in a folder of its own, with nothing of the environment of the tests but `variables`.
pub fn command(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    // A shell that ignores SIGXFSZ becomes the program: at a limit of file size a write fails, as it does
    // on a full disk, instead of ending the process.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(executable())
        .current_dir(folder)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

/// `FINTECH_TEST_PROGRAM` names another build than the one of these tests: one that lies still while they run long.
fn executable() -> OsString {
    std::env::var_os("FINTECH_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_fintech").into())
}

pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let Output { status, stdout, stderr } = command(folder, arguments, variables).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// For a program that must not start: its one sentence on standard error.
#[track_caller]
pub fn refusal(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let Ended { code, stdout, stderr } = run(folder, arguments, variables);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "not one sentence: {stderr}");
    assert!(stderr.starts_with("fintech: "), "{stderr}");
    assert!(!stdout.contains("Listening"), "{stdout}");
    stderr
}
