//! MOBIKE (RFC 4555): an IKE SA and its CHILD SAs move to other addresses.
//!
//! ```text
//! initiator                                                            responder
//!   IKE_AUTH: N(MOBIKE_SUPPORTED), [N(ADDITIONAL_*_ADDRESS)+]  -->
//!                                   <--  N(MOBIKE_SUPPORTED), [N(ADDITIONAL_*_ADDRESS)+]
//!   (its address changes)
//!   INFORMATIONAL: N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*), N(COOKIE2)  -->
//!                                   <--  N(NAT_DETECTION_*), N(COOKIE2)
//!                                   <--  N(COOKIE2): does the peer receive there? ESP follows when it does
//!   N(COOKIE2)  -->
//! ```
//!
//! The initiator of the first IKE SA chooses the path; the responder only says which addresses it has. Nothing moves
//! but by a message that was protected by the IKE SA.

mod notifies;

use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;

use super::Cx;
use super::traversal::{detected, encapsulation};
use crate::api::{Event, Output, PORT_IKE, Path};
use crate::error::{Cause, Exchange, Failure};
use crate::message::Informational;
use crate::sa::mobility::{MOST_ADDRESSES, Mobility};
use crate::state::{Ending, Established, Request};
use crate::wire::Opened;
use crate::wire::payload::{Notify, NotifyType};

pub(crate) use notifies::{addresses, announce, finds_forbidden_nat};
use notifies::{destination, detection, nat_notifies, own_addresses, prohibition};

/// A request of ours about addresses.
#[derive(Debug)]
pub(crate) struct Sent {
    what: What,
    path: Path,
    cookie: Vec<u8>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The peer is to follow us to another path.
    Update,
    /// Our list of addresses.
    Addresses,
    /// Does the peer receive where it says it is?
    Check,
    /// A sign of life, and whether our NAT still maps us as it did.
    Probe,
}

impl Established {
    /// Both sides speak MOBIKE.
    pub(crate) fn is_mobile(&self) -> bool {
        self.ike.features.mobike
    }

    /// The host has other addresses: `local` is the one that leads to the peer now, `others` are all the others.
    pub(crate) fn on_addresses(&mut self, cx: &mut Cx<'_>, local: Option<IpAddr>, others: &[IpAddr]) {
        if !self.is_mobile() || self.is_retired() {
            return;
        }
        let path = self.ike.path;
        let mut own: Vec<IpAddr> = others.to_vec();
        own.truncate(MOST_ADDRESSES);
        let same_family = local.filter(|local| local.is_ipv4() == path.remote.is_ipv4());
        let gone = !others.contains(&path.local.ip()) && local != Some(path.local.ip());
        let moves = same_family.filter(|local| {
            *local != path.local.ip() && !local.is_unspecified() && (self.mobility.decides || gone)
        });
        if self.mobility.own != own {
            self.mobility.own = own;
            self.mobility.announce = true;
        }
        let Some(local) = moves else { return };
        let to = Path {
            local: SocketAddr::new(local, path.local.port()),
            remote: path.remote,
        };
        if self.mobility.decides {
            self.begin_update(cx, to);
        } else {
            // RFC 4555 3.5, the one exception: our end is gone, so the responder moves it, and says so.
            self.mobility.announce = true;
            self.take_path(cx, to);
            self.move_esp(cx);
        }
    }

    /// RFC 4555 3.5: we take another path, and the peer is told as soon as a request may be sent.
    fn begin_update(&mut self, cx: &mut Cx<'_>, to: Path) {
        let known = to.remote.ip() == self.ike.path.remote.ip();
        self.mobility.previous.get_or_insert(self.ike.path);
        self.mobility.update = true;
        self.take_path(cx, to);
        // Where the peer was reached before it is reached now; a new address must answer first (RFC 4555 3.7).
        if known {
            self.move_esp(cx);
        }
    }

    fn take_path(&mut self, cx: &mut Cx<'_>, to: Path) {
        self.ike.path = to;
        self.ike.requests.hasten(cx.now);
    }

    /// The CHILD SAs follow.
    fn move_esp(&mut self, cx: &mut Cx<'_>) {
        if !self.is_current() {
            return;
        }
        let (connection, path, encapsulation) = (self.config.id, self.ike.path, self.ike.encapsulation);
        for child in self.children.values_mut() {
            child.encapsulate(encapsulation);
        }
        cx.output(Output::SetPath {
            connection,
            path,
            encapsulation,
        });
        self.arm_keepalive(cx.now);
        if self.announced {
            let ike = self.ike.facts(self.remote_identity.clone());
            cx.event(Event::Moved {
                connection,
                ike,
                encapsulation,
            });
        }
    }

    /// A request went unanswered: the initiator tries the peer's other addresses (RFC 4555 3.5, 3.10).
    pub(crate) fn path_of_try(&self, sent: u32) -> Path {
        if self.is_mobile() && self.mobility.decides && sent >= TRIES_BEFORE_DETOUR {
            self.mobility.detour(self.ike.path, sent)
        } else {
            self.ike.path
        }
    }

    /// An answer came by another path than the one we use, which does not work: that one does.
    pub(crate) fn note_detour(&mut self, cx: &mut Cx<'_>, path: Path) {
        let elsewhere = path.remote.ip() != self.ike.path.remote.ip();
        if self.is_mobile()
            && self.mobility.decides
            && elsewhere
            && self.mobility.peer.contains(&path.remote.ip())
        {
            self.begin_update(cx, path);
        }
    }
}

/// Asks what is to be asked about addresses. Whether something was.
pub(crate) fn request_due(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    let free = established.is_idle();
    if !free || !established.is_mobile() || !established.mobility.speaks() {
        return false;
    }
    let what = if std::mem::take(&mut established.mobility.update) {
        What::Update
    } else if std::mem::take(&mut established.mobility.check) {
        What::Check
    } else {
        What::Addresses
    };
    request(cx, established, what);
    true
}

/// A sign of life that also shows whether a NAT before us has forgotten us (RFC 4555 3.8).
pub(crate) fn probe(cx: &mut Cx<'_>, established: &mut Established) {
    request(cx, established, What::Probe);
}

fn request(cx: &mut Cx<'_>, established: &mut Established, what: What) {
    let path = established.ike.path;
    let cookie = cx.random_octets(COOKIE2_LEN);
    let mut notifies = Vec::new();
    let traversal = established.ike.features.nat_traversal;
    match what {
        What::Update => {
            notifies.push(Notify::new(NotifyType::UPDATE_SA_ADDRESSES));
            notifies.extend(nat_notifies(established, path));
        }
        What::Probe => notifies.extend(nat_notifies(established, path)),
        What::Addresses | What::Check => {}
    }
    if what != What::Probe && what != What::Check && std::mem::take(&mut established.mobility.announce) {
        notifies.extend(own_addresses(established));
    }
    if !traversal && what != What::Probe && what != What::Check {
        notifies.extend(prohibition(&established.ike, path));
    }
    if what != What::Probe {
        notifies.push(Notify::with_data(NotifyType::COOKIE2, cookie.clone()));
    }
    let message = Informational {
        notifies,
        ..Informational::default()
    };
    let sent = Sent { what, path, cookie };
    established.request(cx, Request::Mobike(Box::new(sent)), &message);
}

impl Sent {
    /// Judges the answer.
    pub(crate) fn finish(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        opened: &Opened,
    ) -> Option<Ending> {
        let notifies = match opened.chain().and_then(|chain| Informational::parse(&chain)) {
            Ok(message) => message.notifies,
            // An answer is an answer; what it says of addresses is lost.
            Err(_) => return None,
        };
        match self.answers_cookie(&notifies) {
            Some(true) => {}
            Some(false) => {
                // RFC 4555 3.7: who answers without having seen the question is not where it says it is.
                let failure = Failure::new(Exchange::Informational, Cause::NotReachable);
                return Some(Ending::Expired(failure));
            }
            None if self.what == What::Probe => {}
            None => {
                // The peer has taken this IKE SA for replaced already, and says nothing of addresses on it.
                if established.may_insist() {
                    self.renew(&mut established.mobility);
                }
                return None;
            }
        }
        let mut kinds = notifies.iter().map(|notify| notify.kind);
        let forbidden = kinds
            .clone()
            .any(|kind| kind == NotifyType::UNEXPECTED_NAT_DETECTED);
        let refused = kinds.any(|kind| kind == NotifyType::UNACCEPTABLE_ADDRESSES);
        if established.ike.path != self.path {
            // RFC 4555 3.5: another change came in between, and is on its way to the peer.
            return None;
        }
        match self.what {
            What::Update if forbidden => established.on_forbidden_nat(cx),
            What::Update if refused => established.go_back(cx),
            What::Update => {
                established.mobility.previous = None;
                established.mobility.forbidden_nats = 0;
                established.note_nat(self.path, &notifies);
                established.move_esp(cx);
            }
            What::Check => established.move_esp(cx),
            What::Probe => {
                let seen = destination(&notifies);
                if established.mobility.decides && seen.is_some() && seen != established.mobility.seen {
                    established.mobility.seen = seen;
                    established.mobility.update = true;
                }
            }
            What::Addresses if forbidden => {
                established.mobility.announce = established.may_insist();
            }
            What::Addresses => {}
        }
        None
    }

    /// It will not be answered, for the IKE SA that it was sent on is replaced: to be said again.
    pub(crate) fn renew(&self, mobility: &mut Mobility) {
        match self.what {
            What::Update => mobility.update = true,
            What::Addresses => mobility.announce = true,
            What::Check => mobility.check = true,
            What::Probe => {}
        }
    }

    /// Whether the answer has our COOKIE2, if it has one.
    fn answers_cookie(&self, notifies: &[Notify]) -> Option<bool> {
        let mut cookies = notifies
            .iter()
            .filter(|notify| notify.kind == NotifyType::COOKIE2);
        let cookie = cookies.next()?;
        Some(cookie.data.as_slice().ct_eq(&self.cookie).into())
    }
}

impl Established {
    /// RFC 4555 3.9: the message was changed on its way, which may have been an attacker's doing: some more tries.
    fn on_forbidden_nat(&mut self, cx: &mut Cx<'_>) {
        if self.may_insist() {
            self.mobility.update = true;
        } else {
            self.go_back(cx);
        }
    }

    fn may_insist(&mut self) -> bool {
        self.mobility.forbidden_nats = self.mobility.forbidden_nats.saturating_add(1);
        self.mobility.forbidden_nats < MOST_FORBIDDEN_NATS
    }

    /// The peer does not want us there: the path before is used on (RFC 4555 3.5).
    fn go_back(&mut self, cx: &mut Cx<'_>) {
        if let Some(previous) = self.mobility.previous.take() {
            self.take_path(cx, previous);
            self.move_esp(cx);
        }
    }

    /// What NAT detection says of this path, and what follows for ESP (RFC 4555 3.5, last points).
    fn note_nat(&mut self, path: Path, notifies: &[Notify]) {
        if !self.ike.features.nat_traversal {
            return;
        }
        let spis = (self.ike.spi_i.0, self.ike.spi_r.0);
        if let Some(nat) = detected(spis, path, &detection(notifies)) {
            self.ike.nat = nat;
            self.ike.encapsulation = encapsulation(path, Some(nat), self.config.encapsulation);
            self.mobility.seen = destination(notifies);
        }
    }
}

/// What an INFORMATIONAL request of the peer says about addresses: what is done for it, and what the answer says.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    path: Path,
    message: &Informational,
) -> Vec<Notify> {
    let mut answer = Vec::new();
    if !established.is_mobile() {
        return answer;
    }
    let asked = |kind: NotifyType| message.notifies.iter().any(|notify| notify.kind == kind);
    let cookie = message
        .notifies
        .iter()
        .find(|notify| notify.kind == NotifyType::COOKIE2 && (8..=64).contains(&notify.data.len()));
    answer.extend(cookie.cloned());
    if !established.is_current() {
        return answer;
    }
    if finds_forbidden_nat(&message.notifies, path) {
        answer.push(Notify::new(NotifyType::UNEXPECTED_NAT_DETECTED));
        return answer;
    }
    if asked(NotifyType::UPDATE_SA_ADDRESSES) && !established.mobility.decides {
        if !is_acceptable(established, path) {
            answer.push(Notify::new(NotifyType::UNACCEPTABLE_ADDRESSES));
            return answer;
        }
        follow(cx, established, path, &message.notifies);
    }
    if asked(NotifyType::NAT_DETECTION_SOURCE_IP) || asked(NotifyType::NAT_DETECTION_DESTINATION_IP) {
        answer.extend(nat_notifies(established, path));
    }
    let lists = [
        NotifyType::ADDITIONAL_IP4_ADDRESS,
        NotifyType::ADDITIONAL_IP6_ADDRESS,
        NotifyType::NO_ADDITIONAL_ADDRESSES,
    ];
    if lists.into_iter().any(asked) {
        established.mobility.learn(addresses(&message.notifies));
        let current = established.ike.path.remote.ip();
        let left = path.remote.ip() != current && !established.mobility.peer.contains(&current);
        if established.mobility.decides && left && path.local.port() == established.ike.path.local.port() {
            established.begin_update(cx, path);
        }
    }
    answer
}

/// Is this a pair of addresses that we may use? ESP in UDP does not live on port 500 (RFC 3948 2.1).
fn is_acceptable(established: &Established, path: Path) -> bool {
    let fixed = established.config.local;
    let ours = fixed.is_none_or(|local| local == path.local.ip()) || path.local == established.ike.path.local;
    ours && (path.local.port() != PORT_IKE || established.ike.path.local.port() == PORT_IKE)
}

/// RFC 4555 3.5: the responder takes the addresses of the IP header. ESP follows once the peer has shown that it
/// receives there.
fn follow(cx: &mut Cx<'_>, established: &mut Established, path: Path, notifies: &[Notify]) {
    let elsewhere = path.remote.ip() != established.ike.path.remote.ip();
    established.take_path(cx, path);
    established.note_nat(path, notifies);
    if elsewhere {
        established.mobility.check = true;
    } else {
        established.move_esp(cx);
    }
}

/// RFC 4555 4.2.5: 8 to 64 octets.
const COOKIE2_LEN: usize = 16;
/// A request is sent so often to where the peer was before its other addresses are tried.
const TRIES_BEFORE_DETOUR: u32 = 3;
/// So often a path is tried on which the peer finds a forbidden NAT.
const MOST_FORBIDDEN_NATS: u8 = 3;
