//! Where the control socket is made, for its owner alone.
//!
//! A socket that is bound has a name before it has permissions, and those it is born with depend on the umask, which is the whole
//! process's. So it is bound, closed to others, and only then listens: to what does not listen yet nobody can connect.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

/// Why there is no control socket. The message carries the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system has no room for the name.
    #[error(
        "the control socket would be {}, and the system takes names of up to {LONGEST_NAME} octets; \
         give `gateway.state_dir` a shorter one, such as /run/xvpn", path.display()
    )]
    TooLong {
        /// The name.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error(
        "the control socket cannot be {}: something that is no socket is there; move it away (`ls -ld` shows it), \
         or give `gateway.state_dir` a directory that is xvpn's alone", path.display()
    )]
    Taken {
        /// The name.
        path: PathBuf,
    },
    /// The system refused.
    #[error(
        "cannot {what} the control socket {}: {source}; `gateway.state_dir` must be a directory of a file system that this user may write \
         and that has room", path.display()
    )]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// The name.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// Makes it, in a directory that is this process's alone (so that one that is there is a dead daemon's).
pub(super) fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    listen_behind(path, |path| {
        fs::set_permissions(path, Permissions::from_mode(0o600))
    })
}

/// `close`: shuts others out.
fn listen_behind(
    path: &Path,
    close: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<UnixListener, SocketError> {
    let refused = |what| {
        move |source| SocketError::Refused {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if path.as_os_str().len() > LONGEST_NAME {
        let path = path.to_owned();
        return Err(SocketError::TooLong { path });
    }
    // Of the name, not of what a link there leads to.
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(refused("replace"))?,
        Ok(_) => {
            let path = path.to_owned();
            return Err(SocketError::Taken { path });
        }
        // That there is none is as it should be; what else is wrong shows as it is made.
        Err(_) => {}
    }
    let socket = UnixSocket::new_stream().map_err(refused("make"))?;
    socket.bind(path).map_err(refused("make"))?;
    close(path).map_err(refused("shut others out of"))?;
    socket.listen(WAITING).map_err(refused("listen on"))
}

/// `sun_path` of unix(7), without the zero at its end.
const LONGEST_NAME: usize = 107;
/// Clients that wait to be accepted.
const WAITING: u32 = 128;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xvpn-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn in_runtime<T>(test: impl FnOnce() -> T) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let _inside = runtime.enter();
        test()
    }

    #[test]
    fn nobody_can_connect_before_others_are_shut_out() {
        in_runtime(|| {
            let dir = folder("socket-order");
            let path = dir.join("a.sock");
            let mut tried = None;
            let listener = listen_behind(&path, |path| {
                // Whoever may write it: the owner may in any case, and is refused.
                tried = Some(UnixStream::connect(path).unwrap_err().kind());
                fs::set_permissions(path, Permissions::from_mode(0o600))
            });
            assert_eq!(tried, Some(io::ErrorKind::ConnectionRefused));
            assert!(UnixStream::connect(&path).is_ok());
            drop(listener);
            // That of a dead daemon is replaced.
            let _again = listen(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(UnixStream::connect(&path).is_ok());
            fs::remove_dir_all(dir).unwrap();
        });
    }

    #[test]
    fn a_socket_that_cannot_be_closed_to_others_is_not_opened() {
        in_runtime(|| {
            let dir = folder("socket-open");
            let path = dir.join("a.sock");
            let refused = listen_behind(&path, |_| Err(io::ErrorKind::PermissionDenied.into()));
            assert!(matches!(refused, Err(SocketError::Refused { .. })), "{refused:?}");
            assert!(UnixStream::connect(&path).is_err());
            fs::remove_dir_all(dir).unwrap();
        });
    }

    #[test]
    fn what_is_no_socket_is_left_alone_and_every_refusal_says_what_to_do() {
        in_runtime(|| {
            let dir = folder("socket-refusals");
            let path = dir.join("a.sock");
            fs::write(&path, "somebody's").unwrap();
            let says = |path: &Path| listen(path).unwrap_err().to_string();
            let taken = says(&path);
            assert!(
                taken.contains("no socket") && taken.contains("move it away"),
                "{taken}"
            );
            assert_eq!(fs::read(&path).unwrap(), b"somebody's");
            let long = says(&dir.join("x".repeat(LONGEST_NAME)));
            assert!(long.contains("107 octets") && long.contains("shorter"), "{long}");
            let absent = says(&dir.join("none/a.sock"));
            assert!(
                absent.contains("state_dir") && absent.contains("may write"),
                "{absent}"
            );
            fs::remove_dir_all(dir).unwrap();
        });
    }
}
