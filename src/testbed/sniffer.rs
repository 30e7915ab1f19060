//! An eavesdropper on the public wire (packet(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::classify::{Kind, classify};
use super::namespace::Namespace;
use super::pcap::Pcap;

/// What an eavesdropper saw. A frame that is routed is seen twice, once on each interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Frames of each kind.
    pub frames: BTreeMap<Kind, u64>,
    /// Frames in which a needle was found.
    pub needles: u64,
    /// SPIs of ESP packets.
    pub spis: BTreeSet<u32>,
    /// DSCP and ECN fields of ESP packets.
    pub traffic_classes: BTreeSet<u8>,
    /// The largest ESP packet, in octets of IP.
    pub largest_esp: usize,
}

impl Seen {
    /// Frames of a kind.
    pub fn count(&self, kind: &Kind) -> u64 {
        self.frames.get(kind).copied().unwrap_or_default()
    }

    /// What was seen that is no part of a tunnel.
    pub fn strangers(&self) -> Vec<String> {
        let other = |(kind, count): (&Kind, &u64)| match kind {
            Kind::Other(what) => Some(format!("{count} x {what}")),
            Kind::Resolution
            | Kind::Ike
            | Kind::Keepalive
            | Kind::EspInUdp
            | Kind::Esp
            | Kind::Tcp
            | Kind::Fragment
            | Kind::PathError => None,
        };
        self.frames.iter().filter_map(other).collect()
    }
}

/// Listens on every interface of a namespace until it is dropped.
///
/// Concurrency: a thread of its own; the counts are behind a mutex.
pub struct Sniffer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Shared {
    seen: Mutex<Seen>,
    needles: Mutex<Vec<Vec<u8>>>,
    tape: Mutex<Option<Pcap>>,
    stop: AtomicBool,
    paused: AtomicBool,
}

impl Sniffer {
    /// Starts to listen.
    pub fn start(namespace: &Namespace) -> io::Result<Self> {
        let socket = namespace.run(open)??;
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            needles: Mutex::default(),
            tape: Mutex::default(),
            stop: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || listen(socket, &for_thread));
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// From now on also looks for these octets in every frame.
    pub fn look_for(&self, needle: &[u8]) {
        self.shared
            .needles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(needle.to_vec());
    }

    /// From now on also writes every frame to this file, for tshark and its like.
    pub fn record(&self, path: &Path) -> io::Result<()> {
        let tape = Pcap::create(path)?;
        *self.shared.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(tape);
        Ok(())
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was seen so far, and starts anew.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops reading ESP in the middle of frames for a while: a speed measurement shall not measure the sniffer.
    /// Everything else is still seen.
    pub fn relax(&self, relaxed: bool) {
        self.shared.paused.store(relaxed, Ordering::Relaxed);
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> io::Result<Socket> {
    let protocol = i32::from(ETH_P_ALL.to_be());
    let socket = Socket::new(
        Domain::from(libc::AF_PACKET),
        Type::RAW,
        Some(Protocol::from(protocol)),
    )?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.set_recv_buffer_size(BUFFER)?;
    Ok(socket)
}

fn listen(mut socket: Socket, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    let mut relaxed = false;
    while !shared.stop.load(Ordering::Relaxed) {
        if relaxed != shared.paused.load(Ordering::Relaxed) {
            relaxed = !relaxed;
            socket.attach_filter(if relaxed { &NOT_ESP_IN_UDP } else { &EVERYTHING })?;
        }
        match socket.read(&mut buffer) {
            Ok(length) => {
                let frame = &buffer[..length];
                note(frame, shared);
                let mut tape = shared.tape.lock().unwrap_or_else(PoisonError::into_inner);
                tape.iter_mut().try_for_each(|tape| tape.write(frame))?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn note(octets: &[u8], shared: &Shared) {
    let frame = classify(octets);
    let needles = shared.needles.lock().unwrap_or_else(PoisonError::into_inner);
    let found = needles.iter().any(|needle| contains(octets, needle));
    let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spi) = frame.spi {
        seen.spis.insert(spi);
        seen.traffic_classes.insert(frame.traffic_class);
        seen.largest_esp = seen.largest_esp.max(frame.length);
    }
    *seen.frames.entry(frame.kind).or_default() += 1;
    seen.needles += u64::from(found);
}

/// Looks only where the needle's first octet is, which for random octets is rare.
fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = hay;
    while let Some(at) = rest.iter().position(|octet| octet == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

const ETH_P_ALL: u16 = 3;
const BUFFER: usize = 8 << 20;

/// Classic BPF: drops IPv4 UDP to port 4500 whose first word is not zero; accepts the rest.
const NOT_ESP_IN_UDP: [SockFilter; 11] = [
    instruction(0x28, 0, 0, 12),          // ldh [12]            the frame's type
    instruction(0x15, 0, 8, 0x0800),      // jne IPv4, accept
    instruction(0x30, 0, 0, 23),          // ldb [23]            the protocol
    instruction(0x15, 0, 6, 17),          // jne UDP, accept
    instruction(0xb1, 0, 0, 14),          // ldxb 4*([14]&0xf)   the header's length
    instruction(0x48, 0, 0, 16),          // ldh [x + 16]        the destination port
    instruction(0x15, 0, 3, 4500),        // jne 4500, accept
    instruction(0x40, 0, 0, 22),          // ld [x + 22]         SPI or non-ESP marker
    instruction(0x15, 1, 0, 0),           // jeq 0, accept
    instruction(0x06, 0, 0, 0),           // ret 0
    instruction(0x06, 0, 0, 0xffff_ffff), // accept: ret -1
];
const EVERYTHING: [SockFilter; 1] = [instruction(0x06, 0, 0, 0xffff_ffff)];

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn finds_a_needle_wherever_it_is() {
        assert!(contains(b"xxneedle", b"needle"));
        assert!(contains(b"nneeneedleyy", b"needle"));
        assert!(!contains(b"nneeneedl", b"needle"));
        assert!(!contains(b"", b"needle"));
    }
}
