//! One page over HTTP: `GET /metrics`, and nothing else.
//!
//! It runs beside IKE on the daemon's one thread, so a client costs one of a few places for a few seconds and no more: heads, waits and
//! places are bounded, every answer closes its connection, and who asks more often than every so often gets the page of before. The request's head
//! is taken apart by `httparse`; for one page without a body there is nothing else that a library for servers would do here.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::super::api::{Request, Response};
use super::super::server::Ask;
use super::{CONTENT_TYPE, render};

/// The door for a Prometheus server.
#[derive(Debug)]
pub struct Door(StdListener);

impl Door {
    /// Binds it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes clients from now on, as tasks of the current runtime.
    pub fn serve(self, asks: mpsc::Sender<Ask>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.0)?;
        let pages = Pages {
            asks,
            last: Arc::default(),
        };
        tokio::spawn(accept(listener, pages));
        Ok(())
    }
}

async fn accept(listener: TcpListener, pages: Pages) {
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        // Without a free place further clients wait in the kernel's queue; a place is free after some seconds at the latest.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                tokio::spawn(async move {
                    let attended = timeout(PATIENCE, attend(stream, pages)).await;
                    if !matches!(attended, Ok(Ok(()))) {
                        tracing::debug!("a client of the metrics left, or was too slow");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(mut stream: TcpStream, pages: Pages) -> io::Result<()> {
    let mut head = [0; LONGEST_HEAD];
    let mut filled = 0;
    let verdict = loop {
        match read_head(head.get(..filled).unwrap_or_default()) {
            Some(verdict) => break verdict,
            None if filled == LONGEST_HEAD => break Verdict::Refused("431 Request Header Fields Too Large"),
            None => {}
        }
        match stream.read(head.get_mut(filled..).unwrap_or_default()).await? {
            0 => return Ok(()),
            count => filled += count,
        }
    };
    let (status, kind, body) = match verdict {
        Verdict::Page => match pages.page().await {
            Some(page) => ("200 OK", CONTENT_TYPE, page),
            None => (
                "503 Service Unavailable",
                PLAIN,
                Arc::from("the daemon is ending\n"),
            ),
        },
        Verdict::Refused(status) => (status, PLAIN, Arc::from("there is GET /metrics\n")),
    };
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Page,
    Refused(&'static str),
}

/// `None`: not all of it is there.
fn read_head(octets: &[u8]) -> Option<Verdict> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(octets) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Verdict::Refused("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Verdict::Refused("400 Bad Request")),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match (request.method, path) {
        (Some("GET"), "/metrics") => Verdict::Page,
        (_, "/metrics") => Verdict::Refused("405 Method Not Allowed"),
        _ => Verdict::Refused("404 Not Found"),
    })
}

/// Where pages come from.
///
/// Concurrency: shared by the tasks of all clients; the lock is never held across a wait.
#[derive(Clone)]
struct Pages {
    asks: mpsc::Sender<Ask>,
    last: Arc<Mutex<Option<Made>>>,
}

/// A page, and when it was made.
type Made = (Instant, Arc<str>);

impl Pages {
    async fn page(&self) -> Option<Arc<str>> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, page)) = &*last()
            && made.elapsed() < FRESH
        {
            return Some(Arc::clone(page));
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            request: Request::Status,
            answer,
            keys: None,
        };
        self.asks.send(ask).await.ok()?;
        let Ok(Response::Status(status)) = answered.await else {
            return None;
        };
        let page: Arc<str> = render(&status).into();
        *last() = Some((Instant::now(), Arc::clone(&page)));
        Some(page)
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
/// Clients at a time.
const MOST_CLIENTS: usize = 8;
/// For all of one: its head, and taking its page.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of a head.
const LONGEST_HEAD: usize = 4096;
const MOST_HEADERS: usize = 32;
/// A page is good for so long.
const FRESH: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_is_there_and_everything_else_is_refused() {
        let asked = |text: &str| read_head(text.as_bytes());
        assert_eq!(
            asked("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some(Verdict::Page)
        );
        assert_eq!(asked("GET /metrics?name=x HTTP/1.0\r\n\r\n"), Some(Verdict::Page));
        assert_eq!(asked("GET /metrics HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(asked(""), None);
        let refused = |text: &str| match asked(text) {
            Some(Verdict::Refused(status)) => status.split(' ').next().unwrap().to_owned(),
            other => panic!("{text:?}: {other:?}"),
        };
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(refused("GET /metrics/../x HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(refused("POST /metrics HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(refused("\x16\x03\x01 hello"), "400");
        let many = "A: b\r\n".repeat(40);
        assert_eq!(refused(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n")), "431");
    }
}
