//! The CLI's side of the control socket. Blocking: a command has nothing else to do while it waits.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::api::{
    Envelope, ErrorReport, MAX_RESPONSE, Progress, Request, Response, StatusReport, VERSION, socket_path,
};
use super::keys::KeyRow;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("xvpn is not running here (nobody answers at {})", .0.display())]
    NoDaemon(PathBuf),
    /// The socket is another user's.
    #[error("this user may not talk to the xvpn daemon ({})", .0.display())]
    Denied(PathBuf),
    /// The connection broke.
    #[error("lost the connection to the daemon: {0}")]
    Lost(#[from] io::Error),
    /// It answered something that is no answer.
    #[error("the daemon answered what this version does not understand: {0}")]
    NotUnderstood(String),
    /// It will not.
    #[error("{}", .0.message)]
    Refused(ErrorReport),
}

impl ClientError {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoDaemon(_) => {
                "start it with `xvpn up` or `systemctl start xvpn`; if it runs with another \
                                  configuration, name that with --config FILE"
                    .to_owned()
            }
            Self::Denied(_) => "run the command as root, for example with sudo".to_owned(),
            Self::Lost(_) => {
                "the daemon may have ended; `journalctl -u xvpn` or xvpn.log in its state directory says why"
                    .to_owned()
            }
            Self::NotUnderstood(_) => {
                "the daemon is of another version than this command; restart it: systemctl restart xvpn"
                    .to_owned()
            }
            Self::Refused(report) => report.remedy.clone(),
        }
    }
}

/// A connection to the daemon.
pub struct Client {
    stream: UnixStream,
    /// Octets received behind the last line taken.
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the daemon with this state directory.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoDaemon`] or [`ClientError::Denied`], or [`ClientError::Lost`] for rarer trouble.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the standard library's enum, which grows"
    )]
    pub fn connect(state_dir: &Path) -> Result<Self, ClientError> {
        let socket = socket_path(state_dir);
        match UnixStream::connect(&socket) {
            Ok(stream) => Ok(Self {
                stream,
                buffer: Vec::new(),
            }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                    ClientError::NoDaemon(socket)
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied(socket),
                _ => ClientError::Lost(error),
            }),
        }
    }

    /// Asks, and waits for the answer. A refusal is an error.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`] but those of [`Client::connect`].
    pub fn ask(&mut self, request: Request) -> Result<Response, ClientError> {
        let mut line = serde_json::to_vec(&Envelope {
            version: VERSION,
            request,
        })
        .map_err(io::Error::from)?;
        line.push(b'\n');
        // A daemon that refuses before it has read everything closes first; its answer is still there to be read.
        let written = self.stream.write_all(&line);
        let answer = self.line(Some(Instant::now() + PATIENCE));
        match (answer, written) {
            (Ok(Some(line)), _) => parse(&line),
            (Ok(None), _) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s").into()),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    /// The state of everything.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn status(&mut self) -> Result<StatusReport, ClientError> {
        match self.ask(Request::Status)? {
            Response::Status(report) => Ok(*report),
            other @ (Response::Accepted { .. }
            | Response::Subscribed
            | Response::Progress(_)
            | Response::ExportingKeys { .. }
            | Response::Key(_)
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }

    /// Asks for something to be done; gives the names of the tunnels that are meant.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn command(&mut self, request: Request) -> Result<Vec<String>, ClientError> {
        match self.ask(request)? {
            Response::Accepted { names } => Ok(names),
            other @ (Response::Status(_)
            | Response::Subscribed
            | Response::Progress(_)
            | Response::ExportingKeys { .. }
            | Response::Key(_)
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }

    /// Turns the connection into a subscription.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn subscribe(mut self) -> Result<Subscription, ClientError> {
        match self.ask(Request::Subscribe)? {
            Response::Subscribed => Ok(Subscription(self)),
            other @ (Response::Status(_)
            | Response::Accepted { .. }
            | Response::Progress(_)
            | Response::ExportingKeys { .. }
            | Response::Key(_)
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }

    /// Has the keys of all SAs told; and for how many seconds at most.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn export_keys(mut self, seconds: u32) -> Result<(Keys, u32), ClientError> {
        match self.ask(Request::ExportKeys { seconds })? {
            Response::ExportingKeys { seconds } => Ok((Keys(self), seconds)),
            other @ (Response::Status(_)
            | Response::Accepted { .. }
            | Response::Subscribed
            | Response::Progress(_)
            | Response::Key(_)
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }

    /// The next line, or `None` at the deadline; the deadline never cuts a line.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the standard library's enum, which grows"
    )]
    fn line(&mut self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>, ClientError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self
                .buffer
                .iter()
                .skip(searched)
                .position(|&octet| octet == b'\n')
            {
                let rest = self.buffer.split_off(searched + end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            searched = self.buffer.len();
            if searched > MAX_RESPONSE {
                return Err(ClientError::NotUnderstood("a line without end".to_owned()));
            }
            let patience = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Ok(None),
                other => other,
            };
            self.stream.set_read_timeout(patience)?;
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    return Err(
                        io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection").into(),
                    );
                }
                Ok(length) => self.buffer.extend(piece.iter().take(length)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

/// What happens, as it happens.
pub struct Subscription(Client);

impl Subscription {
    /// The next thing that happens, or `None` if nothing did in time.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn next(&mut self, patience: Duration) -> Result<Option<Progress>, ClientError> {
        let Some(line) = self.0.line(Some(Instant::now() + patience))? else {
            return Ok(None);
        };
        match parse(&line)? {
            Response::Progress(progress) => Ok(Some(progress)),
            other @ (Response::Status(_)
            | Response::Accepted { .. }
            | Response::Subscribed
            | Response::ExportingKeys { .. }
            | Response::Key(_)
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }
}

/// The keys of SAs, as they are made.
pub struct Keys(Client);

impl Keys {
    /// The next keys; `None`: the daemon gives no more.
    ///
    /// # Errors
    ///
    /// As [`Client::ask`].
    pub fn next_row(&mut self) -> Result<Option<KeyRow>, ClientError> {
        let mut line = match self.0.line(None) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(ClientError::Lost(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let response = parse(&line);
        line.zeroize();
        match response? {
            Response::Key(row) => Ok(Some(row)),
            other @ (Response::Status(_)
            | Response::Accepted { .. }
            | Response::Subscribed
            | Response::Progress(_)
            | Response::ExportingKeys { .. }
            | Response::Error(_)) => Err(unexpected(&other)),
        }
    }
}

fn parse(line: &[u8]) -> Result<Response, ClientError> {
    let response =
        serde_json::from_slice(line).map_err(|error| ClientError::NotUnderstood(error.to_string()))?;
    if let Response::Error(report) = response {
        return Err(ClientError::Refused(report));
    }
    Ok(response)
}

fn unexpected(response: &Response) -> ClientError {
    let what = match response {
        Response::Status(_) => "a status",
        Response::Accepted { .. } => "an acceptance",
        Response::Subscribed => "a subscription",
        Response::Progress(_) => "progress",
        Response::ExportingKeys { .. } | Response::Key(_) => "keys",
        Response::Error(_) => "a refusal",
    };
    ClientError::NotUnderstood(format!("{what} that was not asked for"))
}

/// The daemon answers at once; if it does not, something is broken.
const PATIENCE: Duration = Duration::from_secs(10);
