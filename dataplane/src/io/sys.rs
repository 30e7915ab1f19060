//! The few system calls that every module of [`io`](super) shares, with their results made `io::Result`.

use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Turns the `-1` of a system call into its errno.
pub(crate) fn check(returned: c_int) -> io::Result<c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Turns the `-1` of a reading or writing system call into its errno.
pub(crate) fn check_len(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A new nonblocking socket, closed on exec.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointer.
    let fd =
        check(unsafe { libc::socket(domain, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an integer socket option.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = socklen(size_of::<c_int>());
    // SAFETY: the value lives on this stack for the whole call and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) }).map(drop)
}

/// Reads an integer socket option.
pub(crate) fn get_option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = socklen(size_of::<c_int>());
    // SAFETY: `value` is writable for `len` octets; the kernel writes at most that many.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Asks for socket buffers of `octets`, beyond the system's limit if we may; what was granted is the kernel's secret.
pub(crate) fn set_buffers(fd: BorrowedFd<'_>, octets: usize) -> io::Result<()> {
    let octets = c_int::try_from(octets).unwrap_or(c_int::MAX);
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if set_option(fd, libc::SOL_SOCKET, force, octets).is_err() {
            set_option(fd, libc::SOL_SOCKET, plain, octets)?;
        }
    }
    Ok(())
}

/// Binds a socket.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let name = Name::from(address);
    // SAFETY: `name` holds an initialised socket address of `name.len` octets.
    check(unsafe { libc::bind(fd.as_raw_fd(), name.as_ptr(), name.len) }).map(drop)
}

/// Connects a socket.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let name = Name::from(address);
    // SAFETY: `name` holds an initialised socket address of `name.len` octets.
    check(unsafe { libc::connect(fd.as_raw_fd(), name.as_ptr(), name.len) }).map(drop)
}

/// The address a socket is bound to.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut name = Name::empty();
    // SAFETY: `name` is writable for `name.len` octets, the whole of a sockaddr_storage.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), name.as_mut_ptr(), &raw mut name.len) })?;
    name.address()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// A socket address as the kernel writes it: room for either family, and how much of it counts.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl Name {
    /// Room for an address, to be filled in by the kernel.
    pub(crate) fn empty() -> Self {
        // SAFETY: sockaddr_storage is plain integers, for which all zeros is a value.
        let storage = unsafe { mem::zeroed() };
        Self {
            storage,
            len: Self::CAPACITY,
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    /// The address, if it is IPv4 or IPv6 and complete.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match c_int::from(self.storage.ss_family) {
            libc::AF_INET if self.len >= socklen(size_of::<libc::sockaddr_in>()) => {
                // SAFETY: a sockaddr_storage is large enough and aligned for every family, and the family says sockaddr_in.
                let name: libc::sockaddr_in = unsafe { *(&raw const self.storage).cast() };
                let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if self.len >= socklen(size_of::<libc::sockaddr_in6>()) => {
                // SAFETY: as above; the family says sockaddr_in6.
                let name: libc::sockaddr_in6 = unsafe { *(&raw const self.storage).cast() };
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    pub(crate) const CAPACITY: libc::socklen_t = socklen(size_of::<libc::sockaddr_storage>());
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: a sockaddr_storage is large enough and aligned for a sockaddr_in, and fully initialised.
                let raw: &mut libc::sockaddr_in = unsafe { &mut *(&raw mut name.storage).cast() };
                raw.sin_family = family(address.ip());
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                name.len = socklen(size_of::<libc::sockaddr_in>());
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above, for a sockaddr_in6.
                let raw: &mut libc::sockaddr_in6 = unsafe { &mut *(&raw mut name.storage).cast() };
                raw.sin6_family = family(address.ip());
                raw.sin6_port = v6.port().to_be();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                name.len = socklen(size_of::<libc::sockaddr_in6>());
            }
        }
        name
    }
}

/// The domain of an address for socket(2).
pub(crate) fn domain(address: IpAddr) -> c_int {
    match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    }
}

// AF_INET and AF_INET6 are 2 and 10.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn family(address: IpAddr) -> libc::sa_family_t {
    domain(address) as libc::sa_family_t
}

// Only ever the size of a socket address or of an integer.
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn socklen(octets: usize) -> libc::socklen_t {
    octets as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_carries_both_families_there_and_back() {
        for text in [
            "192.0.2.1:4500",
            "[2001:db8::1]:500",
            "[fe80::1%7]:4500",
            "0.0.0.0:0",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Name::from(address).address(), Some(address));
        }
    }

    #[test]
    fn a_name_without_a_family_or_cut_short_is_no_address() {
        assert_eq!(Name::empty().address(), None);
        let mut short = Name::from("192.0.2.1:1".parse::<SocketAddr>().unwrap());
        short.len = 4;
        assert_eq!(short.address(), None);
    }
}
