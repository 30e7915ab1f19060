//! Two clouds on one machine: network namespaces joined by veth pairs, NAT, a sniffer on the public wire, pings and
//! transfers. `xvpn demo` shows itself on it, and the tests in `tests/` stand on it. No root and no tools needed
//! where the machine allows user namespaces.
//!
//! Call [`enter`] first, while the process has a single thread; then build a [`TwoClouds`].

mod classify;
mod daemon;
mod firewall;
mod gateway;
mod link;
mod namespace;
mod nat;
mod netlink;
mod offload;
mod pcap;
mod ping;
mod privilege;
mod sniffer;
mod sys;
mod topology;
mod transfer;

pub use classify::Kind;
pub use daemon::{Daemon, Ended, end_orphan};
pub use firewall::{Barrier, lift_barrier, set_barrier};
pub use gateway::{Gateway, write_secret};
pub use link::{
    add_address, add_route, change_address, drop_addresses, inventory, join, own_network, plain_wire,
    receive_buffer, set_mtu, set_queue_length, set_sysctl, wait_for_carriers,
};
pub use namespace::Namespace;
pub use offload::{set_feature, set_segmentation};
pub use ping::{Answer, Ping, ping};
pub use privilege::{Refused, enter, is_machine_root};
pub use sniffer::{Seen, Sniffer};
pub use topology::{Cloud, TwoClouds};
pub use transfer::{Digest, Transfer, make_file, measure, send_file};

use std::time::{Duration, Instant};

/// From now on Ctrl-C, SIGTERM and SIGHUP do not end this process: see [`interrupted`].
pub fn remember_interrupts() -> std::io::Result<()> {
    sys::remember_interrupts()
}

/// Whether somebody wants us to stop.
pub fn interrupted() -> bool {
    sys::interrupted()
}

/// Takes note of an interrupt that was meant for somebody else, and waits for the next.
pub fn forget_interrupt() {
    sys::forget_interrupt();
}

/// Sends a signal (`libc::SIG*`) to a process.
pub fn signal(pid: u32, signal: i32) -> std::io::Result<()> {
    sys::signal(pid, signal)
}

/// Sends a signal to the process group that a process of ours leads: everything that we start leads one.
pub fn signal_group(pid: u32, signal: i32) -> std::io::Result<()> {
    sys::signal_group(pid, signal)
}

/// Asks `condition` every few milliseconds until it holds, `patience` is over or somebody interrupts. True if it
/// held.
pub fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end || interrupted() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
