//! What the kernel has dropped on the way of packets through two gateways.

use std::fs;

use crate::lab::Side;

/// Drops that the kernel has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drops {
    /// On loopback and the sockets of the gateways.
    wire: u64,
    /// At the interfaces of the tunnel: their readers were late.
    interfaces: u64,
}

impl Drops {
    /// So far.
    pub(crate) fn of(sides: &[Side]) -> Self {
        let devices = |side: &Side| side.host.run(|| at_device("xvpn0"));
        Self {
            wire: at_device("lo") + at_sockets(),
            interfaces: sides.iter().map(devices).sum(),
        }
    }

    /// As many packets as were lost since at most: on the wire up to 64 of them travel in one piece (UDP_SEGMENT, UDP_GRO), and whatever
    /// its length the kernel counts the loss of a piece as one.
    pub(crate) fn at_most_since(self, before: Self) -> u64 {
        let wire = self.wire.saturating_sub(before.wire);
        wire * MOST_IN_ONE + self.interfaces.saturating_sub(before.interfaces)
    }
}

/// Those that this interface of the thread's namespace has counted, both ways.
fn at_device(device: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let numbers = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    let numbers: Vec<u64> = numbers
        .unwrap()
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    // bytes packets errs drop fifo frame compressed multicast, once for each direction.
    numbers[3] + numbers[11]
}

/// Those that found the buffer of a socket of the thread's namespace full.
pub(crate) fn at_sockets() -> u64 {
    let of = |file: &&str| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        let last = |line: &str| line.split_whitespace().next_back()?.parse::<u64>().ok();
        text.lines().skip(1).filter_map(last).sum::<u64>()
    };
    ["udp", "udp6", "raw", "raw6"].iter().map(of).sum()
}

const MOST_IN_ONE: u64 = 64;
