//! TCP encapsulation of IKE and IPsec packets (RFC 9329), for networks that let no UDP pass.
//!
//! ```text
//!   peer ==TCP==> relay --IKE messages--------------> loop   (and back)
//!                   '----ESP---> twin --UDP, lo--> dataplane (and back)
//! ```
//!
//! The packet path knows nothing of TCP. Each connection has a *twin*: a UDP socket of this host that is connected to the
//! dataplane's socket, so that ESP comes and goes there as from any peer behind a NAT. `ike` in turn knows nothing of twins:
//! its paths have the true addresses of the peer, which limits per source, cookies, NAT detection and the status need. Why not
//! a port of the dataplane for streams: the queues run to completion and share no sockets, whereas a stream takes whole
//! messages one after the other from all of them, and has to wait in the middle of one; a socket of the kernel between them
//! is that queue, with the lock and the bound already in it. It costs two system calls per packet, where TCP in TCP
//! costs more (RFC 9329 9).
//!
//! One thread has all connections, so that neither the loop nor the queues ever wait for one of them. Without a listener and
//! without a tunnel that may use TCP there is no such thread.

mod accept;
pub mod frame;
mod originate;
mod relay;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use frame::Broken;
use table::{Count, Line, Table};

pub use table::{Ends, Twin};

/// What the connections have for the loop.
#[derive(Debug)]
pub enum Arrival {
    /// An IKE message, without its non-ESP marker.
    Ike {
        /// By which connection.
        ends: Ends,
        /// The message.
        message: Vec<u8>,
    },
    /// A connection of ours is open, for the first time or again.
    Connected(Ends),
}

/// What is wanted of TCP.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Where to wait for connections.
    pub listen: Vec<SocketAddr>,
    /// Tunnels may open connections.
    pub originate: bool,
    /// Where the dataplane receives UDP.
    pub dataplane: Vec<SocketAddr>,
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    table: Arc<Table>,
    arrivals: mpsc::Sender<Arrival>,
    dataplane: Arc<[SocketAddr]>,
}

impl Shared {
    fn count_broken(&self, broken: Broken) {
        self.table.count(match broken {
            Broken::Prefix => Count::Prefix,
            Broken::Length | Broken::TooLong => Count::Frame,
        });
    }
}

/// A connection to open.
struct Order {
    line: Line,
    twin: std::net::UdpSocket,
}

/// The loop's side of all connections.
///
/// Concurrency: owned by the loop. Dropped, it ends the thread and closes the connections.
pub struct Streams {
    table: Arc<Table>,
    dataplane: Arc<[SocketAddr]>,
    /// `None`: TCP is not used.
    orders: Option<mpsc::Sender<Order>>,
    arrivals: mpsc::Receiver<Arrival>,
    listening: Vec<SocketAddr>,
    /// Which connection the SAs of a tunnel use.
    claims: BTreeMap<u32, Ends>,
}

impl Streams {
    /// Listens, and starts the thread of the connections if there can be any.
    pub fn open(wanted: Wanted) -> io::Result<Self> {
        let listeners = listen(&wanted.listen)?;
        let listening = listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<io::Result<_>>()?;
        let (arrivals_sender, arrivals) = mpsc::channel(ARRIVALS_QUEUED);
        let shared = Shared {
            table: Arc::default(),
            arrivals: arrivals_sender,
            dataplane: wanted.dataplane.into(),
        };
        let mut streams = Self {
            table: Arc::clone(&shared.table),
            dataplane: Arc::clone(&shared.dataplane),
            orders: None,
            arrivals,
            listening,
            claims: BTreeMap::new(),
        };
        if wanted.originate || !listeners.is_empty() {
            let (sender, orders) = mpsc::channel(ORDERS_QUEUED);
            streams.orders = Some(sender);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            std::thread::Builder::new()
                .name("xvpn-tcp".into())
                .spawn(move || runtime.block_on(work(listeners, orders, shared)))?;
        }
        Ok(streams)
    }

    /// Where it listens.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The next arrival; nothing ever arrives where TCP is not used.
    pub fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        match self.arrivals.poll_recv(cx) {
            Poll::Ready(Some(arrival)) => Poll::Ready(arrival),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Has an IKE message sent. A connection that is ours to open is opened: the message waits with `ike`, which sends it when
    /// it hears of [`Arrival::Connected`].
    pub fn send(&self, ends: Ends, message: &[u8]) -> io::Result<()> {
        if self.table.has(ends) {
            return match self.table.send(ends, message.to_vec()) {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        if ends.local.port() == 0 {
            // RFC 9329 6.1: only the peer can open it again.
            return Err(io::ErrorKind::NotConnected.into());
        }
        let orders = self.orders.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let (socket, twin) = Twin::open(ends.local.ip(), &self.dataplane, None)?;
        let line = self.table.add(ends, twin).ok_or(io::ErrorKind::AlreadyExists)?;
        let order = Order { line, twin: socket };
        orders
            .try_send(order)
            .map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// Where the dataplane finds a connection.
    pub fn twin(&self, ends: Ends) -> Option<Twin> {
        self.table.twin(ends)
    }

    /// The SAs of a tunnel use this connection now, or none. The one before is closed after a while.
    pub fn claim(&mut self, tunnel: u32, ends: Option<Ends>) {
        let before = match ends {
            Some(ends) => self.claims.insert(tunnel, ends),
            None => self.claims.remove(&tunnel),
        };
        if let Some(ends) = ends {
            self.table.claim(ends, true);
        }
        if let Some(before) = before.filter(|before| Some(*before) != ends) {
            self.table.claim(before, false);
        }
    }

    /// Connections that could not be opened since the last time.
    pub fn take_refused(&self) -> Vec<(SocketAddr, io::Error)> {
        self.table.take_refused()
    }

    /// What was counted, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.table.counts()
    }
}

fn listen(addresses: &[SocketAddr]) -> io::Result<Vec<std::net::TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        match bind(*address) {
            Ok(listener) => listeners.push(listener),
            // `[::]` is in everyone's configuration, IPv6 is not in every kernel.
            Err(error)
                if address.ip().is_unspecified()
                    && addresses.len() > 1
                    && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(explain(*address, &error)),
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A connection of the daemon before this one may still be fading.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is the standard library's"
)]
fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let port = address.port();
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses it: `ss -ltnp sport = :{port}` names it; stop it, or set another `gateway.tcp_port` (and \
             `remote.tcp_port` at the peers)"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have the address: correct `gateway.listen`".to_owned()
        }
        io::ErrorKind::PermissionDenied => "run the daemon as root or with CAP_NET_BIND_SERVICE".to_owned(),
        _ => "correct `gateway.listen` and `gateway.tcp_port`".to_owned(),
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on TCP {address}: {error}; {remedy}"),
    )
}

/// The thread of the connections. It ends with the loop.
async fn work(listeners: Vec<std::net::TcpListener>, mut orders: mpsc::Receiver<Order>, shared: Shared) {
    let doors = accept::Doors::default();
    for listener in listeners {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(accept::accept(
                listener,
                shared.clone(),
                doors.clone(),
            ))),
            Err(error) => tracing::error!("cannot listen on TCP: {error}"),
        }
    }
    while let Some(Order { line, twin }) = orders.recv().await {
        match UdpSocket::from_std(twin) {
            Ok(twin) => drop(tokio::spawn(originate::originate(line, twin, shared.clone()))),
            Err(error) => tracing::warn!("cannot open a TCP connection: {error}"),
        }
    }
}

const BACKLOG: i32 = 128;
/// IKE messages that wait for the loop. Further ones wait in their connections.
const ARRIVALS_QUEUED: usize = 64;
/// Connections that wait to be opened.
const ORDERS_QUEUED: usize = 64;
