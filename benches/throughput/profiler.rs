//! Where the gateways' time goes, as `perf` sees it. In a run of its own, so that the figures do not pay for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bed::Bed;
use crate::contestant::Outcome;
use crate::{measure, tcp};

/// Sends one TCP stream from a to b, and leaves `PREFIX.md`, a table of what the time of both gateways went into, and `PREFIX-gw-a.txt`
/// and `PREFIX-gw-b.txt`: symbols, the costliest first. The recordings stay beside them (`.data`).
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
            command.args(["record", "-q", "-g", "-F", "1997", "-p", &pids.join(","), "-o"]);
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
    let mut samples = Vec::new();
    for file in &files {
        let perf = |arguments: &[&str]| {
            let mut command = Command::new("perf");
            command
                .args(arguments)
                .arg("-i")
                .arg(format!("{file}.data"))
                .output()
        };
        let report = perf(&[
            "report",
            "--stdio",
            "--no-children",
            "--sort",
            "symbol",
            "-g",
            "none",
        ])?;
        fs::write(format!("{file}.txt"), report.stdout)?;
        let script = perf(&["script", "-F", "ip,sym"])?;
        samples.push(count(&String::from_utf8_lossy(&script.stdout)));
    }
    fs::write(format!("{}.md", prefix.display()), table(&samples))?;
    Ok(())
}

/// Samples by what they were in. A sample is a paragraph of `perf script`, a frame a line, the innermost first.
fn count(script: &str) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for sample in script.split("\n\n") {
        let frames = sample.lines().filter_map(|line| line.trim().split_once(' '));
        let frames: Vec<&str> = frames.map(|(_, symbol)| symbol.trim()).collect();
        if !frames.is_empty() {
            *counts.entry(place(&frames)).or_insert(0) += 1;
        }
    }
    counts
}

/// What a sample was in: a system call and which part of it, or our own code.
fn place(frames: &[&str]) -> &'static str {
    let within = |names: &[&str]| {
        frames
            .iter()
            .any(|frame| names.iter().any(|name| frame.starts_with(name)))
    };
    let soft = within(&["handle_softirqs", "__do_softirq", "do_softirq"]);
    let copies = within(&[
        "_copy_to_iter",
        "_copy_from_iter",
        "ip_generic_getfrag",
        "skb_copy_datagram",
    ]);
    if within(&["__x64_sys_sendmmsg"]) {
        return match () {
            () if soft => "`sendmmsg`: soft interrupts, which receive and join for the other gateway",
            () if within(&["__skb_gso_segment", "skb_mac_gso_segment"]) => {
                "`sendmmsg`: cutting runs of packets"
            }
            () if copies => "`sendmmsg`: copying",
            () => "`sendmmsg`: the rest",
        };
    }
    if within(&["__x64_sys_writev", "do_writev", "vfs_writev"]) {
        return match () {
            () if soft => "`writev` to the TUN: soft interrupts, on the way to the host and in its TCP",
            () if copies => "`writev` to the TUN: copying",
            () => "`writev` to the TUN: the rest, routing and the next interface",
        };
    }
    let calls = [
        (
            &["ksys_read", "__x64_sys_read"][..],
            ["`read` from the TUN: copying", "`read` from the TUN: the rest"],
        ),
        (
            &["__x64_sys_recvmmsg"],
            ["`recvmmsg`: copying", "`recvmmsg`: the rest"],
        ),
        (&["__x64_sys_epoll"], ["`epoll_wait`"; 2]),
        (&["do_syscall_64"], ["other system calls"; 2]),
        (&["asm_sysvec", "asm_common_interrupt"], ["interrupts"; 2]),
    ];
    for (names, [copying, rest]) in calls {
        if within(names) {
            return if copies { copying } else { rest };
        }
    }
    let leaf = frames.first().copied().unwrap_or_default();
    let named = |names: &[&str]| names.iter().any(|name| leaf.contains(name));
    match () {
        () if named(&["aes_", "gcm", "ghash", "aead", "chacha", "poly1305"]) => "ours: the cipher",
        () if named(&["checksum"]) => "ours: checksums",
        () if named(&["memcpy", "memmove"]) => "ours: copying",
        () => "ours: the rest",
    }
}

/// Percent of the samples of both gateways.
fn table(samples: &[BTreeMap<&'static str, usize>]) -> String {
    let mut text =
        "| percent of samples | gateway a, encrypting | gateway b, decrypting |\n|---|---|---|\n".to_owned();
    let places: BTreeSet<&str> = samples.iter().flat_map(|of| of.keys().copied()).collect();
    for place in places {
        let shares = samples.iter().map(|of| {
            let all: usize = of.values().sum();
            let share = of.get(place).copied().unwrap_or(0) as f64 * 100.0 / all.max(1) as f64;
            format!("{share:.1}")
        });
        let cells: Vec<String> = std::iter::once(place.to_owned()).chain(shares).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}
