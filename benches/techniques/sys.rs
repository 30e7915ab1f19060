//! The system calls.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub(crate) fn check(returned: i64) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// CPU time of all threads of this process, those of the kernel for its rings included.
pub(crate) fn process_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

pub(crate) fn thread_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` lives for the whole call, and the length is its own.
    let returned = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
    check(returned.into()).map(drop)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: fcntl(2) takes no pointer for these.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.into())? as i32;
    let flags = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }.into()).map(drop)
}

/// Restricts the calling thread to one core.
pub(crate) fn pin(core: usize) {
    // SAFETY: a cpu_set_t is bits, for which zeros are a value; `core` is below their number; it lives for the call. A
    // machine without that core leaves the thread where it is.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % 1024, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Opens a nonblocking TUN in this namespace. Fails if the kernel ignores one of the flags.
pub(crate) fn open_tun(name: &str, flags: i32) -> io::Result<OwnedFd> {
    let fd = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/net/tun")?);
    let mut request = request(name);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | flags;
    request.ifr_ifru.ifru_flags = flags as i16;
    // SAFETY: TUNSETIFF reads and writes a struct ifreq.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }.into())?;
    // SAFETY: TUNGETIFF writes a struct ifreq.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) }.into())?;
    // SAFETY: the kernel has just written the flags.
    let given = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    if given & flags & 0xffff != flags & 0xffff {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel ignores the flag",
        ));
    }
    set_nonblocking(fd.as_fd(), true)?;
    Ok(fd)
}

/// What the dataplane asks of its TUNs.
pub(crate) fn offload(fd: &OwnedFd) -> io::Result<()> {
    let flags = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) }.into())
        .map(drop)
}

pub(crate) fn bring_up(name: &str) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads a struct ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is octets and integers (and a pointer), for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

pub(crate) fn part(octets: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: octets.as_ptr().cast_mut().cast(),
        iov_len: octets.len(),
    }
}

/// `parts` must be writable where they point.
pub(crate) fn readv(fd: BorrowedFd<'_>, parts: &[libc::iovec]) -> io::Result<usize> {
    // SAFETY: the callers' parts lie in buffers of theirs that outlive the call.
    check(unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), parts.len() as i32) } as i64)
}

/// As [`readv`].
pub(crate) fn read(fd: BorrowedFd<'_>, part: libc::iovec) -> io::Result<usize> {
    // SAFETY: as above.
    check(unsafe { libc::read(fd.as_raw_fd(), part.iov_base, part.iov_len) } as i64)
}

pub(crate) fn writev(fd: BorrowedFd<'_>, parts: &[libc::iovec]) -> io::Result<usize> {
    // SAFETY: as above; nothing is written to.
    check(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), parts.len() as i32) } as i64)
}

/// What a message says beside its octets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Beside {
    /// Unless the socket is connected.
    pub(crate) to: Option<SocketAddrV4>,
    /// IP_PKTINFO.
    pub(crate) from: Option<Ipv4Addr>,
    /// IP_TOS.
    pub(crate) class: Option<u8>,
    /// UDP_SEGMENT.
    pub(crate) segment: Option<u16>,
}

/// Messages for sendmmsg(2) and recvmmsg(2), made once: names, control messages and parts stay where they are.
pub(crate) struct Messages {
    pub(crate) headers: Vec<libc::mmsghdr>,
    _parts: Vec<libc::iovec>,
    _names: Vec<libc::sockaddr_in>,
    controls: Vec<[u64; 16]>,
    _octets: Vec<u8>,
    each: usize,
}

impl Messages {
    /// `count` messages of `parts` parts of `size` octets each, gathered from places of their own as the dataplane's are.
    pub(crate) fn new(count: usize, parts: usize, size: usize, beside: Beside) -> Self {
        let octets = vec![0xa5; count * parts * STRIDE.max(size)];
        let places: Vec<libc::iovec> = octets
            .chunks_exact(STRIDE.max(size))
            .map(|place| part(&place[..size]))
            .collect();
        // SAFETY: both are integers and pointers, for which zeros are a value.
        let (mut headers, mut names): (Vec<libc::mmsghdr>, Vec<libc::sockaddr_in>) =
            unsafe { (vec![std::mem::zeroed(); count], vec![std::mem::zeroed(); count]) };
        let mut controls = vec![[0_u64; 16]; count];
        for (index, header) in headers.iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_iov = places[index * parts..].as_ptr().cast_mut();
            header.msg_iovlen = parts as _;
            if let Some(to) = beside.to {
                names[index].sin_family = libc::AF_INET as u16;
                names[index].sin_port = to.port().to_be();
                names[index].sin_addr.s_addr = u32::from(*to.ip()).to_be();
                header.msg_name = (&raw mut names[index]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            }
            let used = control(&mut controls[index], &beside);
            if used > 0 {
                header.msg_control = controls[index].as_mut_ptr().cast();
                header.msg_controllen = used as _;
            }
        }
        Self {
            headers,
            _parts: places,
            _names: names,
            controls,
            _octets: octets,
            each: parts * size,
        }
    }

    /// Sends the first `count` messages; how many octets that were.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, count: usize, flags: i32) -> io::Result<usize> {
        let mut done = 0;
        while done < count {
            let rest = &mut self.headers[done..count];
            // SAFETY: names, controls, parts and octets are this value's own and live as long as it.
            let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, flags) };
            done += check(sent.into())?;
        }
        Ok(count * self.each)
    }

    /// Receives up to `count` messages without waiting; how many octets came, and in how many messages.
    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        count: usize,
        flags: i32,
    ) -> io::Result<(usize, usize)> {
        let count = count.min(self.headers.len());
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls).take(count) {
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        let (first, none) = (self.headers.as_mut_ptr(), std::ptr::null_mut());
        // SAFETY: as above; the octets are nobody else's.
        let got = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                first,
                count as u32,
                flags | libc::MSG_DONTWAIT,
                none,
            )
        };
        let got = check(got.into())?;
        let octets = self.headers[..got].iter().map(|header| header.msg_len as usize);
        Ok((octets.sum(), got))
    }

    /// Throws away what is there; how many octets that were.
    pub(crate) fn drain(&mut self, fd: BorrowedFd<'_>) -> usize {
        let mut octets = 0;
        while let Ok((more, 1..)) = self.receive(fd, usize::MAX, 0) {
            octets += more;
        }
        octets
    }
}

fn control(room: &mut [u64; 16], beside: &Beside) -> usize {
    let mut octets: Vec<u8> = Vec::new();
    let mut push = |level: i32, kind: i32, data: &[u8]| {
        octets.extend((16 + data.len()).to_ne_bytes());
        octets.extend(level.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(data);
        octets.resize(octets.len().next_multiple_of(8), 0);
    };
    if let Some(from) = beside.from {
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&from.octets());
        push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }
    if let Some(class) = beside.class {
        push(libc::IPPROTO_IP, libc::IP_TOS, &i32::from(class).to_ne_bytes());
    }
    if let Some(segment) = beside.segment {
        push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    for (word, octets) in room.iter_mut().zip(octets.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*octets);
    }
    octets.len()
}

/// Between the beginnings of packets.
const STRIDE: usize = 2048;
pub(crate) const IFF_VNET_HDR: i32 = libc::IFF_VNET_HDR;
pub(crate) const IFF_NAPI: i32 = 0x0010;
pub(crate) const IFF_NAPI_FRAGS: i32 = 0x0020;
