//! What the packet path costs.

use serde::{Deserialize, Serialize};

use super::Counter;

/// One queue: a thread with its queue of every interface and its sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Its stages, in the order of an outbound packet, then of an inbound one.
    pub stages: Vec<StageReport>,
    /// Packets it refused, by reason; reasons never seen may be left out.
    #[serde(default)]
    pub discards: Vec<Counter>,
    /// Batches that it sent although another queue, which it had waited for, still held lower sequence numbers of the same SA: what
    /// that queue sends then may come too late for the peer's replay window.
    #[serde(default)]
    pub waits_in_vain: u64,
}

/// What went through one stage since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageReport {
    /// `tun_read`, `seal`, `wire_send`, `wire_receive`, `open`, `tun_write`.
    pub name: String,
    /// Batches.
    pub batches: u64,
    /// Packets; each segment of a super-packet is one.
    pub packets: u64,
    /// Octets of these packets.
    pub octets: u64,
    /// System calls, those that found nothing included; sendmmsg and recvmmsg count once.
    pub system_calls: u64,
    /// Packets of the batches whose time was taken, one in 32.
    pub timed_packets: u64,
    /// Octets of these.
    pub timed_octets: u64,
    /// Nanoseconds these took.
    pub timed_ns: u64,
}

/// Which library seals and opens ESP with a cipher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CipherReport {
    /// Its name in proposals, without what does not matter here.
    pub name: String,
    /// `ring` or `aws-lc`: the faster one when the daemon started.
    pub library: String,
    /// What was measured then.
    pub measured: Vec<CipherSpeed>,
}

/// How fast a library is with a cipher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CipherSpeed {
    /// `ring` or `aws-lc`.
    pub library: String,
    /// Octets that were sealed.
    pub octets: u32,
    /// Nanoseconds for them.
    pub ns: u32,
}

impl StageReport {
    /// Packets per batch.
    pub fn packets_per_batch(&self) -> Option<f64> {
        ratio(self.packets, self.batches)
    }

    /// Octets per system call.
    pub fn octets_per_call(&self) -> Option<f64> {
        ratio(self.octets, self.system_calls)
    }

    /// Nanoseconds per packet, by the sample.
    pub fn ns_per_packet(&self) -> Option<f64> {
        ratio(self.timed_ns, self.timed_packets)
    }

    /// Nanoseconds per octet, by the sample.
    pub fn ns_per_octet(&self) -> Option<f64> {
        ratio(self.timed_ns, self.timed_octets)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a quotient for people")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
