//! TUN queues, UDP and raw sockets against the real kernel, in a network namespace of this program's own.
//!
//! Needs `/dev/net/tun` and either root or user namespaces. Without them it says so loudly and counts its tests as skipped;
//! `XVPN_REQUIRE_NETNS=1` makes that a failure.

#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

mod gateways;
mod lab;
mod lanes;
mod loss;
mod netns;
mod order;
mod refusals;
mod sockets;
mod tun;

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let tests = chosen(&arguments, asked("--exact"));
    if asked("--list") {
        // cargo-nextest asks twice, the second time for ignored tests; there is none.
        let listed = if asked("--ignored") { &[] } else { &tests[..] };
        listed.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = prepare() {
        println!("SKIPPED: {reason}");
        let (failed, skipped) = if required() {
            (tests.len(), 0)
        } else {
            (0, tests.len())
        };
        println!("0 passed, {failed} failed, {skipped} skipped");
        return if required() {
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

/// Whether what cannot be tested here is a failure.
fn required() -> bool {
    std::env::var_os("XVPN_REQUIRE_NETNS").is_some_and(|value| value == "1")
}

/// The tests that the arguments of a usual test program choose.
fn chosen(arguments: &[String], exact: bool) -> Vec<Test> {
    let previous = std::iter::once("").chain(arguments.iter().map(String::as_str));
    let filters: Vec<&str> = previous
        .zip(arguments)
        .filter(|(previous, argument)| !argument.starts_with('-') && *previous != "--format")
        .map(|(_, argument)| argument.as_str())
        .collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if exact {
                    name == *filter
                } else {
                    name.contains(filter)
                }
            })
    };
    let all = [
        tun::TESTS,
        sockets::TESTS,
        gateways::TESTS,
        order::TESTS,
        lanes::TESTS,
        refusals::TESTS,
    ]
    .concat();
    all.into_iter().filter(|test| wanted(test.0)).collect()
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
