//! Classic BPF programs (linux/bpf_common.h), run by the kernel for each packet of a socket.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::io::sys::{check, socklen};

/// One instruction that does not branch.
pub(crate) const fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on if A is `k`, else skips one instruction.
pub(crate) const fn unless_equal_skip(k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: BPF_JMP | BPF_JEQ | BPF_K,
        jt: 0,
        jf: 1,
        k,
    }
}

/// Gives `program` to the socket as its `option`, SO_ATTACH_FILTER or SO_ATTACH_REUSEPORT_CBPF.
pub(crate) fn attach(fd: BorrowedFd<'_>, option: c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let attached = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    let len = socklen(size_of::<libc::sock_fprog>());
    // SAFETY: `attached` points at `program`, which outlives the call; the kernel copies it and writes nothing.
    check(unsafe {
        let value = (&raw const attached).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, len)
    })
    .map(drop)
}

pub(crate) const BPF_LD: u16 = 0x00;
pub(crate) const BPF_LDX: u16 = 0x01;
pub(crate) const BPF_ALU: u16 = 0x04;
pub(crate) const BPF_JMP: u16 = 0x05;
pub(crate) const BPF_RET: u16 = 0x06;
pub(crate) const BPF_W: u16 = 0x00;
pub(crate) const BPF_B: u16 = 0x10;
pub(crate) const BPF_ABS: u16 = 0x20;
pub(crate) const BPF_IND: u16 = 0x40;
pub(crate) const BPF_MSH: u16 = 0xa0;
pub(crate) const BPF_MOD: u16 = 0x90;
pub(crate) const BPF_JEQ: u16 = 0x10;
pub(crate) const BPF_K: u16 = 0x00;
pub(crate) const BPF_A: u16 = 0x10;
