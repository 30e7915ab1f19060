//! Where the gateways' time goes, as `perf` sees it. In a run of its own, so that the figures do not pay for it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bed::Bed;
use crate::contestant::Outcome;
use crate::{measure, tcp};

/// Sends one TCP stream from a to b, and leaves `PREFIX-gw-a.txt` and `PREFIX-gw-b.txt`: symbols, the costliest first.
/// The recordings stay beside them (`.data`).
pub(crate) fn record(bed: &Bed, pids: &[Vec<u32>; 2], time: Duration, prefix: &Path) -> Outcome {
    if pids.iter().any(Vec::is_empty) {
        return Ok(());
    }
    if let Some(folder) = prefix.parent() {
        fs::create_dir_all(folder)?;
    }
    let files = ["a", "b"].map(|side| format!("{}-gw-{side}", prefix.display()));
    let mut recorders: Vec<Child> = Vec::new();
    let mut failure = None;
    let sides = [&bed.a, &bed.b];
    tcp::run(&bed.a.host, &bed.b.host, bed.b.host_address(), 1, || {
        for ((side, pids), file) in sides.iter().zip(pids).zip(&files) {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            let mut command = side.gateway.command("perf");
            command.args(["record", "-q", "-F", "997", "-p", &pids.join(","), "-o"]);
            command.arg(format!("{file}.data")).args(["--", "sleep"]);
            command.arg(time.as_secs().to_string());
            match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Ok(recorder) => recorders.push(recorder),
                Err(error) => failure = Some(error),
            }
        }
        measure::sleep(time);
        for recorder in &mut recorders {
            if let Err(error) = recorder.wait() {
                failure = Some(error);
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(format!("perf does not record ({error}); it is in the package linux-perf").into());
    }
    for file in &files {
        let mut command = Command::new("perf");
        command.args(["report", "--stdio", "--no-children", "--sort", "symbol", "-i"]);
        let report = command.arg(format!("{file}.data")).output()?;
        fs::write(format!("{file}.txt"), report.stdout)?;
    }
    Ok(())
}
