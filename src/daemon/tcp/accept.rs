//! Connections that peers open. Until an IKE SA with an authenticated peer uses one, its peer is a stranger, and strangers
//! get little: few places, few octets, little time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Shared;
use super::frame::{Broken, Decoder};
use super::relay::{self, Claim, End};
use super::table::{Count, Ends, Twin};

/// Takes connections as they come.
pub(super) async fn accept(listener: TcpListener, shared: Shared, doors: Doors) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if shared.table.len() >= MOST_CONNECTIONS {
                    shared.table.count(Count::Crowded);
                    continue;
                }
                let place = doors.enter(remote.ip(), &shared);
                tokio::spawn(serve(stream, remote, place, shared.clone()));
            }
            // No descriptors left, or a connection that was gone before it was taken.
            Err(error) => {
                tracing::debug!("taking a TCP connection: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, remote: SocketAddr, place: Place, shared: Shared) {
    let evicted = Arc::clone(&place.evicted);
    let end = tokio::select! {
        end = carry(&mut stream, remote, place, &shared) => end,
        () = evicted.notified() => return,
    };
    match end {
        Ok(End::Lost(error)) => tracing::debug!("TCP from {remote} is lost: {error}"),
        Ok(End::Broken(broken)) => {
            shared.count_broken(broken);
            tracing::debug!("TCP from {remote} carries something else ({broken:?})");
        }
        Ok(End::Unclaimed) => tracing::debug!("TCP from {remote} is closed: no IKE SA uses it"),
        Err(error) => tracing::debug!("TCP from {remote} is of no use: {error}"),
    }
}

async fn carry(stream: &mut TcpStream, remote: SocketAddr, place: Place, shared: &Shared) -> io::Result<End> {
    relay::prepare(stream)?;
    let local = stream.local_addr()?.ip();
    let mut decoder = Decoder::of_responder(LONGEST_OF_STRANGERS);
    // RFC 9329 6.1: nothing is read before the whole prefix is there, and nothing is made for who does not send it.
    match timeout(PREFIX_PATIENCE, await_prefix(stream, &mut decoder)).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(broken))) => return Ok(End::Broken(broken)),
        Ok(Err(error)) => return Ok(End::Lost(error)),
        Err(_elapsed) => {
            shared.table.count(Count::Slow);
            return Ok(End::Unclaimed);
        }
    }
    let ends = Ends {
        // Who was connected to writes 0 for its port; the peer's has no scope or flow here.
        local: SocketAddr::new(local, 0),
        remote: SocketAddr::new(remote.ip(), remote.port()),
    };
    let (socket, twin) = open_twin(ends, shared).await?;
    let mut line = shared.table.add(ends, twin).ok_or(io::ErrorKind::AlreadyExists)?;
    let mut claim = Claim::new(line.claimed.clone(), FIRST_PATIENCE, LAST_PATIENCE);
    let mut claimed = line.claimed.clone();
    let known = async {
        // Whoever is authenticated takes no stranger's place any more.
        if claimed.wait_for(|claimed| *claimed).await.is_ok() {
            drop(place);
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = relay::run(stream, decoder, &socket, &mut line, &mut claim, shared) => end,
        () = known => End::Unclaimed,
    };
    if matches!(end, End::Unclaimed) {
        shared.table.count(Count::Slow);
    }
    Ok(end)
}

/// The twin of a new connection; of one that takes the place of another, the same as before.
async fn open_twin(ends: Ends, shared: &Shared) -> io::Result<(UdpSocket, Twin)> {
    let local = ends.local.ip();
    let mut opened = Err(io::ErrorKind::AddrInUse.into());
    if let Some(port) = shared.table.succeed(ends) {
        for _ in 0..TRIES_FOR_TWIN {
            opened = Twin::open(local, &shared.dataplane, Some(port));
            if opened.is_ok() {
                break;
            }
            // The one before is about to let go of it.
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    } else {
        opened = Twin::open(local, &shared.dataplane, None);
    }
    let (socket, twin) = opened?;
    Ok((UdpSocket::from_std(socket)?, twin))
}

async fn await_prefix(stream: &mut TcpStream, decoder: &mut Decoder) -> io::Result<Option<Broken>> {
    let (reader, _) = stream.split();
    while decoder.awaits_prefix() {
        relay::read_some(&reader, decoder).await?;
        if let Err(broken) = decoder.check_prefix() {
            return Ok(Some(broken));
        }
    }
    Ok(None)
}

/// The places of strangers.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors(Arc<Mutex<Vec<Stranger>>>);

/// Where one is from, and how it is told to go.
type Stranger = (Source, Arc<Notify>);

/// Where a stranger is from: an IPv4 address, or the network of an IPv6 host (RFC 4291 2.5.4), which has all of its addresses.
type Source = u128;

/// A stranger's place, until it is dropped.
struct Place {
    doors: Doors,
    evicted: Arc<Notify>,
}

impl Doors {
    /// A place for one more. There is always one: of too many strangers, or too many from one place, the oldest must go.
    fn enter(&self, from: IpAddr, shared: &Shared) -> Place {
        let source = source(from);
        let mut strangers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let neighbours = strangers.iter().filter(|(other, _)| *other == source).count();
        let oldest = if neighbours >= MOST_OF_ONE_SOURCE {
            strangers.iter().position(|(other, _)| *other == source)
        } else {
            (strangers.len() >= MOST_STRANGERS).then_some(0)
        };
        if let Some(oldest) = oldest {
            let (_, evicted) = strangers.remove(oldest);
            evicted.notify_one();
            shared.table.count(Count::Crowded);
        }
        let evicted = Arc::new(Notify::new());
        strangers.push((source, Arc::clone(&evicted)));
        Place {
            doors: self.clone(),
            evicted,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut strangers = self.doors.0.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|(_, evicted)| !Arc::ptr_eq(evicted, &self.evicted));
    }
}

fn source(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

/// All connections together: each has two descriptors, of which a process may have 1024 unless told otherwise.
const MOST_CONNECTIONS: usize = 400;
/// Those of strangers.
const MOST_STRANGERS: usize = 64;
const MOST_OF_ONE_SOURCE: usize = 8;
/// What `ike` accepts of a peer that is not authenticated.
const LONGEST_OF_STRANGERS: usize = 32 << 10;
const PREFIX_PATIENCE: Duration = Duration::from_secs(5);
/// For the whole of IKE_SA_INIT and IKE_AUTH, as long as `ike` waits for it.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);
/// RFC 9329 6.1: the originator has some seconds to close it, or to make another IKE SA.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
const TRIES_FOR_TWIN: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
const AFTER_ERROR: Duration = Duration::from_millis(100);
