//! Connections that we open, and open again as long as an IKE SA needs them (RFC 9329 6.1).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use super::frame::{Decoder, PREFIX};
use super::relay::{self, Claim, End};
use super::table::{Ends, Line};
use super::{Arrival, Shared};

/// Opens and carries until no IKE SA wants it any more.
pub(super) async fn originate(mut line: Line, twin: UdpSocket, shared: Shared) {
    let ends = line.ends;
    let mut claim = Claim::new(line.claimed.clone(), FIRST_PATIENCE, LAST_PATIENCE);
    let mut wait = FIRST_WAIT;
    // The port that NAT detection speaks of (RFC 9329 6.5). A later connection has any: to the peer it is another one.
    let mut port = ends.local.port();
    loop {
        let opened = tokio::select! {
            opened = open(ends, port) => opened,
            () = claim.expired() => return,
        };
        match opened {
            Ok(mut stream) => {
                port = 0;
                relay::discard_stale(&twin, &mut line);
                if shared.arrivals.send(Arrival::Connected(ends)).await.is_err() {
                    return;
                }
                tracing::debug!("TCP to {} is open", ends.remote);
                let since = Instant::now();
                let decoder = Decoder::of_originator();
                match relay::run(&mut stream, decoder, &twin, &mut line, &mut claim, &shared).await {
                    End::Unclaimed => return,
                    End::Lost(error) => tracing::debug!("TCP to {} is lost: {error}", ends.remote),
                    End::Broken(broken) => {
                        shared.count_broken(broken);
                        tracing::debug!("TCP to {} carries something else ({broken:?})", ends.remote);
                    }
                }
                if since.elapsed() > LONGEST_WAIT {
                    wait = FIRST_WAIT;
                }
            }
            Err(error) => {
                tracing::debug!("TCP to {} cannot be opened: {error}", ends.remote);
                shared.table.refuse(ends.remote, error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = claim.expired() => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// A connection, with the prefix sent.
async fn open(ends: Ends, port: u16) -> io::Result<TcpStream> {
    let from = |port| SocketAddr::new(ends.local.ip(), port);
    let stream = match connect(from(port), ends.remote).await {
        // Someone else may have the port.
        Err(error) if port != 0 && is_taken(&error) => connect(from(0), ends.remote).await,
        opened => opened,
    };
    let mut stream = stream?;
    relay::prepare(&stream)?;
    // RFC 9329 6.1: the prefix is the first on every connection.
    stream.write_all(&PREFIX).await?;
    Ok(stream)
}

async fn connect(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.bind(local)?;
    let connected = timeout(CONNECT_PATIENCE, socket.connect(remote)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// How long `ike` negotiates before it gives up, and a bit.
const FIRST_PATIENCE: Duration = Duration::from_secs(50);
/// RFC 9329 6.1: the originator closes it once the IKE SA is deleted.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
