//! Which socket of a group receives a datagram: `SPI % sockets`, so that one queue owns the replay window of an SA.
//!
//! Without this the kernel hashes addresses and ports: all SAs of one peer land on the queue of its 4-tuple, and the SA moves to
//! another queue when a NAT changes the port.
//!
//! ```text
//!   first four octets of the datagram     goes to
//!   SPI (RFC 4303 2.1)                    socket SPI % sockets
//!   0: the non-ESP marker, IKE            socket 0    (0 % sockets)
//!   fewer than four: a keepalive          socket 0    (a load beyond the end ends a classic program with 0)
//! ```
//!
//! A socket's number is the place it took when it was bound, so the sockets of a group are bound in the order of the queues and
//! none leaves before all do. The kernel joins datagrams (UDP_GRO) before it asks, by addresses and ports only: those of
//! several SAs that share both can come in one piece, to the queue of the first. That is safe, for windows are shared without locks
//! ([`ReplayWindow`](crate::sa::ReplayWindow)), but two threads would then write the packets of one flow to the TUN: so SAs on
//! different queues come from different ports ([`OutboundSa::keeps_order`](crate::sa::OutboundSa::keeps_order)).

use std::io;
use std::os::fd::BorrowedFd;

use crate::io::bpf::{self, BPF_A, BPF_ABS, BPF_ALU, BPF_K, BPF_LD, BPF_MOD, BPF_RET, BPF_W, statement};

/// Has the kernel choose among the `sockets` sockets of the group that `fd` belongs to. (Linux 4.5.)
pub(super) fn by_spi(fd: BorrowedFd<'_>, sockets: u32) -> io::Result<()> {
    bpf::attach(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &program(sockets))
}

/// Has the kernel drop whatever arrives at a socket.
pub(super) fn nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    bpf::attach(fd, libc::SO_ATTACH_FILTER, &[statement(BPF_RET | BPF_K, 0)])
}

/// The kernel runs it on the payload of UDP. What it returns is the number of a socket of the group.
fn program(sockets: u32) -> [libc::sock_filter; 3] {
    [
        statement(BPF_LD | BPF_W | BPF_ABS, 0),
        // A zero would be refused by the kernel; there is a socket to attach to.
        statement(BPF_ALU | BPF_MOD | BPF_K, if sockets == 0 { 1 } else { sockets }),
        statement(BPF_RET | BPF_A, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What linux/Documentation/networking/filter.rst says of these three instructions, and of no other.
    fn run(program: &[libc::sock_filter], datagram: &[u8]) -> u32 {
        let mut accumulator = 0u32;
        for instruction in program {
            match (instruction.code, instruction.k) {
                (0x20, at) => {
                    let start = usize::try_from(at).unwrap();
                    match datagram.get(start..).and_then(|rest| rest.first_chunk()) {
                        Some(word) => accumulator = u32::from_be_bytes(*word),
                        None => return 0,
                    }
                }
                (0x94, divisor) => accumulator %= divisor,
                (0x16, _) => return accumulator,
                (code, _) => panic!("instruction {code:#x} is not in the program"),
            }
        }
        panic!("the program does not end")
    }

    #[test]
    fn esp_goes_to_the_queue_of_its_spi_and_the_rest_to_the_first() {
        let to = |datagram: &[u8]| run(&program(4), datagram);
        assert_eq!(to(&[0xc0, 0xff, 0xee, 0x02, 0, 0, 0, 1, 9, 9]), 2);
        assert_eq!(to(&[0xc0, 0xff, 0xee, 0x03, 0, 0, 0, 1]), 3);
        assert_eq!(
            to(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
            3,
            "the SPI has no sign"
        );
        assert_eq!(to(&[0, 0, 0, 0, 0x29, 0x20, 0x22, 0x08]), 0, "IKE");
        assert_eq!(to(&[0xff]), 0, "a keepalive");
        assert_eq!(to(&[]), 0);
        assert_eq!(to(&[1, 2, 3]), 0, "too short");
        assert_eq!(run(&program(3), &[0, 0, 1, 1, 7]), 257 % 3);
        assert_eq!(run(&program(0), &[0, 0, 1, 1, 7]), 0);
    }

    #[test]
    fn the_instructions_are_those_of_the_kernel() {
        let codes = program(2).map(|instruction| (instruction.code, instruction.k));
        // BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 2), BPF_STMT(BPF_RET | BPF_A, 0)
        assert_eq!(codes, [(0x20, 0), (0x94, 2), (0x16, 0)]);
    }
}
