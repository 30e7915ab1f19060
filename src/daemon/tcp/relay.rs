//! One connection while it is open: frames become datagrams, datagrams become frames.
//!
//! Nothing waits without bound. ESP from the dataplane waits in the twin's socket buffer while TCP takes nothing, and what
//! does not fit there is lost, as it would be on any congested path. ESP from the peer goes to the dataplane at once or is
//! lost. Only IKE messages for the loop wait, one of each connection: nobody sends them again (RFC 9329 6.2), and a stranger
//! who sends many of them waits behind his own.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::frame::{Broken, Decoder, Frame, emit_esp, emit_ike};
use super::table::{Count, Ends, Line, Table};
use super::{Arrival, Shared};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it, or the network did.
    Lost(io::Error),
    /// What came was no stream of IKE and ESP.
    Broken(Broken),
    /// No IKE SA uses it.
    Unclaimed,
}

/// Whether an IKE SA uses the connection, and since when none does.
pub(super) struct Claim {
    claimed: watch::Receiver<bool>,
    deadline: Instant,
    grace: Duration,
}

impl Claim {
    /// It must be claimed within `first`; after it was given up it stays for `grace`.
    pub(super) fn new(claimed: watch::Receiver<bool>, first: Duration, grace: Duration) -> Self {
        Self {
            claimed,
            deadline: Instant::now() + first,
            grace,
        }
    }

    /// Waits until nobody has claimed it for too long.
    pub(super) async fn expired(&mut self) {
        loop {
            if *self.claimed.borrow_and_update() {
                if self.claimed.changed().await.is_err() {
                    return;
                }
                self.deadline = Instant::now() + self.grace;
                continue;
            }
            tokio::select! {
                changed = self.claimed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(self.deadline) => return,
            }
        }
    }
}

/// What every connection is asked for.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // A datagram that waits for the next one helps nobody.
    socket.set_tcp_nodelay(true)?;
    // RFC 9329 6.1: a connection that leads nowhere any more is to be opened again, long before TCP would give it up itself.
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_keepalive(true)?;
    // What waits to be sent is stale before long; the twin's buffer, which overflows, is the place to wait.
    socket.set_tcp_notsent_lowat(MOST_UNSENT)
}

/// Carries until it ends.
pub(super) async fn run(
    stream: &mut TcpStream,
    mut decoder: Decoder,
    twin: &UdpSocket,
    line: &mut Line,
    claim: &mut Claim,
    shared: &Shared,
) -> End {
    let (reader, writer) = stream.split();
    let (ends, claimed) = (line.ends, line.claimed.clone());
    tokio::select! {
        end = receive(reader, &mut decoder, twin, ends, &claimed, shared) => end,
        error = send(writer, twin, &mut line.ike, &shared.table) => End::Lost(error),
        () = claim.expired() => End::Unclaimed,
    }
}

async fn receive(
    reader: ReadHalf<'_>,
    decoder: &mut Decoder,
    twin: &UdpSocket,
    ends: Ends,
    claimed: &watch::Receiver<bool>,
    shared: &Shared,
) -> End {
    loop {
        // What came with the prefix is there already.
        loop {
            let message = match decoder.next_frame() {
                Err(broken) => return End::Broken(broken),
                Ok(None) => break,
                Ok(Some(Frame::Ike(message))) => message.to_vec(),
                Ok(Some(Frame::Esp(packet))) => {
                    if twin.try_send(packet).is_err() {
                        shared.table.count(Count::Dropped);
                    }
                    continue;
                }
                Ok(Some(Frame::Silence)) => continue,
                Ok(Some(Frame::Rubbish)) => {
                    shared.table.count(Count::Dropped);
                    continue;
                }
            };
            let arrival = Arrival::Ike { ends, message };
            if shared.arrivals.send(arrival).await.is_err() {
                return End::Unclaimed;
            }
        }
        if *claimed.borrow() {
            decoder.trust();
        }
        if let Err(error) = read_some(&reader, decoder).await {
            return End::Lost(error);
        }
    }
}

/// Waits for octets, and takes those that are there.
pub(super) async fn read_some(reader: &ReadHalf<'_>, decoder: &mut Decoder) -> io::Result<()> {
    reader.readable().await?;
    // On the stack only while it is used: a connection that is idle keeps no buffer.
    let mut octets = [0; READ_AT_ONCE];
    match reader.try_read(&mut octets) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => {
            decoder.push(octets.get(..count).unwrap_or_default());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

async fn send(
    mut writer: WriteHalf<'_>,
    twin: &UdpSocket,
    ike: &mut mpsc::Receiver<Vec<u8>>,
    table: &Table,
) -> io::Error {
    let mut out = Vec::new();
    loop {
        out.clear();
        // IKE goes before ESP: it is little, and on it the tunnel depends.
        tokio::select! {
            biased;
            message = ike.recv() => match message {
                Some(message) => add(&mut out, &message, table),
                None => return io::ErrorKind::BrokenPipe.into(),
            },
            ready = twin.readable() => if let Err(error) = ready { return error },
        }
        while let Ok(message) = ike.try_recv() {
            add(&mut out, &message, table);
        }
        gather(twin, &mut out, table);
        if let Err(error) = writer.write_all(&out).await {
            return error;
        }
    }
}

fn add(out: &mut Vec<u8>, message: &[u8], table: &Table) {
    if !emit_ike(out, message) {
        table.count(Count::Dropped);
    }
}

/// Takes the packets that wait for the connection, as many as are worth one write.
fn gather(twin: &UdpSocket, out: &mut Vec<u8>, table: &Table) {
    let mut packet = [0; LONGEST_DATAGRAM];
    while out.len() < WRITE_AT_ONCE {
        match twin.try_recv(&mut packet) {
            Ok(count) => {
                if !emit_esp(out, packet.get(..count).unwrap_or_default()) {
                    table.count(Count::Dropped);
                }
            }
            // ICMP leaves errors behind on the socket; there is nothing more to take, or the next look will show.
            Err(_) => return,
        }
    }
}

/// Throws away what waited for a connection that was not there: the peer has no use for it any more.
pub(super) fn discard_stale(twin: &UdpSocket, line: &mut Line) {
    let mut packet = [0; 1];
    for _ in 0..MOST_STALE {
        if twin.try_recv(&mut packet).is_err() {
            break;
        }
    }
    while line.ike.try_recv().is_ok() {}
}

const READ_AT_ONCE: usize = 64 << 10;
const WRITE_AT_ONCE: usize = 64 << 10;
const LONGEST_DATAGRAM: usize = 1 << 16;
const MOST_UNSENT: u32 = 128 << 10;
/// More datagrams than a socket buffer holds.
const MOST_STALE: usize = 4096;
/// Octets that nobody has confirmed for so long are the end of a connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
