//! The caller's door: start, open tunnels, perform commands, read counts.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::api::{Command, Config, SaUsage, TunnelId, TunnelSpec, Usage};
use crate::discard::Discard;
use crate::io::udp::IkeSocket;
use crate::queue::{PuntReceiver, Workers};
use crate::sa::{InboundSa, OutboundSa};
use crate::stats::{self, Counter, QueueStats};
use crate::tables::Tables;

/// What control and the queues share.
///
/// Concurrency: queues load `tables` once per batch and never wait; control publishes a new one.
#[derive(Debug)]
pub struct Shared {
    /// The tables in force.
    pub tables: ArcSwap<Tables>,
    /// One set of counters per queue, and a last one for control.
    pub stats: Vec<Arc<QueueStats>>,
}

impl Shared {
    /// Empty tables and zero counters for so many queues.
    pub fn new(queues: usize) -> Arc<Self> {
        let stats = (0..=queues).map(|_| Arc::new(QueueStats::new())).collect();
        Arc::new(Self {
            tables: ArcSwap::from_pointee(Tables::default()),
            stats,
        })
    }

    /// How many queues there are.
    pub fn queues(&self) -> usize {
        self.stats.len().saturating_sub(1)
    }

    /// The counters of queue `index`.
    pub fn queue_stats(&self, index: usize) -> Arc<QueueStats> {
        self.stats.get(index).cloned().unwrap_or_default()
    }
}

/// The running dataplane. Dropped, it stops.
///
/// Concurrency: all methods take `&self` and may be called from any thread; changes of the tables are serialised.
pub struct Control {
    shared: Arc<Shared>,
    changing: Mutex<()>,
    workers: Workers,
}

/// What starting gives.
pub struct Started {
    /// The door.
    pub control: Control,
    /// What the queues hand up.
    pub punts: PuntReceiver,
    /// One per UDP address of the configuration, to send IKE messages from the port that ESP uses.
    pub ike: Vec<IkeSocket>,
}

impl Control {
    /// Binds the sockets and starts one thread per queue.
    pub fn start(config: &Config) -> io::Result<Started> {
        let shared = Shared::new(config.queues.max(1));
        let (workers, punts, ike) = Workers::start(config, Arc::clone(&shared))?;
        Ok(Started {
            control: Self {
                shared,
                changing: Mutex::new(()),
                workers,
            },
            punts,
            ike,
        })
    }

    /// Creates the TUN of a tunnel and attaches its queues. Packets into it are refused until an SA is installed.
    ///
    /// Gives a note for the operator if the kernel lacks a feature. The interface is down and has no address yet.
    pub fn open_tunnel(&self, spec: &TunnelSpec) -> io::Result<Option<String>> {
        self.change(|tables| tables.open_tunnel(spec.clone()));
        self.workers
            .open_tunnel(spec)
            .inspect_err(|_| self.change(|tables| tables.close_tunnel(spec.id)))
    }

    /// Forgets a tunnel with its SAs and closes its TUN.
    pub fn close_tunnel(&self, id: TunnelId) {
        self.change(|tables| tables.close_tunnel(id));
        self.workers.close_tunnel(id);
    }

    /// Performs a command; it is visible to the next batch of every queue.
    pub fn perform(&self, command: Command) {
        self.shared.perform(&self.changing, command);
    }

    /// The counts of every CHILD SA, in no order.
    pub fn usage(&self) -> Vec<SaUsage> {
        usage(&self.shared.tables.load())
    }

    /// One counter per discard reason, summed over queues.
    pub fn counters(&self) -> Vec<Counter> {
        stats::sum(self.shared.stats.iter().map(|stats| &**stats))
    }

    /// The longest inner packet of a tunnel now: for the MTU of its interface. `None` without an SA.
    pub fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16> {
        self.shared.tables.load().tunnel(tunnel)?.inner_mtu()
    }

    /// Why a queue ended although nobody stopped it; `None` while all is well. Its peers carry on without it.
    pub fn failure(&self) -> Option<String> {
        self.workers.failure()
    }

    /// Stops the queues and closes everything. An error says how a queue had failed before.
    pub fn stop(self) -> io::Result<()> {
        self.workers.stop()
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        self.shared.change(&self.changing, change);
    }
}

impl Shared {
    /// Clone, change, publish. The lock is between callers of control only; no queue ever takes it.
    fn change(&self, changing: &Mutex<()>, change: impl FnOnce(&mut Tables)) {
        let _one_at_a_time = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tables = Tables::clone(&self.tables.load());
        change(&mut tables);
        self.tables.store(Arc::new(tables));
    }

    fn perform(&self, changing: &Mutex<()>, command: Command) {
        match command {
            Command::InstallInbound(spec) => match InboundSa::new(&spec) {
                Ok(sa) => self.change(changing, |tables| tables.install_inbound(Arc::new(sa))),
                Err(_) => self.refuse(),
            },
            Command::InstallOutbound(spec) => match OutboundSa::new(&spec) {
                Ok(sa) => self.change(changing, |tables| {
                    tables.install_outbound(Arc::new(sa), spec.path)
                }),
                Err(_) => self.refuse(),
            },
            Command::RemoveInbound(spi) => self.change(changing, |tables| tables.remove_inbound(spi)),
            Command::RemoveOutbound(tunnel, spi) => {
                self.change(changing, |tables| tables.remove_outbound(tunnel, spi));
            }
            Command::SetPath(tunnel, path) => self.change(changing, |tables| tables.set_path(tunnel, path)),
        }
    }

    fn refuse(&self) {
        if let Some(own) = self.stats.last() {
            own.discard(Discard::UnusableSa);
        }
    }
}

/// Joins the two SAs of each CHILD SA by our SPI.
fn usage(tables: &Tables) -> Vec<SaUsage> {
    let mut children = HashMap::new();
    for sa in tables.all_inbound() {
        let (inbound_bytes, inbound_packets) = sa.usage().read();
        let usage = Usage {
            inbound_bytes,
            inbound_packets,
            ..Usage::default()
        };
        children.insert(
            sa.spi(),
            SaUsage {
                tunnel: sa.tunnel(),
                inbound_spi: sa.spi(),
                usage,
            },
        );
    }
    for sa in tables
        .tunnels()
        .flat_map(|tunnel| tunnel.outbound.iter())
        .map(|outbound| &outbound.sa)
    {
        let child = children.entry(sa.inbound_spi()).or_insert_with(|| SaUsage {
            tunnel: sa.tunnel(),
            inbound_spi: sa.inbound_spi(),
            usage: Usage::default(),
        });
        (child.usage.outbound_bytes, child.usage.outbound_packets) = sa.usage().read();
    }
    children.into_values().collect()
}
