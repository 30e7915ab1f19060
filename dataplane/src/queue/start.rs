//! Starting and stopping the workers, and giving them interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::punt::{self, PuntReceiver};
use super::worker::{Line, Order, Worker};
use super::{IkeSocket, Queue};
use crate::api::{Config, Offloads, TunnelId, TunnelSpec};
use crate::control::Shared;
use crate::io::esp_raw::RawEsp;
use crate::io::tun::{Spread, Steering, TunPort, TunQueue};
use crate::io::udp::UdpSocket;
use crate::io::wire::WirePort;

/// The threads of all queues. Dropped, they stop.
///
/// Concurrency: for control; the orders are handed over, never shared.
pub struct Workers {
    threads: Vec<Thread>,
    tun_device: PathBuf,
    offload_tun: bool,
    steering: Option<Steering>,
}

/// What starting the workers gives beside them.
pub struct Beside {
    /// The ring of what they hand up.
    pub punts: PuntReceiver,
    /// A socket per UDP address, to send IKE messages with.
    pub ike: Vec<IkeSocket>,
    /// For the operator: what the kernel did not give and is done without.
    pub notes: Vec<String>,
}

struct Thread {
    line: Line,
    handle: JoinHandle<io::Result<()>>,
}

impl Workers {
    /// Binds the sockets and starts a thread per queue.
    ///
    /// Also gives what goes with them.
    pub fn start(config: &Config, shared: Arc<Shared>) -> io::Result<(Self, Beside)> {
        let queues = config.queues.max(1);
        let mut sockets = Sockets::open(config, queues)?;
        let ike = std::mem::take(&mut sockets.ike);
        let notes = std::mem::take(&mut sockets.notes);
        let (punt, punts) = punt::ring()?;
        let mut workers = Self {
            threads: Vec::with_capacity(queues),
            tun_device: config.tun_device.clone(),
            offload_tun: config.offloads.tun,
            steering: config.steering.clone(),
        };
        for (index, OfQueue { udp, raw, own }) in sockets.of_queues.into_iter().enumerate() {
            let stats = shared.queue_stats(index);
            let mut wire = WirePort::new(udp, raw, Arc::clone(&stats)).with_own_ports(own);
            if !(config.offloads.gso && sockets.segments) {
                wire = wire.without_segmentation();
            }
            let queue = Queue::new(TunPort::new(Arc::clone(&stats)), wire, stats, punt.clone())
                .serving(number(index), number(queues));
            let (worker, line) = Worker::new(Arc::clone(&shared), queue)?;
            let handle = Builder::new()
                .name(format!("xvpn-q{index}"))
                .spawn(move || worker.run())?;
            workers.threads.push(Thread { line, handle });
        }
        Ok((workers, Beside { punts, ike, notes }))
    }

    /// Makes the interface of a tunnel and gives each worker a queue of it.
    ///
    /// Returns a note for the operator if the kernel lacks a feature.
    pub fn open_tunnel(&self, spec: &TunnelSpec) -> io::Result<Option<String>> {
        let name = &spec.interface;
        let open = TunQueue::open(&self.tun_device, name, self.threads.len())?;
        let mut notes: Vec<String> = open.note.into_iter().collect();
        // All on one until it is known how far the peer's replay window goes back.
        let one = Spread::Queue(self.home(spec.id));
        if let (Some(steering), [first, _, ..]) = (&self.steering, &open.queues[..])
            && let Err(error) = first.steer(steering, one)
        {
            notes.push(format!(
                "interface {name}: the kernel moves a flow to the queue of its replies, which may put packets out of order \
                 (TUNSETSTEERINGEBPF: {error})"
            ));
        }
        for (index, (thread, mut queue)) in self.threads.iter().zip(open.queues).enumerate() {
            let offloaded = if self.offload_tun { queue.offload() } else { Ok(()) };
            // All queues of an interface are alike.
            if let Err(error) = offloaded
                && index == 0
            {
                notes.push(format!(
                    "interface {name}: no segmentation offload (TUNSETOFFLOAD: {error})"
                ));
            } else if index == 0 && queue.takes_segments() && !queue.takes_udp_segments() {
                notes.push(format!(
                    "interface {name}: the kernel makes super-packets of TCP only (those of UDP need Linux 6.2)"
                ));
            }
            thread.line.order(Order::Open(spec.id, queue));
        }
        Ok((!notes.is_empty()).then(|| notes.join("; ")))
    }

    /// Spreads the flows of a tunnel over all queues, or keeps them on one.
    pub fn spread(&self, id: TunnelId, all: bool) {
        let spread = if all {
            Spread::Flows
        } else {
            Spread::Queue(self.home(id))
        };
        if let (Some(steering), [first, _, ..]) = (&self.steering, &self.threads[..]) {
            first.line.order(Order::Steer(id, steering.clone(), spread));
        }
    }

    /// Has the queue of a tunnel send payloads of a place in its SPD at a constant rate.
    pub fn pace(&self, id: TunnelId, order: u32, per_second: u32) {
        if let Some(thread) = self.threads.get(self.home(id)) {
            thread.line.order(Order::Pace(id, order, per_second));
        }
    }

    /// The queue of a tunnel that has only one.
    fn home(&self, id: TunnelId) -> usize {
        usize::try_from(id.0).unwrap_or(0) % self.threads.len().max(1)
    }

    /// Closes the interface of a tunnel. When this returns the name is free again.
    pub fn close_tunnel(&self, id: TunnelId) {
        let (done, closed) = sync_channel(self.threads.len());
        for thread in &self.threads {
            thread.line.order(Order::Close(id, done.clone()));
        }
        drop(done);
        for _ in &self.threads {
            // A worker obeys after the batch in hand; one that is gone has dropped its end.
            if closed.recv_timeout(CLOSING).is_err() {
                break;
            }
        }
    }

    /// Why a worker ended although nobody stopped it.
    pub fn failure(&self) -> Option<String> {
        let index = self
            .threads
            .iter()
            .position(|thread| thread.handle.is_finished())?;
        Some(format!("the thread of queue {index} ended"))
    }

    /// Stops all, waits for them, and says how the first that failed did.
    pub fn stop(mut self) -> io::Result<()> {
        self.stop_all()
    }

    fn stop_all(&mut self) -> io::Result<()> {
        for thread in &self.threads {
            thread.line.order(Order::Stop);
        }
        let mut result = Ok(());
        for (index, thread) in self.threads.drain(..).enumerate() {
            let ended = thread.handle.join().unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
                let text = text
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                Err(io::Error::other(format!("queue {index} panicked: {text}")))
            });
            result = result.and(ended);
        }
        result
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Who wants to know calls stop().
        let _ = self.stop_all();
    }
}

/// The sockets of a queue.
#[derive(Default)]
struct OfQueue {
    udp: Vec<UdpSocket>,
    raw: Vec<RawEsp>,
    /// To send from only.
    own: Vec<UdpSocket>,
}

/// The sockets of all queues.
struct Sockets {
    of_queues: Vec<OfQueue>,
    ike: Vec<IkeSocket>,
    /// The kernel knows UDP_SEGMENT.
    segments: bool,
    notes: Vec<String>,
}

impl Sockets {
    fn open(config: &Config, queues: usize) -> io::Result<Self> {
        let mut sockets = Self {
            of_queues: Vec::new(),
            ike: Vec::new(),
            segments: true,
            notes: Vec::new(),
        };
        sockets.of_queues.resize_with(queues, Default::default);
        for &address in &config.udp {
            match UdpSocket::group(address, queues, config.socket_buffer) {
                Ok(group) => {
                    sockets.probe(address, &group, config.offloads);
                    if let Err(error) = UdpSocket::steer(&group) {
                        sockets.notes.push(format!(
                            "UDP {address}: the kernel keeps ESP on queues by a hash of addresses and ports, not by SPI \
                             (SO_ATTACH_REUSEPORT_CBPF: {error})"
                        ));
                    }
                    sockets.add_udp(group)?;
                    if config.own_ports {
                        sockets.add_own(address.ip(), config.socket_buffer)?;
                    }
                }
                // `[::]` is in everyone's configuration, IPv6 is not in every kernel.
                Err(error) if address.ip().is_unspecified() && no_family(&error) && config.udp.len() > 1 => {}
                Err(error) => return Err(explain_udp(address, &error)),
            }
        }
        if config.raw_esp {
            // ESP is taken on the same addresses: others of this host may belong to another IPsec.
            let addresses: BTreeSet<IpAddr> = config.udp.iter().map(SocketAddr::ip).collect();
            for address in addresses {
                match sockets.open_raw(address, config.socket_buffer) {
                    Err(error) if !no_family(&error) => return Err(explain_raw(&error)),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(sockets)
    }

    /// Asks for what the kernel may do for many datagrams at once; a note for what it does not know.
    fn probe(&mut self, address: SocketAddr, group: &[UdpSocket], offloads: Offloads) {
        if offloads.gro
            && let Err(error) = group.iter().try_for_each(UdpSocket::join_datagrams)
        {
            self.notes.push(format!(
                "UDP {address}: the kernel does not join datagrams, each is received by itself (UDP_GRO: {error})"
            ));
        }
        if offloads.gso
            && let Some(Err(error)) = group.first().map(UdpSocket::cuts_runs)
        {
            self.segments = false;
            self.notes.push(format!(
                "UDP {address}: the kernel does not cut runs of packets, each is sent by itself (UDP_SEGMENT: {error})"
            ));
        }
    }

    fn add_udp(&mut self, group: Vec<UdpSocket>) -> io::Result<()> {
        if let Some(first) = group.first() {
            self.ike.push(first.share()?);
        }
        for (of, socket) in self.of_queues.iter_mut().zip(group) {
            of.udp.push(socket);
        }
        Ok(())
    }

    fn add_own(&mut self, address: IpAddr, buffer: usize) -> io::Result<()> {
        for of in &mut self.of_queues {
            of.own.push(UdpSocket::sender(address, buffer)?);
        }
        Ok(())
    }

    fn open_raw(&mut self, address: IpAddr, buffer: usize) -> io::Result<()> {
        let count = u32::try_from(self.of_queues.len()).unwrap_or(u32::MAX);
        let group = RawEsp::group(address, count, buffer)?;
        for (of, socket) in self.of_queues.iter_mut().zip(group) {
            of.raw.push(socket);
        }
        Ok(())
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn no_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn explain_udp(address: SocketAddr, error: &io::Error) -> io::Error {
    let remedies = [
        (
            io::ErrorKind::AddrInUse,
            "another IKE daemon holds it (strongSwan, Libreswan, Openswan or another xvpn: `ss -lunp` tells): stop it",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this host does not have that address: correct the listen address",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "run as root or with CAP_NET_BIND_SERVICE",
        ),
    ];
    explain(&format!("UDP {address}"), error, &remedies)
}

fn explain_raw(error: &io::Error) -> io::Error {
    let remedy = "run with CAP_NET_RAW, or let every tunnel use UDP encapsulation";
    explain(
        "raw socket for ESP (IP protocol 50)",
        error,
        &[(io::ErrorKind::PermissionDenied, remedy)],
    )
}

/// The error with what was wanted before it and, if there is one, the remedy behind it.
fn explain(what: &str, error: &io::Error, remedies: &[(io::ErrorKind, &str)]) -> io::Error {
    let text = match remedies.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, remedy)) => format!("{what}: {error}; {remedy}"),
        None => format!("{what}: {error}"),
    };
    io::Error::new(error.kind(), text)
}

const CLOSING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Workers {
        let (line, _orders) = Line::new().unwrap();
        let handle = std::thread::spawn(work);
        Workers {
            threads: vec![Thread { line, handle }],
            tun_device: PathBuf::new(),
            offload_tun: false,
            steering: None,
        }
    }

    #[test]
    fn a_panic_of_a_queue_is_seen_while_running_and_when_stopping() {
        let workers = workers(|| panic!("on purpose"));
        while workers.failure().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(workers.failure().unwrap(), "the thread of queue 0 ended");
        let error = workers.stop().unwrap_err();
        assert_eq!(error.to_string(), "queue 0 panicked: on purpose");
    }

    #[test]
    fn closing_a_tunnel_does_not_wait_for_a_queue_that_is_gone() {
        let workers = workers(|| Ok(()));
        let begin = std::time::Instant::now();
        workers.close_tunnel(TunnelId(1));
        assert!(begin.elapsed() < CLOSING);
        workers.stop().unwrap();
    }
}
