//! Opening a TUN interface (`/dev/net/tun`) and reading and writing one of its queues.

use std::ffi::{c_int, c_short, c_uint, c_ulong};
use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::vnet::{self, VnetHeader};
use super::{Room, Spread, Steering};
use crate::io::sys::{self, check, check_len, retry};

/// One queue of a TUN interface: a descriptor of its own.
///
/// Concurrency: owned by one queue thread. The interface disappears when the last of its queues is dropped.
#[derive(Debug)]
pub struct TunQueue {
    fd: OwnedFd,
    vnet: bool,
    segments: Segments,
}

/// Which super-packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segments {
    None,
    Tcp,
    TcpAndUdp,
}

/// A TUN interface just opened.
#[derive(Debug)]
pub struct OpenTun {
    /// Its queues, as many as were asked for.
    pub queues: Vec<TunQueue>,
    /// Something an operator may want to know: a feature the kernel does not have.
    pub note: Option<String>,
}

/// Why an interface could not be opened; the text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// No device node.
    #[error(
        "{device}: there is no TUN device here; load the kernel module (`modprobe tun`), or in a container pass the \
         device through (`--device /dev/net/tun`)", device = .0.display()
    )]
    Missing(PathBuf),
    /// The device node refuses us.
    #[error(
        "{device}: permission denied; run as root, or make the device readable and writable for this user", device = .0.display()
    )]
    Closed(PathBuf),
    /// No right to make interfaces.
    #[error(
        "interface {0}: not permitted; xvpn needs CAP_NET_ADMIN (run it as root or from its systemd unit)"
    )]
    Forbidden(String),
    /// The name is taken.
    #[error(
        "interface {0}: the name is in use; another xvpn may be running (`ip -d link show {0}` tells), or choose another \
         `interface` in the configuration"
    )]
    Taken(String),
    /// The name cannot be an interface's.
    #[error(
        "interface {0:?}: not an interface name; use 1 to 15 characters without blanks, slashes or percent signs"
    )]
    Name(String),
    /// Anything else.
    #[error("interface {name}: {doing}: {source}")]
    System {
        /// The interface.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl TunQueue {
    /// Opens interface `name` with `queues` queues, each nonblocking; the interface is down and has no address yet.
    pub fn open(device: &Path, name: &str, queues: usize) -> Result<OpenTun, TunError> {
        let request = InterfaceRequest::named(name)?;
        match Self::open_all(device, name, request, queues, true) {
            Err(TunError::System {
                source,
                doing: doing @ (ATTACH | HEADER_SIZE),
                ..
            }) if source.raw_os_error() == Some(libc::EINVAL) => {
                let open = Self::open_all(device, name, request, queues, false)?;
                let note = format!(
                    "interface {name}: the kernel offers no virtio-net header ({doing}: {source}); offloads stay off"
                );
                Ok(OpenTun {
                    note: Some(note),
                    ..open
                })
            }
            other => other,
        }
    }

    /// Reads one packet into `room`, and what the kernel says of it. Returns its length.
    ///
    /// A packet longer than `room` is cut by the kernel without a word: `room` must hold the longest super-packet, or the
    /// interface's MTU without offloads.
    pub fn read(&self, room: &mut Room) -> io::Result<(VnetHeader, usize)> {
        let whole = room.whole(self.vnet);
        let (start, len) = (whole.as_mut_ptr().cast(), whole.len());
        // SAFETY: `whole` is writable for its length and outlives the call.
        let read = retry(|| check_len(unsafe { libc::read(self.fd.as_raw_fd(), start, len) }))?;
        if !self.vnet {
            return Ok((VnetHeader::default(), read));
        }
        let len = read.checked_sub(vnet::LEN).ok_or(io::ErrorKind::InvalidData)?;
        Ok((VnetHeader::parse(&room.header()), len))
    }

    /// Writes one packet. The kernel takes all of it or refuses it.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.write_parts(&VnetHeader::default(), std::iter::once(packet))
    }

    /// Writes one packet, or super-packet, that lies in several places: at most [`PARTS`] of them.
    pub fn write_parts<'a>(
        &self,
        header: &VnetHeader,
        octets: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let header = header.emit();
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; PARTS + 1];
        let mut count = 0;
        let readable = |octets: &[u8]| libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        };
        let mut places = parts.iter_mut();
        if self.vnet
            && let Some(part) = places.next()
        {
            part.write(readable(&header));
            count += 1;
        }
        for (part, octets) in places.zip(octets) {
            part.write(readable(octets));
            count += 1;
        }
        let first = parts.as_ptr().cast::<libc::iovec>();
        // SAFETY: the first `count` parts are initialised; writev(2) only reads from what they point at, which is readable for
        // their lengths and outlives the call ('a outlives this function).
        retry(|| check_len(unsafe { libc::writev(self.fd.as_raw_fd(), first, count) })).map(drop)
    }

    /// Asks the kernel for super-packets and unfinished checksums. Without a virtio-net header there are none.
    pub fn offload(&mut self) -> io::Result<()> {
        if self.vnet {
            self.segments = offload(&self.fd)?;
        }
        Ok(())
    }

    /// From now on the interface gives its packets to these of its queues, and a flow to one.
    pub fn steer(&self, steering: &Steering, spread: Spread) -> io::Result<()> {
        steering.attach(self.fd.as_fd(), spread)
    }

    /// Whether super-packets may be written.
    pub fn takes_segments(&self) -> bool {
        self.segments != Segments::None
    }

    /// Whether super-packets of UDP may be written, too.
    pub fn takes_udp_segments(&self) -> bool {
        self.segments == Segments::TcpAndUdp
    }

    /// Whether packets carry a virtio-net header.
    pub fn has_vnet_header(&self) -> bool {
        self.vnet
    }

    fn open_all(
        device: &Path,
        name: &str,
        request: InterfaceRequest,
        queues: usize,
        vnet: bool,
    ) -> Result<OpenTun, TunError> {
        let queues = (0..queues.max(1)).map(|index| Self::attach(device, name, request, vnet, index == 0));
        let queues = queues.collect::<Result<_, _>>()?;
        // Without it bursts are lost all the same, only sooner.
        let _ = lengthen_queues(request);
        Ok(OpenTun { queues, note: None })
    }

    /// One more queue of the interface; `first` makes it and must not find it made.
    fn attach(
        device: &Path,
        name: &str,
        mut request: InterfaceRequest,
        vnet: bool,
        first: bool,
    ) -> Result<Self, TunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(device);
        let fd = OwnedFd::from(file.map_err(|error| device_error(device, name, error))?);
        request.flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | if vnet { IFF_VNET_HDR } else { 0 };
        if first {
            // Without it, a second daemon would quietly become another queue of the first one's interface, and each would
            // get half of the packets.
            request.flags |= IFF_TUN_EXCL;
        }
        // SAFETY: TUNSETIFF reads and writes a struct ifreq, which InterfaceRequest has the size and layout of.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &raw mut request) }).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPERM) => TunError::Forbidden(name.to_owned()),
                // EBUSY: made by someone else. EINVAL for a name that exists but is not a TUN.
                Some(libc::EBUSY | libc::EEXIST) => TunError::Taken(name.to_owned()),
                _ if first && exists(name) => TunError::Taken(name.to_owned()),
                _ => system(name, ATTACH, error),
            }
        })?;
        if vnet {
            let size: c_int = c_int::try_from(vnet::LEN).unwrap_or(0);
            // SAFETY: TUNSETVNETHDRSZ reads an int.
            check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const size) })
                .map_err(|error| system(name, HEADER_SIZE, error))?;
            // None until asked for: every read is one complete packet.
            let offloads: c_ulong = 0;
            // SAFETY: TUNSETOFFLOAD takes its argument by value.
            check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, offloads) })
                .map_err(|error| system(name, "TUNSETOFFLOAD", error))?;
        }
        Ok(Self {
            fd,
            vnet,
            segments: Segments::None,
        })
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<TunError> for io::Error {
    fn from(error: TunError) -> Self {
        let kind = match &error {
            TunError::Missing(_) => io::ErrorKind::NotFound,
            TunError::Closed(_) | TunError::Forbidden(_) => io::ErrorKind::PermissionDenied,
            TunError::Taken(_) => io::ErrorKind::AlreadyExists,
            TunError::Name(_) => io::ErrorKind::InvalidInput,
            TunError::System { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

fn device_error(device: &Path, name: &str, error: io::Error) -> TunError {
    match error.raw_os_error() {
        // ENODEV and ENXIO: the node is there, its driver is not.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TunError::Missing(device.to_owned()),
        Some(libc::EACCES | libc::EPERM) => TunError::Closed(device.to_owned()),
        _ => system(name, "opening the TUN device", error),
    }
}

fn system(name: &str, doing: &'static str, source: io::Error) -> TunError {
    TunError::System {
        name: name.to_owned(),
        doing,
        source,
    }
}

/// Gives every queue room for a burst: the default of 500 packets is less than one TCP window of a fast path.
fn lengthen_queues(mut request: InterfaceRequest) -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // ifr_qlen is an int in the place of the flags.
    let [a, b, c, d] = QUEUE_LENGTH.to_ne_bytes();
    request.flags = u16::from_ne_bytes([a, b]);
    [request.rest[0], request.rest[1]] = [c, d];
    // SAFETY: SIOCSIFTXQLEN reads a struct ifreq, which InterfaceRequest has the size and layout of.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFTXQLEN, &raw const request) }).map(drop)
}

fn offload(fd: &OwnedFd) -> io::Result<Segments> {
    let ask = |offloads: c_ulong| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, offloads) })
    };
    let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    match ask(tcp | TUN_F_USO4 | TUN_F_USO6) {
        Ok(_) => Ok(Segments::TcpAndUdp),
        // Before Linux 6.2.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ask(tcp).map(|_| Segments::Tcp),
        Err(error) => Err(error),
    }
}

fn exists(name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else {
        return false;
    };
    // SAFETY: `name` is a string that ends in NUL and outlives the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// The part of `struct ifreq` that TUNSETIFF looks at, with the size of the whole.
#[repr(C)]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; IFREQ_LEN - libc::IFNAMSIZ - size_of::<c_short>()],
}

impl InterfaceRequest {
    /// What the kernel's dev_valid_name() accepts, except that `%` would ask it to choose a number.
    fn named(name: &str) -> Result<Self, TunError> {
        let valid = !name.is_empty()
            && name.len() < libc::IFNAMSIZ
            && name != "."
            && name != ".."
            && !name
                .bytes()
                .any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b"/:%".contains(&b));
        if !valid {
            return Err(TunError::Name(name.to_owned()));
        }
        let mut octets = [0; libc::IFNAMSIZ];
        for (to, from) in octets.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Ok(Self {
            name: octets,
            flags: 0,
            rest: [0; _],
        })
    }
}

/// Places that one packet to be written may lie in.
pub const PARTS: usize = super::coalesce::MOST;
/// Packets that wait in a queue for its thread.
const QUEUE_LENGTH: c_int = 4000;
const ATTACH: &str = "TUNSETIFF";
const HEADER_SIZE: &str = "TUNSETVNETHDRSZ";
const IFREQ_LEN: usize = size_of::<libc::ifreq>();

// linux/if_tun.h. The request numbers are the same on every architecture with the generic ioctl encoding.
const TUNSETIFF: libc::Ioctl = iow(202, size_of::<c_int>());
const TUNSETOFFLOAD: libc::Ioctl = iow(208, size_of::<c_uint>());
const TUNSETVNETHDRSZ: libc::Ioctl = iow(216, size_of::<c_int>());
const TUN_F_CSUM: c_ulong = 0x01;
const TUN_F_TSO4: c_ulong = 0x02;
const TUN_F_TSO6: c_ulong = 0x04;
const TUN_F_TSO_ECN: c_ulong = 0x08;
const TUN_F_USO4: c_ulong = 0x20;
const TUN_F_USO6: c_ulong = 0x40;
const IFF_TUN: u16 = 0x0001;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;

/// `_IOW('T', number, size)` of linux/ioctl.h.
#[allow(clippy::cast_possible_truncation)] // musl's Ioctl is an int; the numbers fit 31 bits.
const fn iow(number: u64, size: usize) -> libc::Ioctl {
    ((1u64 << 30) | ((size as u64) << 16) | ((b'T' as u64) << 8) | number) as libc::Ioctl
}

/// `_IOR('T', number, size)`.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // As above, but for the sign of musl's int.
pub(super) const fn ior(number: u64, size: usize) -> libc::Ioctl {
    ((2u64 << 30) | ((size as u64) << 16) | ((b'T' as u64) << 8) | number) as libc::Ioctl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_the_kernel_would_refuse_or_expand() {
        for name in ["", "sixteen-letters-", "a b", "a/b", "tun%d", "..", "a:1", "x\n"] {
            assert!(
                matches!(
                    TunQueue::open(Path::new("/dev/null"), name, 1),
                    Err(TunError::Name(_))
                ),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_missing_device_says_what_to_do() {
        let error = TunQueue::open(Path::new("/nonexistent/tun"), "xvpn-test", 1).unwrap_err();
        assert!(matches!(error, TunError::Missing(_)));
        assert!(error.to_string().contains("modprobe tun"));
    }

    #[test]
    fn something_else_than_a_tun_device_is_an_error_not_a_panic() {
        let error = TunQueue::open(Path::new("/dev/null"), "xvpn-test", 1).unwrap_err();
        assert!(matches!(error, TunError::System { doing: ATTACH, .. }), "{error}");
    }

    #[test]
    fn the_request_numbers_are_those_of_if_tun_h() {
        assert_eq!(TUNSETIFF, 0x4004_54ca);
        assert_eq!(TUNSETOFFLOAD, 0x4004_54d0);
        assert_eq!(TUNSETVNETHDRSZ, 0x4004_54d8);
        assert_eq!(size_of::<InterfaceRequest>(), IFREQ_LEN);
    }
}
