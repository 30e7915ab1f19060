//! Which queue of an interface the kernel gives a packet to: always the same for a flow.
//!
//! Left alone the kernel hashes flows, too, but lets a flow follow its replies: when one is written to another queue, the flow
//! moves there, and back three seconds after the last. What still waits in the queue it left is overtaken. And as a queue owns
//! what arrives on an SA (`io/udp/steer.rs`), all flows of a tunnel with one SA would end up on one queue.
//!
//! So the kernel is given a program (TUNSETSTEERINGEBPF, Linux 4.16) that hashes what does not change in a flow:
//!
//! ```text
//!   TCP and UDP, whole         sum of the addresses, sum of the ports   (both directions of a flow have the same)
//!   anything else, fragments   sum of the addresses
//! ```
//!
//! On one SA two queues seal at once, so its packets leave out of order, though no flow does: by less than half the peer's replay
//! window, for which the queues wait for each other (`sa/departure.rs`). With a window of 32 or 64 packets (the default of
//! old and of small ones) they would wait at each batch; so a tunnel is spread only if its peer is known to look further back, or
//! the operator wants it ([`Spread`]).
//!
//! It needs bpf(2), so CAP_BPF, or a kernel that lets everybody load socket filters. Which packets are in pieces and which are
//! not may differ within a flow of UDP; those two kinds keep their order among themselves only.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::device::ior;
use crate::io::sys::check;

/// The programs, loaded: by a process that may give up the right to do so before it opens interfaces.
///
/// Concurrency: cloned and shared freely; interfaces keep what they need.
#[derive(Clone, Debug)]
pub struct Steering {
    flows: Arc<OwnedFd>,
    /// For each queue one that knows no other.
    single: Arc<[OwnedFd]>,
}

/// The queues of an interface that its packets are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All, flow by flow.
    Flows,
    /// One.
    Queue(usize),
}

impl Steering {
    /// Loads them into the kernel, for interfaces of so many queues.
    pub fn load(queues: usize) -> io::Result<Self> {
        let single = (0..queues).map(|queue| {
            let queue = i32::try_from(queue).map_err(|_| io::ErrorKind::InvalidInput)?;
            load_program(&[with_constant(SET, 0, queue), jump(EXIT, 0, 0)])
        });
        Ok(Self {
            single: single.collect::<io::Result<_>>()?,
            flows: Arc::new(load_program(&program())?),
        })
    }

    /// Gives one to the interface that `queue` is one of.
    pub(super) fn attach(&self, queue: BorrowedFd<'_>, spread: Spread) -> io::Result<()> {
        let program = match spread {
            Spread::Flows => &*self.flows,
            Spread::Queue(index) => self.single.get(index).ok_or(io::ErrorKind::InvalidInput)?,
        };
        let program: c_int = program.as_raw_fd();
        // SAFETY: TUNSETSTEERINGEBPF reads an int from where it is pointed to, which outlives the call.
        check(unsafe { libc::ioctl(queue.as_raw_fd(), TUNSETSTEERINGEBPF, &raw const program) }).map(drop)
    }
}

fn load_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = Load {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        count: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr().expose_provenance() as u64,
        // It calls no function of the kernel's, so the kernel does not mind which.
        license: c"Apache-2.0".as_ptr().expose_provenance() as u64,
        log: [0; 2],
        version: [0; 2],
    };
    // SAFETY: `attributes` is the beginning of a union bpf_attr, of the size that is given; `instructions` and the license
    // outlive the call. The kernel copies all three and writes nothing.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<Load>(),
        )
    };
    let fd = check(c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What BPF_PROG_LOAD reads of a `union bpf_attr`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    /// Level and size, then the address, of a log that nobody asks for.
    log: [u64; 2],
    version: [u32; 2],
}

/// A `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The program. Register 6 must hold the packet for loads, which go to register 0 and end the program with 0 beyond the end of
/// the packet; 7 is the sum of the addresses, 8 that of the ports, 9 the first octet.
fn program() -> Vec<Instruction> {
    let mut code = vec![
        whole_copy(6, 1),
        load(OCTET, 0),
        copy(9, 0),
        with_constant(SHIFT_RIGHT, 0, 4),
        with_constant(SET, 7, 0),
        with_constant(SET, 8, 0),
        // The version: IPv4 comes next, IPv6 behind it.
        jump(IF_EQUAL, 6, i16::try_from(IPV4_LEN + 1).unwrap_or(0)),
        jump(UNLESS_EQUAL, 4, TO_MIX),
    ];
    let ipv4 = [
        load(WORD, 12),
        copy(7, 0),
        load(WORD, 16),
        with_register(ADD, 7, 0),
        // More fragments, or an offset.
        load(HALF, 6),
        with_constant(AND, 0, 0x3fff),
        jump(UNLESS_EQUAL, 0, TO_MIX),
        load(OCTET, 9),
        jump(IF_EQUAL, TCP, 1),
        jump(UNLESS_EQUAL, UDP, TO_MIX),
        // The header's length in octets; the ports follow it.
        with_constant(AND, 9, 0x0f),
        with_constant(SHIFT_LEFT, 9, 2),
        load_behind(HALF, 9, 0),
        copy(8, 0),
        load_behind(HALF, 9, 2),
        with_register(ADD, 8, 0),
        jump(ALWAYS, 0, TO_MIX),
    ];
    debug_assert_eq!(ipv4.len(), IPV4_LEN);
    code.extend(ipv4);
    for word in (8..40).step_by(4) {
        code.extend([load(WORD, word), with_register(ADD, 7, 0)]);
    }
    code.extend([
        load(OCTET, 6),
        jump(IF_EQUAL, TCP, 1),
        jump(UNLESS_EQUAL, UDP, TO_MIX),
        load(HALF, 40),
        copy(8, 0),
        load(HALF, 42),
        with_register(ADD, 8, 0),
    ]);
    let mix = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        if instruction.offset == TO_MIX {
            instruction.offset = i16::try_from(mix - at - 1).unwrap_or(0);
        }
    }
    // The last steps of MurmurHash3, so that neighbouring addresses and ports are not neighbours.
    code.extend([with_constant(MULTIPLY, 7, SPREAD), with_register(ADD, 7, 8)]);
    for (shift, factor) in [(16, Some(FIRST)), (13, Some(SECOND)), (16, None)] {
        code.extend([
            copy(0, 7),
            with_constant(SHIFT_RIGHT, 0, shift),
            with_register(XOR, 7, 0),
        ]);
        code.extend(factor.map(|factor| with_constant(MULTIPLY, 7, factor)));
    }
    code.extend([copy(0, 7), jump(EXIT, 0, 0)]);
    code
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    // Two bit fields of four bits, the destination first.
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

const fn load(size: u8, at: i32) -> Instruction {
    instruction(LOAD_ABSOLUTE | size, 0, 0, 0, at)
}

const fn load_behind(size: u8, register: u8, at: i32) -> Instruction {
    instruction(LOAD_INDIRECT | size, 0, register, 0, at)
}

const fn with_constant(operation: u8, to: u8, constant: i32) -> Instruction {
    instruction(ALU | operation, to, 0, 0, constant)
}

const fn with_register(operation: u8, to: u8, from: u8) -> Instruction {
    instruction(ALU | FROM_REGISTER | operation, to, from, 0, 0)
}

const fn copy(to: u8, from: u8) -> Instruction {
    with_register(SET, to, from)
}

/// All 64 bits: a pointer.
const fn whole_copy(to: u8, from: u8) -> Instruction {
    instruction(ALU64 | FROM_REGISTER | SET, to, from, 0, 0)
}

/// Compares register 0.
const fn jump(condition: u8, constant: i32, offset: i16) -> Instruction {
    instruction(JUMP | condition, 0, 0, offset, constant)
}

/// Stands for the way to the mixing.
const TO_MIX: i16 = i16::MIN;
const IPV4_LEN: usize = 17;
const TCP: i32 = 6;
const UDP: i32 = 17;
const SPREAD: i32 = 0x9e37_79b1_u32.cast_signed();
const FIRST: i32 = 0x85eb_ca6b_u32.cast_signed();
const SECOND: i32 = 0xc2b2_ae35_u32.cast_signed();

// linux/bpf.h and linux/bpf_common.h
const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const ALU: u8 = 0x04;
const JUMP: u8 = 0x05;
const ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const LOAD_ABSOLUTE: u8 = 0x20;
const LOAD_INDIRECT: u8 = 0x40;
const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const OCTET: u8 = 0x10;
const ADD: u8 = 0x00;
const MULTIPLY: u8 = 0x20;
const AND: u8 = 0x50;
const SHIFT_LEFT: u8 = 0x60;
const SHIFT_RIGHT: u8 = 0x70;
const XOR: u8 = 0xa0;
const SET: u8 = 0xb0;
const ALWAYS: u8 = 0x00;
const IF_EQUAL: u8 = 0x10;
const UNLESS_EQUAL: u8 = 0x50;
const EXIT: u8 = 0x90;

// linux/if_tun.h
const TUNSETSTEERINGEBPF: libc::Ioctl = ior(224, size_of::<c_int>());

#[cfg(test)]
#[path = "steer_tests.rs"]
mod tests;
