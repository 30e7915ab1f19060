//! What the README tells a newcomer to run.

use std::process::Command;

use crate::harness::runner::{Failure, Outcome};

/// `xvpn demo`: ends well, says so, and leaves nothing.
pub fn succeeds() -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_xvpn"))
        .arg("demo")
        .output()
        .map_err(|error| Failure::from(format!("xvpn demo: {error}")))?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() && said.contains("Every step was verified, nothing is left behind.") {
        return Ok(());
    }
    Err(format!("xvpn demo: {}\n{said}", output.status).into())
}
