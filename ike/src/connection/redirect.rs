//! Redirects (RFC 5685): where the peer sends this connection, and where this connection sends its peer.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::establish::PATIENCE;
use super::{Connection, Intent};
use crate::api::{CloseReason, Event, Path, Reason, Role};
use crate::config::ConnectionConfig;
use crate::error::{Cause, Exchange, Failure, Side, Stay};
use crate::exchange::Cx;
use crate::exchange::auth::Authenticated;
use crate::exchange::init::{Attempt, Elsewhere};
use crate::sa::datagrams::Datagrams;
use crate::state::{Established, State};
use crate::timers::after;
use crate::wire::IkeSpi;
use crate::wire::payload::GatewayIdentity;

/// The redirects that were followed of late, and the one that is being followed.
#[derive(Debug, Default)]
pub(super) struct Detour {
    recent: VecDeque<Instant>,
    /// Who sent us to a gateway whose address is being looked for.
    awaited: Option<IpAddr>,
    /// The gateway that was tried last because another sent us there.
    tried: Option<SocketAddr>,
    /// The operator was told of one that is not followed.
    told: bool,
}

impl Detour {
    /// Whether a redirect is to be followed.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        config: &ConnectionConfig,
        to: &GatewayIdentity,
    ) -> Result<(), Stay> {
        let over = |at: &Instant| now.saturating_duration_since(*at) >= LOOP_DETECT_PERIOD;
        while self.recent.front().is_some_and(over) {
            self.recent.pop_front();
        }
        match () {
            () if !config.follow_redirect => Err(Stay::NotWanted),
            () if !to.is_usable() => Err(Stay::Nonsense),
            () if self.recent.len() >= MAX_REDIRECTS => Err(Stay::TooMany),
            () => Ok(()),
        }
    }

    /// The connection goes where it was configured to go.
    pub(super) fn is_over(&mut self) {
        (self.awaited, self.tried) = (None, None);
    }

    /// An attempt at this address is one because of a redirect.
    pub(super) fn leads_to(&self, remote: SocketAddr) -> bool {
        self.tried.is_some_and(|tried| tried.ip() == remote.ip())
    }
}

impl Connection {
    /// The gateway at `path` sends us elsewhere; what is tried there must have been given up already.
    pub(super) fn redirected(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: Exchange,
        path: Path,
        to: GatewayIdentity,
    ) {
        let connection = self.id();
        if self.intent == Intent::Down || self.forgotten {
            return;
        }
        match self.detour.judge(cx.now, &self.config, &to) {
            Ok(()) => {
                self.detour.recent.push_back(cx.now);
                self.detour.awaited = Some(path.remote.ip());
                self.detour.told = false;
                if self.intent == Intent::Up && !self.stands() {
                    // Should nobody find it, the one we know is tried again.
                    self.timers.set(Reason::Retry, after(cx.now, LOCATING));
                }
                cx.event(Event::Redirected {
                    connection,
                    path,
                    to,
                    by: Side::Peer,
                });
            }
            Err(why) => {
                let failure = Failure::new(exchange, Cause::Redirected { to, why });
                if !self.stands() {
                    self.failed(cx, path, failure);
                } else if !std::mem::replace(&mut self.detour.told, true) {
                    cx.event(Event::Failed {
                        connection: Some(connection),
                        path,
                        failure,
                        retry_in: None,
                    });
                }
            }
        }
    }

    /// The gateway that we were sent to is there.
    pub(crate) fn follow(&mut self, cx: &mut Cx<'_>, local: IpAddr, remote: SocketAddr) {
        let wanted = self.intent != Intent::Down && !self.forgotten && !self.is_trying();
        let Some(from) = self.detour.awaited.take().filter(|_| wanted) else {
            return;
        };
        self.detour.tried = Some(remote);
        let elsewhere = Some(Elsewhere { local, remote, from });
        self.initiate(
            cx,
            Attempt {
                elsewhere,
                ..Attempt::default()
            },
        );
    }

    /// IKE_AUTH has made an IKE SA whose initiator is to go to another gateway (RFC 5685 6).
    pub(super) fn sent_away(
        &mut self,
        cx: &mut Cx<'_>,
        authenticated: Authenticated,
        answer: Option<(Path, Datagrams)>,
        to: GatewayIdentity,
    ) {
        let (contact, begun) = (authenticated.initial_contact, authenticated.begun);
        let (mut new, _) = Established::new(cx, authenticated);
        let (spi, path) = (new.ike.local_spi(), new.ike.path);
        cx.spis.adopt(spi, self.id());
        self.shed(cx);
        match answer {
            Some((destination, message)) => {
                cx.transmit(destination, message);
                if contact {
                    self.contact_lost(cx, begun);
                }
                // The peer is to delete it.
                new.timers.set(Reason::Expire, cx.now + PATIENCE);
                self.put(spi, State::Established(Box::new(new)));
                cx.event(Event::Redirected {
                    connection: self.id(),
                    path,
                    to,
                    by: Side::Us,
                });
            }
            None => {
                let closing = new.close(cx, CloseReason::Replaced);
                self.put(spi, State::Closing(Box::new(closing)));
                self.redirected(cx, Exchange::IkeAuth, path, to);
            }
        }
    }

    /// The operator wants the peer to be served by another gateway, or here again.
    pub(crate) fn redirect(&mut self, cx: &mut Cx<'_>, to: Option<GatewayIdentity>) {
        Arc::make_mut(&mut self.config).redirect_to.clone_from(&to);
        let Some(to) = to else {
            return self.retry_soon(cx);
        };
        self.timers.clear(Reason::Retry);
        let can = |established: &Established| {
            established.is_current() && established.ike.features.redirect == Some(Role::Responder)
        };
        let spis: Vec<IkeSpi> = self
            .established()
            .filter(|(_, established)| can(established))
            .map(|(spi, _)| spi)
            .collect();
        for spi in spis {
            if let Some(State::Established(mut established)) = self.sas.remove(&spi) {
                established.redirect_due = Some(to.clone());
                let ending = established.tend(cx);
                self.after_step(cx, spi, established, ending);
            }
        }
    }
}

/// MAX_REDIRECTS of RFC 5685 7.
const MAX_REDIRECTS: usize = 5;
/// REDIRECT_LOOP_DETECT_PERIOD of RFC 5685 7.
const LOOP_DETECT_PERIOD: Duration = Duration::from_secs(300);
/// How long the program may take to find a gateway.
const LOCATING: Duration = Duration::from_secs(10);
