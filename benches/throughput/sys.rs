//! The kernel calls that std has no word for: many datagrams at once, what TCP knows about itself, sleeping precisely.

use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams that travel in one system call.
pub(crate) const BATCH: usize = 64;
const ROOM: usize = 2048;

/// Room for [`BATCH`] datagrams.
pub(crate) struct Batch {
    octets: Vec<[u8; ROOM]>,
    lengths: [usize; BATCH],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            octets: vec![[0; ROOM]; BATCH],
            lengths: [0; BATCH],
        }
    }

    /// The room of one datagram.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8] {
        &mut self.octets[index]
    }

    /// Sends the first `count` slots, `size` octets of each. How many the kernel took.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize, size: usize) -> io::Result<usize> {
        self.lengths = [size.min(ROOM); BATCH];
        self.call(count, |headers, count| {
            // SAFETY: `headers` describes buffers that `self` owns, for the length of this call.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, 0) }
        })
        .map(|(sent, _)| sent)
    }

    /// Waits for one datagram and takes what else is there. The datagrams.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<impl Iterator<Item = &[u8]>> {
        self.lengths = [ROOM; BATCH];
        let none = std::ptr::null_mut();
        let (count, lengths) = self.call(BATCH, |headers, count| {
            // SAFETY: as above; no timeout is passed.
            unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, count, libc::MSG_WAITFORONE, none) }
        })?;
        let datagrams = self.octets.iter().zip(lengths).take(count);
        Ok(datagrams.map(|(octets, length)| &octets[..length.min(ROOM)]))
    }

    fn call(
        &mut self,
        count: usize,
        call: impl FnOnce(*mut libc::mmsghdr, u32) -> i32,
    ) -> io::Result<(usize, [usize; BATCH])> {
        // SAFETY: an all-zero mmsghdr is a valid one: no name, no buffers, no control data.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut vectors = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        for (index, octets) in self.octets.iter_mut().enumerate() {
            vectors[index] = libc::iovec {
                iov_base: octets.as_mut_ptr().cast(),
                iov_len: self.lengths[index],
            };
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let count = u32::try_from(count.min(BATCH)).unwrap_or_default();
        let done =
            usize::try_from(call(headers.as_mut_ptr(), count)).map_err(|_| io::Error::last_os_error())?;
        Ok((done, headers.map(|header| header.msg_len as usize)))
    }
}

/// Segments that this connection sent more than once so far.
pub(crate) fn retransmits(socket: &TcpStream) -> io::Result<u64> {
    // SAFETY: an all-zero tcp_info is a valid one.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: pointer and length describe `info`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(info.tcpi_total_retrans.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives a socket room for so many octets to send, whatever the host's limit.
pub(crate) fn send_buffer(socket: &UdpSocket, octets: i32) {
    let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    for option in [libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
        let value = (&raw const octets).cast();
        // SAFETY: pointer and length describe `octets`, which outlives the call. That it fails costs some pace.
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size) };
    }
}

/// The calling thread's sleeps shall not be stretched by the customary 50 us.
pub(crate) fn sleep_precisely() {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Units of /proc/PID/stat in a second.
pub(crate) fn ticks_per_second() -> f64 {
    // SAFETY: takes an integer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).map_or(100.0, f64::from)
}
