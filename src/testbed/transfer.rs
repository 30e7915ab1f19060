//! Bulk over TCP between two machines: a file with its hash, or as much as possible for a while.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::namespace::Namespace;

/// A SHA-256 hash.
pub type Digest = [u8; 32];

/// What a transfer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Octets that arrived.
    pub bytes: u64,
    /// From the first to the last of them.
    pub time: Duration,
    /// Hash of what arrived.
    pub digest: Option<Digest>,
}

impl Transfer {
    /// Gigabits each second.
    pub fn gigabits(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        let bits = self.bytes as f64 * 8.0;
        bits / self.time.as_secs_f64().max(1e-9) / 1e9
    }
}

/// Makes a file of random octets that begins with `marker`; its hash.
pub fn make_file(path: &Path, size: usize, marker: &[u8]) -> io::Result<Digest> {
    let mut random = File::open("/dev/urandom")?;
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK.min(size)];
    let mut left = size;
    while left > 0 {
        let part = &mut block[..left.min(BLOCK)];
        random.read_exact(part)?;
        if left == size && marker.len() <= part.len() {
            part[..marker.len()].copy_from_slice(marker);
        }
        hash.update(&*part);
        file.write_all(part)?;
        left -= part.len();
    }
    Ok(hash.finalize().into())
}

/// Sends the file at `path` from one machine to another, and hashes what arrives.
pub fn send_file(path: &Path, from: &Namespace, to: &Namespace, address: IpAddr) -> io::Result<Transfer> {
    let mut file = File::open(path)?;
    stream(from, to, address, true, move |socket| {
        io::copy(&mut file, socket).map(drop)
    })
}

/// Sends as much as possible over one TCP connection for a while.
pub fn measure(from: &Namespace, to: &Namespace, address: IpAddr, time: Duration) -> io::Result<Transfer> {
    let block = vec![0x5a; BLOCK];
    let end = Instant::now() + time;
    stream(from, to, address, false, move |socket| {
        while Instant::now() < end {
            socket.write_all(&block)?;
        }
        Ok(())
    })
}

fn stream(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    hashed: bool,
    send: impl FnOnce(&mut TcpStream) -> io::Result<()> + Send,
) -> io::Result<Transfer> {
    let listener = to.run(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(&listener, &stopped, hashed));
        let sent = from.run(|| {
            let mut socket = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            send(&mut socket)?;
            socket.shutdown(std::net::Shutdown::Write)?;
            // Returns when the receiver has everything and hangs up.
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.read(&mut [0; 1]).map(drop)
        });
        drop(stop);
        let received = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent??;
        received
    })
}

fn receive(listener: &TcpListener, stopped: &mpsc::Receiver<()>, hashed: bool) -> io::Result<Transfer> {
    let mut socket = loop {
        match listener.accept() {
            Ok((socket, _)) => break socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stopped.recv_timeout(Duration::from_millis(2)) == Err(mpsc::RecvTimeoutError::Disconnected)
                {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    };
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut buffer, mut hash, mut bytes) = (vec![0; BLOCK], Sha256::new(), 0);
    let started = Instant::now();
    loop {
        match socket.read(&mut buffer)? {
            0 => break,
            length => {
                bytes += length as u64;
                if hashed {
                    hash.update(&buffer[..length]);
                }
            }
        }
    }
    Ok(Transfer {
        bytes,
        time: started.elapsed(),
        digest: hashed.then(|| hash.finalize().into()),
    })
}

const BLOCK: usize = 256 << 10;
/// A connection that makes no progress for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);
