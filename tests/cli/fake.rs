//! A daemon that only talks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use xvpn::admin::api::{
    Actor, Envelope, ErrorReport, FailureDetails, FailureReport, Progress, Request, Response, StatusReport,
    TunnelState, TunnelStatus, TunnelTotals, VERSION, socket_path,
};
use xvpn::admin::keys::{KeyRow, KeyTable, Row};

/// A folder with a configuration and a state directory of its own.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(key: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(std::env::temp_dir().join(format!("xvpn-cli-{}-{number}", std::process::id())));
        fs::create_dir_all(folder.state()).unwrap();
        fs::write(
            folder.config(),
            format!(
                "[gateway]\nid = \"aws.example\"\nstate_dir = \"{}\"\n\n[[tunnel]]\nname = \"azure\"\n\
                 local = {{ networks = [\"10.1.0.0/16\"] }}\n\
                 remote = {{ address = \"198.51.100.7\", networks = [\"10.2.0.0/16\"] }}\npsk = {{ file = \"azure.psk\" }}\n",
                folder.state().display()
            ),
        )
        .unwrap();
        fs::write(folder.0.join("azure.psk"), key).unwrap();
        fs::set_permissions(folder.0.join("azure.psk"), fs::Permissions::from_mode(0o600)).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("xvpn.toml")
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What it tells a subscriber after somebody said `up`.
pub(crate) enum Act {
    Say(&'static str, TunnelState, &'static str),
    Stumble(&'static str, TunnelState, Actor, &'static str, bool),
    /// Progress that repeats a failure from long before.
    Recall(&'static str, &'static str, Actor),
}

/// The daemon. Its threads end with the test's process.
pub(crate) struct Daemon;

struct Scene {
    tunnels: Vec<(&'static str, TunnelState)>,
    acts: Vec<Act>,
    subscriber: Option<UnixStream>,
}

impl Daemon {
    pub(crate) fn start(folder: &Folder, tunnels: &[(&'static str, TunnelState)], acts: Vec<Act>) -> Self {
        let listener = UnixListener::bind(socket_path(&folder.state())).unwrap();
        let scene = Arc::new(Mutex::new(Scene {
            tunnels: tunnels.to_vec(),
            acts,
            subscriber: None,
        }));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let scene = Arc::clone(&scene);
                thread::spawn(move || serve(&stream.unwrap(), &scene));
            }
        });
        Self
    }

    pub(crate) fn babble(folder: &Folder) -> Self {
        let listener = UnixListener::bind(socket_path(&folder.state())).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(b"220 smtp.example ESMTP\n");
            }
        });
        Self
    }
}

fn serve(stream: &UnixStream, scene: &Mutex<Scene>) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let envelope: Envelope = serde_json::from_str(&line).unwrap();
        assert_eq!(envelope.version, VERSION);
        let mut scene = scene.lock().unwrap();
        match envelope.request {
            Request::Status => send(stream, &Response::Status(Box::new(scene.report()))),
            Request::Up { names } => match scene.named(names) {
                Ok(names) => {
                    send(stream, &Response::Accepted { names });
                    scene.perform();
                }
                Err(refusal) => send(stream, &Response::Error(*refusal)),
            },
            Request::Down { names } => match scene.named(names) {
                Ok(names) => {
                    scene
                        .tunnels
                        .iter_mut()
                        .for_each(|tunnel| tunnel.1 = TunnelState::Down);
                    send(stream, &Response::Accepted { names });
                }
                Err(refusal) => send(stream, &Response::Error(*refusal)),
            },
            Request::Rekey { names, .. } | Request::Redirect { names, .. } => match scene.named(names) {
                Ok(names) => send(stream, &Response::Accepted { names }),
                Err(refusal) => send(stream, &Response::Error(*refusal)),
            },
            Request::Subscribe => {
                send(stream, &Response::Subscribed);
                scene.subscriber = Some(stream.try_clone().unwrap());
            }
            Request::ExportKeys { seconds } => {
                send(stream, &Response::ExportingKeys { seconds });
                for (table, row) in [(KeyTable::Ike, "an IKE row"), (KeyTable::Esp, "an ESP row")] {
                    let row = Row::new(row.into());
                    send(stream, &Response::Key(KeyRow { table, row }));
                }
                // Its time is over.
                return;
            }
            Request::Shutdown => send(stream, &Response::Accepted { names: vec![] }),
        }
    }
}

fn send(mut stream: &UnixStream, response: &Response) {
    let mut line = serde_json::to_vec(response).unwrap();
    line.push(b'\n');
    let _ = stream.write_all(&line);
}

impl Scene {
    fn named(&self, names: Vec<String>) -> Result<Vec<String>, Box<ErrorReport>> {
        let known: Vec<String> = self.tunnels.iter().map(|tunnel| tunnel.0.to_owned()).collect();
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| !known.contains(name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(Box::new(ErrorReport::unknown_tunnels(unknown, known)));
        }
        Ok(if names.is_empty() { known } else { names })
    }

    fn perform(&mut self) {
        let Some(subscriber) = &self.subscriber else {
            return;
        };
        for act in self.acts.drain(..) {
            let progress = match act {
                Act::Say(tunnel, state, message) => Progress {
                    tunnel: tunnel.into(),
                    state,
                    message: message.into(),
                    failure: None,
                },
                Act::Stumble(tunnel, state, actor, message, permanent) => {
                    let failure = Some(failure(actor, message, permanent, now_ms()));
                    Progress {
                        tunnel: tunnel.into(),
                        state,
                        message: message.into(),
                        failure,
                    }
                }
                Act::Recall(tunnel, message, actor) => {
                    let failure = Some(failure(actor, "an old story", true, 1));
                    Progress {
                        tunnel: tunnel.into(),
                        state: TunnelState::Connecting,
                        message: message.into(),
                        failure,
                    }
                }
            };
            send(subscriber, &Response::Progress(progress));
        }
    }

    fn report(&self) -> StatusReport {
        let tunnels = self.tunnels.iter().map(|(name, state)| TunnelStatus {
            name: (*name).into(),
            state: *state,
            since_ms: 5000,
            wanted: *state != TunnelState::Down,
            failure: None,
            interface: format!("xv-{name}"),
            mtu: 1400,
            local_id: "aws.example".into(),
            remote_id: "198.51.100.7".into(),
            remote: "198.51.100.7".into(),
            local_networks: vec!["10.1.0.0/16".into()],
            remote_networks: vec!["10.2.0.0/16".into()],
            ike: None,
            children: vec![],
            missing: vec![],
            totals: TunnelTotals::default(),
        });
        StatusReport {
            version: "9.9.9".into(),
            uptime_ms: 61_000,
            tunnels: tunnels.collect(),
            ..StatusReport::default()
        }
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn failure(actor: Actor, message: &str, permanent: bool, at_ms: u64) -> FailureReport {
    FailureReport {
        step: "IKE_AUTH".into(),
        actor,
        message: message.into(),
        remedy: "do something about it".into(),
        permanent,
        at_ms,
        retry_in_ms: Some(2000),
        details: FailureDetails::default(),
    }
}
