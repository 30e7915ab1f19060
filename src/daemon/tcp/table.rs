//! Which connections there are, for both threads.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

/// The two ends of a connection as `ike` writes them: our port is 0 where the peer has opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// The peer's, as TCP has it.
    pub remote: SocketAddr,
}

/// What stands for a connection in the dataplane: a UDP socket of this host, and the socket of the dataplane that it is
/// connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The dataplane's end.
    pub gateway: SocketAddr,
    /// The twin's end.
    pub twin: SocketAddr,
}

impl Twin {
    /// A twin for a connection with this local address, given where the dataplane listens. The kernel gives it what comes
    /// from the dataplane's socket and nothing else. `before`: the port of the twin whose place it takes.
    pub fn open(
        local: IpAddr,
        dataplane: &[SocketAddr],
        before: Option<u16>,
    ) -> io::Result<(UdpSocket, Self)> {
        let own = dataplane.iter().find(|udp| udp.ip() == local).copied();
        let any = || {
            let mut all = dataplane.iter();
            all.find(|udp| udp.ip().is_unspecified() && udp.is_ipv4() == local.is_ipv4())
                .map(|udp| SocketAddr::new(loopback(local), udp.port()))
        };
        let gateway = own.or_else(any).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = UdpSocket::bind(SocketAddr::new(gateway.ip(), before.unwrap_or(0)))?;
        socket.connect(gateway)?;
        socket.set_nonblocking(true)?;
        let twin = socket.local_addr()?;
        Ok((socket, Self { gateway, twin }))
    }
}

fn loopback(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// One connection, or the intent to have one.
#[derive(Debug)]
struct Entry {
    number: u64,
    ike: mpsc::Sender<Vec<u8>>,
    twin: Twin,
    claimed: watch::Sender<bool>,
}

/// What the thread of the connections needs of an entry.
#[derive(Debug)]
pub(super) struct Line {
    /// Its name.
    pub(super) ends: Ends,
    /// IKE messages to send.
    pub(super) ike: mpsc::Receiver<Vec<u8>>,
    /// Whether an IKE SA with an authenticated peer uses it.
    pub(super) claimed: watch::Receiver<bool>,
    number: u64,
    table: Arc<Table>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut entries = self.table.entries();
        if entries
            .get(&self.ends)
            .is_some_and(|entry| entry.number == self.number)
        {
            entries.remove(&self.ends);
        }
    }
}

/// All connections and what was counted of them.
///
/// Concurrency: shared by the loop and the thread of the connections; the lock is held for a look-up only.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Mutex<HashMap<Ends, Entry>>,
    /// The twins of connections that an IKE SA uses, even while the connection is lost.
    used: Mutex<HashMap<Ends, Twin>>,
    next_number: AtomicU64,
    refused: Mutex<VecDeque<(SocketAddr, io::Error)>>,
    counts: [AtomicU64; Count::ALL.len()],
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// A stream that did not begin with the prefix.
    Prefix,
    /// A length that cannot be.
    Frame,
    /// Too slow: no prefix, or no IKE SA, in time.
    Slow,
    /// One too many of those that nobody has authenticated.
    Crowded,
    /// A message that was dropped because a queue was full or it was too short for anything.
    Dropped,
}

impl Count {
    /// All of them, in the order of the counters.
    pub(super) const ALL: [Self; 5] = [
        Self::Prefix,
        Self::Frame,
        Self::Slow,
        Self::Crowded,
        Self::Dropped,
    ];

    /// Its name in the status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prefix => "tcp_no_prefix",
            Self::Frame => "tcp_bad_length",
            Self::Slow => "tcp_too_slow",
            Self::Crowded => "tcp_too_many",
            Self::Dropped => "tcp_dropped",
        }
    }
}

impl Table {
    /// Adds a connection. `None` if there is one of this name already.
    pub(super) fn add(self: &Arc<Self>, ends: Ends, twin: Twin) -> Option<Line> {
        let mut entries = self.entries();
        if entries.contains_key(&ends) {
            return None;
        }
        let (ike_sender, ike) = mpsc::channel(IKE_QUEUED);
        let (claimed_sender, claimed) = watch::channel(false);
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            number,
            ike: ike_sender,
            twin,
            claimed: claimed_sender,
        };
        entries.insert(ends, entry);
        drop(entries);
        Some(Line {
            ends,
            ike,
            claimed,
            number,
            table: Arc::clone(self),
        })
    }

    /// Whether there is such a connection, or the intent to have it.
    pub(super) fn has(&self, ends: Ends) -> bool {
        self.entries().contains_key(&ends)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }

    /// The twin of a connection.
    pub(super) fn twin(&self, ends: Ends) -> Option<Twin> {
        self.entries().get(&ends).map(|entry| entry.twin)
    }

    /// Has an IKE message sent. False if there is no such connection, or too much waits for it already.
    pub(super) fn send(&self, ends: Ends, message: Vec<u8>) -> bool {
        let entries = self.entries();
        let entry = entries.get(&ends);
        entry.is_some_and(|entry| entry.ike.try_send(message).is_ok())
    }

    /// Says whether an IKE SA uses it.
    pub(super) fn claim(&self, ends: Ends, claimed: bool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = self.entries().get(&ends) {
            entry.claimed.send_replace(claimed);
            used.insert(ends, entry.twin);
        }
        if !claimed {
            used.remove(&ends);
        }
    }

    /// A peer has opened a connection between the same two ends once more, so the one before is no more. The port that its
    /// twin had if an IKE SA uses it: the dataplane sends there, and is not told to send elsewhere.
    pub(super) fn succeed(&self, ends: Ends) -> Option<u16> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.entries().remove(&ends);
        used.get(&ends).map(|twin| twin.twin.port())
    }

    /// A connection could not be opened.
    pub(super) fn refuse(&self, remote: SocketAddr, error: io::Error) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.truncate(REFUSALS_KEPT - 1);
        refused.push_front((remote, error));
    }

    /// Which could not, and why.
    pub(super) fn take_refused(&self) -> Vec<(SocketAddr, io::Error)> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.drain(..).collect()
    }

    /// Counts.
    pub(super) fn count(&self, what: Count) {
        if let Some(count) = self.counts.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let all = Count::ALL.iter().zip(&self.counts);
        all.map(|(what, count)| (what.name(), count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Ends, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// IKE messages that wait for one connection: a window of one needs few.
const IKE_QUEUED: usize = 16;
/// Failures to connect that nobody has asked for yet.
const REFUSALS_KEPT: usize = 16;
