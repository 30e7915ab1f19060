//! The daemon's side of the control socket.
//!
//! Clients are tasks of their own; the loop sees only whole, well-formed requests. A client that is slow, silent or
//! hostile costs one of a few places and no more: lines, waits and places are bounded.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::timeout;

use zeroize::Zeroize;

use super::api::{
    Envelope, ErrorKind, ErrorReport, MAX_REQUEST, Progress, Request, Response, VERSION, socket_path,
};
use super::keys::KeyRow;
use super::socket::{self, SocketError};

/// A request for the loop, and where its answer goes.
#[derive(Debug)]
pub struct Ask {
    /// What is wanted; never [`Request::Subscribe`].
    pub request: Request,
    /// For the one answer.
    pub answer: oneshot::Sender<Response>,
    /// With [`Request::ExportKeys`]: where the keys go.
    pub keys: Option<KeySink>,
}

/// Where exported keys go, and who is there.
#[derive(Debug)]
pub struct KeySink {
    /// For the rows; dropped by the loop when it ends.
    pub rows: mpsc::Sender<KeyRow>,
    /// The client, in words.
    pub to: String,
}

/// The control socket. Dropped, its file is gone.
#[derive(Debug)]
pub struct Server {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Server {
    /// Binds the socket in a state directory that is this process's alone (so that one that is there is a dead daemon's).
    pub fn bind(state_dir: &Path) -> Result<Self, SocketError> {
        let path = socket_path(state_dir);
        let listener = socket::listen(&path)?;
        Ok(Self {
            listener: Some(listener),
            path,
        })
    }

    /// Takes clients from now on, as tasks of the current runtime.
    pub fn serve(&mut self, asks: mpsc::Sender<Ask>, progress: broadcast::Sender<Progress>) {
        if let Some(listener) = self.listener.take() {
            tokio::spawn(accept(listener, Hall { asks, progress }));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good; a later daemon removes what could not be.
        drop(std::fs::remove_file(&self.path));
    }
}

/// What every client is given.
#[derive(Clone)]
struct Hall {
    asks: mpsc::Sender<Ask>,
    progress: broadcast::Sender<Progress>,
}

async fn accept(listener: UnixListener, hall: Hall) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        // Without a free place further clients wait in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let hall = hall.clone();
                tokio::spawn(async move {
                    if let Err(error) = attend(stream, hall).await {
                        tracing::debug!(%error, "a client of the control socket left");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(stream: UnixStream, hall: Hall) -> io::Result<()> {
    let who = client(&stream);
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let request = match timeout(PATIENCE_READ, line(&mut read)).await {
            Ok(Ok(Some(line))) => parse(&line),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => return Ok(()),
        };
        match request {
            Ok(Request::Subscribe) => return subscription(read, write, hall).await,
            Ok(request @ Request::ExportKeys { .. }) => return export(read, write, hall, request, who).await,
            Ok(
                request @ (Request::Status
                | Request::Up { .. }
                | Request::Down { .. }
                | Request::Rekey { .. }
                | Request::Redirect { .. }
                | Request::Shutdown),
            ) => {
                send(&mut write, &ask(&hall, request, None).await).await?;
            }
            Err(report) => return send(&mut write, &Response::Error(report)).await,
        }
    }
}

/// Who is at the other end.
fn client(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(cred) => {
            let process = cred.pid().map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            format!("process {process} of user {}", cred.uid())
        }
        Err(_) => "somebody".to_owned(),
    }
}

async fn ask(hall: &Hall, request: Request, keys: Option<KeySink>) -> Response {
    let (answer, answered) = oneshot::channel();
    let ask = Ask {
        request,
        answer,
        keys,
    };
    let asked = hall.asks.send(ask).await;
    match (asked, answered.await) {
        (Ok(()), Ok(response)) => response,
        (Err(_), _) | (_, Err(_)) => Response::Error(shutting_down()),
    }
}

/// Hands out keys until the loop ends it or the client goes.
async fn export(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    hall: Hall,
    request: Request,
    to: String,
) -> io::Result<()> {
    let (rows, mut given) = mpsc::channel(KEYS_WAITING);
    let answer = ask(&hall, request, Some(KeySink { rows, to })).await;
    drop(hall);
    send(&mut write, &answer).await?;
    let mut rest = [0; 256];
    loop {
        tokio::select! {
            row = given.recv() => match row {
                Some(row) => send(&mut write, &Response::Key(row)).await?,
                None => return Ok(()),
            },
            // Nothing is expected any more: this only notices that the client went.
            count = read.read(&mut rest) => if count? == 0 { return Ok(()) },
        }
    }
}

async fn subscription(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    hall: Hall,
) -> io::Result<()> {
    // From before the answer on, so that nothing is missed after it.
    let mut progress = hall.progress.subscribe();
    drop(hall);
    send(&mut write, &Response::Subscribed).await?;
    let mut rest = [0; 256];
    loop {
        tokio::select! {
            happened = progress.recv() => match happened {
                Ok(progress) => send(&mut write, &Response::Progress(progress)).await?,
                // A client slower than the news goes without some of it; the status has the sum.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            // Nothing is expected any more: this only notices that the client went.
            count = read.read(&mut rest) => if count? == 0 { return Ok(()) },
        }
    }
}

/// One line without its end; `None` at the end of the stream or of patience with its length.
async fn line(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let count = read.take(limit).read_until(b'\n', &mut line).await?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if count < MAX_REQUEST {
        // The stream ended within a line.
        return Ok(None);
    }
    Ok(Some(line))
}

/// A request, or why it is none. Total: whatever comes in, one of the two comes out.
pub fn parse(line: &[u8]) -> Result<Request, ErrorReport> {
    if line.len() >= MAX_REQUEST {
        let message = format!("the request is longer than {MAX_REQUEST} octets");
        return Err(ErrorReport::new(
            ErrorKind::BadRequest,
            message,
            "name fewer tunnels at a time",
        ));
    }
    /// The version first: another version's requests need not be readable.
    #[derive(Deserialize)]
    struct Spoken {
        version: u32,
    }
    let remedy =
        "use the xvpn command of the same version as the daemon (`xvpn --version`, `xvpn status --json`)";
    let bad = |error: serde_json::Error| {
        ErrorReport::new(ErrorKind::BadRequest, format!("not a request: {error}"), remedy)
    };
    let Spoken { version } = serde_json::from_slice(line).map_err(bad)?;
    if version != VERSION {
        let message = format!("the daemon speaks version {VERSION} of the contract, not {version}");
        return Err(ErrorReport::new(ErrorKind::BadVersion, message, remedy));
    }
    let envelope: Envelope = serde_json::from_slice(line).map_err(bad)?;
    Ok(envelope.request)
}

/// The refusal of everything while the daemon ends.
pub fn shutting_down() -> ErrorReport {
    ErrorReport::new(
        ErrorKind::ShuttingDown,
        "the daemon is ending",
        "try again when it runs again",
    )
}

async fn send(write: &mut OwnedWriteHalf, response: &Response) -> io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    let sent = timeout(PATIENCE_WRITE, write.write_all(&line)).await;
    // It may have been keys.
    line.zeroize();
    sent.map_err(|_elapsed| io::ErrorKind::TimedOut)?
}

/// Keys that may wait for a slow client: those of some thousand tunnels at once.
const KEYS_WAITING: usize = 16 * 1024;
/// Clients at a time.
const MAX_CLIENTS: usize = 64;
/// A client that asks nothing for so long is sent away.
const PATIENCE_READ: Duration = Duration::from_secs(300);
/// A client that does not read for so long is sent away.
const PATIENCE_WRITE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_requests_and_refuses_everything_else() {
        assert_eq!(parse(br#"{"version":1,"request":"status"}"#), Ok(Request::Status));
        let up = parse(br#"{"version":1,"request":{"up":{"names":["azure"]}}}"#);
        assert_eq!(
            up,
            Ok(Request::Up {
                names: vec!["azure".into()]
            })
        );
        assert_eq!(
            parse(br#"{"version":9,"request":"dance"}"#).unwrap_err().kind,
            ErrorKind::BadVersion
        );
        for rubbish in [
            &b""[..],
            b"{}",
            b"\xff\xfe",
            br#"{"version":1,"request":"dance"}"#,
            br#"{"version":-1}"#,
        ] {
            assert_eq!(parse(rubbish).unwrap_err().kind, ErrorKind::BadRequest);
        }
        assert_eq!(
            parse(&vec![b'['; MAX_REQUEST]).unwrap_err().kind,
            ErrorKind::BadRequest
        );
        assert_eq!(
            parse(&vec![b'['; MAX_REQUEST - 1]).unwrap_err().kind,
            ErrorKind::BadRequest
        );
    }

    #[test]
    fn a_client_is_answered_told_of_progress_and_a_babbler_is_sent_away() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let dir = std::env::temp_dir().join(format!("xvpn-server-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        runtime.block_on(async {
            let mut server = Server::bind(&dir).unwrap();
            let (asks, mut asked) = mpsc::channel::<Ask>(4);
            let (progress, _) = broadcast::channel(4);
            server.serve(asks, progress.clone());
            tokio::spawn(async move {
                while let Some(ask) = asked.recv().await {
                    let names = vec![format!("{:?}", ask.request)];
                    ask.answer.send(Response::Accepted { names }).unwrap();
                }
            });
            let client = UnixStream::connect(socket_path(&dir)).await.unwrap();
            let (read, mut write) = client.into_split();
            let mut read = BufReader::new(read);
            write
                .write_all(b"{\"version\":1,\"request\":\"status\"}\n")
                .await
                .unwrap();
            assert_eq!(
                line(&mut read).await.unwrap().unwrap(),
                br#"{"accepted":{"names":["Status"]}}"#
            );
            write
                .write_all(b"{\"version\":1,\"request\":\"subscribe\"}\n")
                .await
                .unwrap();
            assert_eq!(line(&mut read).await.unwrap().unwrap(), br#""subscribed""#);
            let happened = serde_json::from_str(r#"{"tunnel":"a","state":"down","message":"m"}"#).unwrap();
            progress.send(happened).unwrap();
            let told = line(&mut read).await.unwrap().unwrap();
            assert!(
                String::from_utf8(told)
                    .unwrap()
                    .contains(r#""progress":{"tunnel":"a""#)
            );

            let babbler = UnixStream::connect(socket_path(&dir)).await.unwrap();
            let (read, mut write) = babbler.into_split();
            write.write_all(&vec![b'x'; MAX_REQUEST]).await.unwrap();
            let mut answer = String::new();
            BufReader::new(read).read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("bad_request"), "{answer}");
        });
        assert!(!socket_path(&dir).exists() || std::fs::remove_dir_all(&dir).is_ok());
    }
}
