//! Fetches CRLs and OCSP responses over HTTP, each in a thread beside the loop, which never waits for one.
//!
//! What comes back is signed by an authority and verified by `ike`; the way there is not trusted, so plain HTTP is
//! enough (RFC 5280 8). Other schemes are not followed, not even by a redirect: there is no TLS in here that could.

use std::time::Duration;

use tokio::sync::mpsc;
use ureq::Agent;
use xvpn_ike::api::{Fetch, FetchId};

/// What came of a fetch.
#[derive(Debug)]
pub struct Fetched {
    /// Its name.
    pub id: FetchId,
    /// The octets, or why there are none, in words.
    pub result: Result<Vec<u8>, String>,
}

/// Fetches in a thread of its own, and sends what came of it. How many run at a time is bounded by who asks.
pub fn start(fetch: Fetch, results: mpsc::Sender<Fetched>) {
    tracing::debug!("fetching {}", fetch.url);
    tokio::task::spawn_blocking(move || {
        let result = get(&fetch);
        match &result {
            Ok(octets) => tracing::debug!("{}: {} octets", fetch.url, octets.len()),
            Err(why) => tracing::warn!("cannot fetch {}: {why}", fetch.url),
        }
        // The loop may have ended meanwhile.
        drop(results.blocking_send(Fetched { id: fetch.id, result }));
    });
}

fn get(fetch: &Fetch) -> Result<Vec<u8>, String> {
    let agent = agent(fetch.timeout);
    let sent = match &fetch.post {
        // RFC 6960 A.1.
        Some(request) => agent
            .post(&fetch.url)
            .content_type("application/ocsp-request")
            .header("accept", "application/ocsp-response")
            .send(request.as_slice()),
        None => agent.get(&fetch.url).call(),
    };
    let limit = u64::try_from(fetch.limit).unwrap_or(u64::MAX);
    sent.and_then(|mut response| response.body_mut().with_config().limit(limit).read_to_vec())
        .map_err(|error| words(&error))
}

fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(MOST_REDIRECTS)
        .max_response_header_size(LONGEST_HEADER)
        .user_agent(concat!("xvpn/", env!("CARGO_PKG_VERSION")))
        // What the environment of whoever started the daemon says must not decide who is asked.
        .proxy(None)
        .build()
        .new_agent()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum, which grows")]
fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(status) => format!("the server answers HTTP status {status}"),
        ureq::Error::BodyExceedsLimit(limit) => format!("it is longer than {limit} octets"),
        ureq::Error::HostNotFound => "its host name does not resolve".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::TlsRequired => "it leads to https, which is not followed".to_owned(),
        other => other.to_string(),
    }
}

const MOST_REDIRECTS: u32 = 3;
const LONGEST_HEADER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection after the other with these, and hands on what was asked.
    fn server(answers: Vec<String>) -> (String, std::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ca.crl", listener.local_addr().unwrap());
        let (sender, requests) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap();
                sender
                    .send(String::from_utf8_lossy(&request[..length]).into_owned())
                    .unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (url, requests)
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn fetch(url: &str) -> Fetch {
        Fetch {
            id: FetchId(7),
            url: url.to_owned(),
            post: None,
            limit: 100,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn gets_a_crl() {
        let (url, requests) = server(vec![ok("a list")]);
        assert_eq!(get(&fetch(&url)), Ok(b"a list".to_vec()));
        assert!(requests.recv().unwrap().starts_with("GET /ca.crl HTTP/1.1"));
    }

    #[test]
    fn posts_an_ocsp_request() {
        let (url, requests) = server(vec![ok("a response")]);
        let asked = Fetch {
            post: Some(b"a question".to_vec()),
            ..fetch(&url)
        };
        assert_eq!(get(&asked), Ok(b"a response".to_vec()));
        let request = requests.recv().unwrap().to_ascii_lowercase();
        assert!(request.starts_with("post /ca.crl http/1.1"), "{request}");
        assert!(
            request.contains("content-type: application/ocsp-request"),
            "{request}"
        );
    }

    #[test]
    fn takes_no_more_than_the_limit() {
        let (url, _requests) = server(vec![ok(&"x".repeat(101))]);
        assert_eq!(get(&fetch(&url)), Err("it is longer than 100 octets".to_owned()));
    }

    #[test]
    fn follows_no_redirect_to_another_scheme() {
        for scheme in [
            "https://127.0.0.1/ca.crl",
            "file:///etc/passwd",
            "ftp://127.0.0.1/",
        ] {
            let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {scheme}\r\nContent-Length: 0\r\n\r\n");
            let (url, _requests) = server(vec![redirect]);
            assert!(get(&fetch(&url)).is_err(), "{scheme}");
        }
    }

    #[test]
    fn follows_redirects_only_so_far() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let redirect = |to: &str| {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        };
        assert!(get(&fetch(&url)).is_err());
        let (url, _requests) = server(vec![
            redirect("/a"),
            redirect("/b"),
            redirect("/c"),
            redirect("/d"),
            ok("far"),
        ]);
        assert!(get(&fetch(&url)).is_err());
        let (url, _requests) = server(vec![redirect("/a"), ok("near")]);
        assert_eq!(get(&fetch(&url)), Ok(b"near".to_vec()));
    }

    #[test]
    fn an_error_of_the_server_is_told_by_its_number() {
        let (url, _requests) = server(vec!["HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned()]);
        assert_eq!(
            get(&fetch(&url)),
            Err("the server answers HTTP status 503".to_owned())
        );
    }

    #[test]
    fn gives_up_when_the_time_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = Fetch {
            timeout: Duration::from_millis(200),
            ..fetch(&format!("http://{}/", listener.local_addr().unwrap()))
        };
        assert_eq!(get(&asked), Err("no answer in time".to_owned()));
    }
}
