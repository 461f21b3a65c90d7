//! Real services of a test's own, which it may break: `scripts/services` with a folder of its own.

use std::{path::Path, process::Command};

/// Runs the script to its end; `state` is the folder where it notes what runs. Gives what it printed.
pub fn services(state: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    try_services(state, arguments, variables).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// An error is what the script says why it failed.
pub fn try_services(state: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");
    let mut command = Command::new(script);
    command.args(arguments).env("FINTECH_SERVICES", state).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
