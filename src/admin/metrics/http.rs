//! One page over HTTP: `GET /metrics`, and nothing else.
//!
//! It runs beside IKE on the daemon's one thread, so a client costs one of a few places for a few seconds and no more: heads, waits and
//! places are bounded (`room.rs`), every answer closes its connection, and who asks more often than every so often gets the page of before. The request's head
//! is taken apart by `httparse`; for one page without a body there is nothing else that a library for servers would do here.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::api::{Request, Response};
use super::super::server::Ask;
use super::room::{Room, Stay};
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
    let room = Room::new(MOST_CLIENTS);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                // Further clients wait in the kernel's queue meanwhile.
                let place = room.place().await;
                room.admit(place, |stay| async move {
                    let attended = timeout(PATIENCE, attend(stream, pages, &stay)).await;
                    if !matches!(attended, Ok(Ok(()))) {
                        tracing::debug!("a client of the metrics left, or was too slow");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(mut stream: TcpStream, pages: Pages, stay: &Stay) -> io::Result<()> {
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
    stay.has_asked();
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
/// For all of one, also if nobody wants its place: its head, and taking its page.
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

    #[test]
    fn clients_that_say_nothing_or_not_all_do_not_keep_a_scraper_out() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let door = Door::open("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = door.address().unwrap();
            let (asks, mut asked) = mpsc::channel::<Ask>(4);
            door.serve(asks).unwrap();
            tokio::spawn(async move {
                while let Some(ask) = asked.recv().await {
                    ask.answer.send(Response::Status(Box::default())).unwrap();
                }
            });
            let mut slow = Vec::new();
            for number in 0..4 * MOST_CLIENTS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                if number % 2 == 0 {
                    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
                }
                slow.push(stream);
            }
            let begin = Instant::now();
            let mut scraper = TcpStream::connect(address).await.unwrap();
            scraper
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let mut page = String::new();
            scraper.read_to_string(&mut page).await.unwrap();
            assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
            // One after the other would have been waited for: four times the patience with eight of them.
            assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
        });
    }
}
