//! TCP from one host to the other, as fast as it goes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn::testbed::Namespace;

use crate::contestant::Outcome;
use crate::sys;

/// What arrived while the measurement lasted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) octets: u64,
    pub(crate) seconds: f64,
    /// Segments sent again, since the connections began (the start of each included).
    pub(crate) retransmits: u64,
    /// The same, within the measurement.
    pub(crate) late_retransmits: u64,
}

/// Sends over `streams` connections at once. `measured` is called when they have found their pace, and returns when
/// the measurement is over.
pub(crate) fn run(
    from: &Namespace,
    to: &Namespace,
    address: Ipv4Addr,
    streams: usize,
    measured: impl FnOnce(),
) -> Outcome<Flow> {
    let listener = to.run(|| TcpListener::bind(SocketAddr::new(address.into(), 0)))??;
    let target = listener.local_addr()?;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..streams {
        let sender = from.run(|| TcpStream::connect_timeout(&target, PATIENCE))??;
        sender.set_write_timeout(Some(PATIENCE))?;
        let (receiver, _) = listener.accept()?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        senders.push(sender);
        receivers.push(receiver);
    }
    let (over, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let sending: Vec<_> = senders
            .iter()
            .map(|socket| scope.spawn(|| send(socket, &over)))
            .collect();
        let receiving: Vec<_> = receivers
            .iter()
            .map(|socket| scope.spawn(|| receive(socket, &arrived)))
            .collect();
        thread::sleep(WARM_UP);
        let started = Instant::now();
        let (octets, again) = (arrived.load(Ordering::Relaxed), count(&senders));
        measured();
        let seconds = started.elapsed().as_secs_f64();
        let octets = arrived.load(Ordering::Relaxed) - octets;
        let retransmits = count(&senders);
        over.store(true, Ordering::Relaxed);
        for thread in sending.into_iter().chain(receiving) {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(Flow {
            octets,
            seconds,
            retransmits,
            late_retransmits: retransmits.saturating_sub(again),
        })
    })
}

fn count(senders: &[TcpStream]) -> u64 {
    senders
        .iter()
        .filter_map(|socket| sys::retransmits(socket).ok())
        .sum()
}

fn send(mut socket: &TcpStream, over: &AtomicBool) -> io::Result<()> {
    let block = vec![0x5a; BLOCK];
    while !over.load(Ordering::Relaxed) {
        socket.write_all(&block)?;
    }
    socket.shutdown(std::net::Shutdown::Write)
}

fn receive(mut socket: &TcpStream, arrived: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            length => arrived.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}

const BLOCK: usize = 128 << 10;
/// Long enough for slow start to be over.
const WARM_UP: Duration = Duration::from_millis(500);
/// A connection that makes no progress for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);
