//! UDP from host to host at a given pace: what arrives, and in which order.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn::testbed::receive_buffer;

use crate::bed::Bed;
use crate::contestant::Outcome;
use crate::sys::{self, BATCH, Batch};

/// What came of sending for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probe {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Datagrams that arrived behind a later one of their flow.
    pub(crate) reordered: u64,
    /// How long was sent.
    pub(crate) seconds: f64,
}

impl Probe {
    pub(crate) fn loss_percent(&self) -> f64 {
        self.sent.saturating_sub(self.received) as f64 * 100.0 / (self.sent as f64).max(1.0)
    }

    /// Datagrams that arrived per second.
    pub(crate) fn rate(&self) -> f64 {
        self.received as f64 / self.seconds.max(1e-3)
    }
}

/// Sends from host a to host b: `rate` datagrams of `size` octets per second in [`FLOWS`] flows. Each is a packet of
/// its own from the start (no UDP_SEGMENT), as forwarded traffic is.
pub(crate) fn probe(bed: &Bed, size: usize, rate: f64, time: Duration) -> Outcome<Probe> {
    let address = bed.b.host_address();
    let sink = bed
        .b
        .host
        .run(|| UdpSocket::bind(SocketAddr::new(address.into(), 0)))??;
    receive_buffer(&sink, 8 << 20)?;
    sink.set_read_timeout(Some(SILENCE))?;
    let target = sink.local_addr()?;
    let sources: Result<Vec<_>, io::Error> = (0..FLOWS)
        .map(|_| {
            let own = SocketAddr::new(bed.a.host_address().into(), 0);
            let socket = bed.a.host.run(|| UdpSocket::bind(own))??;
            socket.connect(target)?;
            sys::send_buffer(&socket, 4 << 20);
            Ok(socket)
        })
        .collect();
    let sources = sources?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&sink, &over));
        let sending = scope.spawn(|| {
            let sent = send(&sources, size, rate, time);
            over.store(true, Ordering::Relaxed);
            sent
        });
        let (sent, seconds) = sending
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (received, reordered) = receiving
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Probe {
            sent,
            received,
            reordered,
            seconds,
        })
    })
}

/// How many datagrams left, and in how many seconds.
fn send(sources: &[UdpSocket], size: usize, rate: f64, time: Duration) -> (u64, f64) {
    sys::sleep_precisely();
    let mut batch = Batch::new();
    let mut sequences = [0_u64; FLOWS];
    let started = Instant::now();
    // Counts what the kernel refused, too: a pace that it cannot keep is not to be caught up with.
    let (mut tried, mut sent, mut flow) = (0_u64, 0, 0);
    loop {
        let elapsed = started.elapsed();
        if elapsed >= time {
            return (sent, elapsed.as_secs_f64());
        }
        let due = whole(elapsed.as_secs_f64() * rate).saturating_sub(tried);
        if due == 0 {
            thread::sleep(Duration::from_micros(50));
            continue;
        }
        let count = usize::try_from(due).map_or(BATCH, |due| due.min(BATCH));
        for index in 0..count {
            let slot = batch.slot(index);
            slot[..8].copy_from_slice(&(sequences[flow] + index as u64).to_be_bytes());
            slot[8] = u8::try_from(flow).unwrap_or_default();
        }
        let done = batch.send(&sources[flow], count, size).unwrap_or_default() as u64;
        sequences[flow] += done;
        sent += done;
        tried += count as u64;
        flow = (flow + 1) % FLOWS;
    }
}

/// How many datagrams arrived, and how many of them late.
fn receive(sink: &UdpSocket, over: &AtomicBool) -> io::Result<(u64, u64)> {
    let mut batch = Batch::new();
    let mut next = [0_u64; FLOWS];
    let (mut received, mut reordered) = (0, 0);
    loop {
        let was_over = over.load(Ordering::Relaxed);
        match batch.receive(sink) {
            Ok(datagrams) => {
                for datagram in datagrams {
                    let Some((sequence, rest)) = datagram.split_first_chunk() else {
                        continue;
                    };
                    let Some(next) = rest.first().and_then(|flow| next.get_mut(usize::from(*flow))) else {
                        continue;
                    };
                    let sequence = u64::from_be_bytes(*sequence);
                    received += 1;
                    reordered += u64::from(sequence < *next);
                    *next = (*next).max(sequence + 1);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if was_over {
                    return Ok((received, reordered));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "packets of a few seconds"
)]
fn whole(packets: f64) -> u64 {
    packets as u64
}

/// Flows, that is, source ports.
const FLOWS: usize = 4;
/// Nothing more comes when nothing came for so long.
const SILENCE: Duration = Duration::from_millis(200);
