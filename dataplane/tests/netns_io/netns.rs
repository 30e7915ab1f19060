//! The namespace, and the few interface settings the tests need, without external programs.

use std::ffi::{c_int, c_short};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io};

pub(crate) const TUN_DEVICE: &str = "/dev/net/tun";

/// Moves this process, which must have one thread, into a network namespace (and user namespace, without root).
pub(crate) fn enter_new() -> io::Result<()> {
    // SAFETY: these calls take no pointer.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let flags = libc::CLONE_NEWNET | if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: as above.
    check(unsafe { libc::unshare(flags) })?;
    if uid != 0 {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    Ok(())
}

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare(2) takes no pointer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: &fs::File) -> io::Result<()> {
    // SAFETY: setns(2) takes no pointer.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

pub(crate) fn bring_up(interface: &str) -> io::Result<()> {
    let mut request = Request::named(interface);
    request.ioctl(libc::SIOCGIFFLAGS)?;
    let flags = request.flags() | c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap();
    request.payload[..2].copy_from_slice(&flags.to_ne_bytes());
    request.ioctl(libc::SIOCSIFFLAGS)
}

/// Gives `interface` an address with a prefix of 24 bits and brings it up.
pub(crate) fn configure(interface: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut request = Request::named(interface);
    request.set_address(address);
    request.ioctl(libc::SIOCSIFADDR)?;
    request.set_address(Ipv4Addr::new(255, 255, 255, 0));
    request.ioctl(libc::SIOCSIFNETMASK)?;
    bring_up(interface)
}

/// Gives `interface` an address with a prefix of 64 bits. (An interface without link-layer addresses takes it at once: nobody else can have it.)
pub(crate) fn add_ipv6(interface: &str, address: Ipv6Addr) -> io::Result<()> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: `name` is a string that ends in NUL and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let request = Ipv6Request {
        address: address.octets(),
        prefix: 64,
        index: c_int::try_from(index).map_err(io::Error::other)?,
    };
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    // SAFETY: Ipv6Request is a struct in6_ifreq, which an IPv6 socket reads for this request, and outlives the call.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFADDR as libc::Ioctl,
            &raw const request,
        )
    })
}

/// Lets `packets` wait for each of its readers, or in it.
pub(crate) fn set_queue_length(interface: &str, packets: c_int) -> io::Result<()> {
    let mut request = Request::named(interface);
    request.payload[..4].copy_from_slice(&packets.to_ne_bytes());
    request.ioctl(libc::SIOCSIFTXQLEN)
}

pub(crate) fn set_mtu(interface: &str, mtu: c_int) -> io::Result<()> {
    let mut request = Request::named(interface);
    request.payload[..4].copy_from_slice(&mtu.to_ne_bytes());
    request.ioctl(libc::SIOCSIFMTU)
}

/// Whether the namespace of the calling thread has such an interface.
pub(crate) fn exists(interface: &str) -> bool {
    fs::read_to_string("/proc/thread-self/net/dev")
        .unwrap()
        .lines()
        .any(|line| line.trim().starts_with(&format!("{interface}:")))
}

/// Deletes an interface, as `ip link delete` does (RTM_DELLINK).
pub(crate) fn delete_interface(interface: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: `name` is a string that ends in NUL and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port. struct ifinfomsg: family, type, index, flags, change.
    message.extend(32u32.to_ne_bytes());
    message.extend(libc::RTM_DELLINK.to_ne_bytes());
    message.extend(
        u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK)
            .unwrap()
            .to_ne_bytes(),
    );
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    // SAFETY: socket(2) takes no pointer; the descriptor is new and owned by nobody else.
    let socket = unsafe {
        let fd = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        );
        check(fd)?;
        OwnedFd::from_raw_fd(fd)
    };
    let mut answer = [0u8; 256];
    // SAFETY: both buffers are valid for their lengths and outlive the calls.
    unsafe {
        libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0);
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0);
    }
    // struct nlmsgerr behind the header: zero is the acknowledgement.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Clock ticks that the threads of this process with such names have worked for.
pub(crate) fn cpu_ticks(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let ours = stats.filter(|stat| stat.contains(&format!("({name}")));
    ours.map(|stat| {
        // Fields 14 and 15, counted from behind the name.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    })
    .sum()
}

/// Waits until `fd` is readable.
pub(crate) fn await_readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd, alive for the whole call.
    unsafe { libc::poll(&raw mut poll, 1, c_int::try_from(time.as_millis()).unwrap()) == 1 }
}

/// Calls until something comes back; panics after five seconds.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    payload: [u8; size_of::<libc::ifreq>() - libc::IFNAMSIZ],
}

impl Request {
    fn named(interface: &str) -> Self {
        let mut name = [0; libc::IFNAMSIZ];
        name[..interface.len()].copy_from_slice(interface.as_bytes());
        Self {
            name,
            payload: [0; _],
        }
    }

    fn flags(&self) -> c_short {
        c_short::from_ne_bytes([self.payload[0], self.payload[1]])
    }

    /// A struct sockaddr_in.
    fn set_address(&mut self, address: Ipv4Addr) {
        self.payload[..2].copy_from_slice(&u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
        self.payload[4..8].copy_from_slice(&address.octets());
    }

    #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast)]
    fn ioctl(&mut self, request: impl Into<u64>) -> io::Result<()> {
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        // SAFETY: Request has the layout and size of struct ifreq and outlives the call.
        check(unsafe {
            libc::ioctl(
                socket.as_fd().as_raw_fd(),
                request.into() as libc::Ioctl,
                &raw mut *self,
            )
        })
    }
}

/// A struct in6_ifreq.
#[repr(C)]
struct Ipv6Request {
    address: [u8; 16],
    prefix: u32,
    index: c_int,
}

/// Gives a socket room for so many octets that nobody has read.
pub(crate) fn receive_buffer(socket: &impl AsFd, octets: c_int) {
    // More than anybody may have, or else what everybody may.
    if set_option(socket, libc::SO_RCVBUFFORCE, octets).is_err() {
        set_option(socket, libc::SO_RCVBUF, octets).unwrap();
    }
}

/// Has a socket send without UDP checksums (IPv4).
pub(crate) fn without_checksums(socket: &impl AsFd) {
    set_option(socket, libc::SO_NO_CHECK, 1).unwrap();
}

fn set_option(socket: &impl AsFd, option: c_int, value: c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap();
    // SAFETY: the value lives on this stack for the whole call and `len` is its size.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            len,
        )
    })
}
