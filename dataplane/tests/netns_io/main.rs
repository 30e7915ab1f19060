//! TUN queues, UDP and raw sockets against the real kernel, in a network namespace of this program's own.
//!
//! Needs `/dev/net/tun` and either root or user namespaces. Without them it says so loudly and counts its tests as skipped;
//! `XVPN_REQUIRE_NETNS=1` makes that a failure.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

mod gateways;
mod netns;
mod sockets;
mod tun;

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| {
                if exact {
                    name == f.as_str()
                } else {
                    name.contains(f.as_str())
                }
            })
    };
    let tests: Vec<Test> = [tun::TESTS, sockets::TESTS, gateways::TESTS]
        .concat()
        .into_iter()
        .filter(|t| wanted(t.0))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = prepare() {
        println!("SKIPPED: {reason}");
        let required = std::env::var_os("XVPN_REQUIRE_NETNS").is_some_and(|value| value == "1");
        let (failed, skipped) = if required {
            (tests.len(), 0)
        } else {
            (0, tests.len())
        };
        println!("0 passed, {failed} failed, {skipped} skipped");
        return if required {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let mut failed = 0;
    for (name, test) in &tests {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    println!("{} passed, {failed} failed, 0 skipped", tests.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn prepare() -> Result<(), String> {
    if !Path::new(netns::TUN_DEVICE).exists() {
        return Err(format!("{} does not exist", netns::TUN_DEVICE));
    }
    netns::enter_new().map_err(|error| format!("no namespace of our own: {error}"))?;
    netns::bring_up("lo").map_err(|error| format!("the loopback interface stays down: {error}"))?;
    match xvpn_dataplane::io::tun::TunQueue::open(Path::new(netns::TUN_DEVICE), "probe", 2) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
