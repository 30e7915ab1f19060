//! Who wins when both sides do something at once (RFC 7296 2.8.1, 2.25.1), and the stages of a CHILD SA that follow.
//!
//! ```text
//!              made by us: wins --> Current                        replaced --> Doomed --> Deleting --> Draining --> gone
//!                          loses --> Doomed
//!              made by the peer --> Young --(proof)--> Current     deleted by the peer ---------------> Draining --> gone
//!                                   Young --(loses)--> Redundant --(patience)--> Doomed
//! ```

use std::time::Duration;

use super::follow_up::Place;
use super::narrowed::same;
use super::new_child::Wish;
use super::{Cx, delete};
use crate::api::{Event, Role, Spi};
use crate::error::Cause;
use crate::sa::child::{ChildSa, Stage};
use crate::sa::lifetime::Wear;
use crate::state::{Ending, Established, Request};
use crate::wire::payload::{Notify, NotifyType};

/// The CHILD SA that the peer wants to replace, if it may be (RFC 7296 2.25.1, 2.25.2).
pub(crate) fn rekeyable(cx: &mut Cx<'_>, established: &mut Established, rekeyed: u32) -> Result<Spi, Notify> {
    let temporary = || Notify::new(NotifyType::TEMPORARY_FAILURE);
    if established.rekeys_ike() || established.children.len() >= MOST_CHILDREN {
        return Err(temporary());
    }
    let named = established
        .children
        .values()
        .filter(|child| child.outbound_spi().0 == rekeyed);
    let stages: Vec<(Spi, Stage)> = named.map(|child| (child.inbound_spi(), child.stage)).collect();
    match stages.first() {
        None | Some((_, Stage::Draining)) => Err(Notify::of_esp(NotifyType::CHILD_SA_NOT_FOUND, rekeyed)),
        Some((_, Stage::Redundant | Stage::Doomed | Stage::Deleting)) => Err(temporary()),
        // RFC 9370 2.2.4: our additional key exchanges for the same are under way.
        Some((spi, _)) if established.follows_up(Place::Of(*spi)) => Err(temporary()),
        Some((spi, Stage::Current)) => Ok(*spi),
        Some((spi, Stage::Young)) => {
            // Who wants to replace it has it.
            promote(cx, established, *spi);
            Ok(*spi)
        }
    }
}

/// We have answered the peer's request: receive with it, before the answer leaves (RFC 7296 2.8).
pub(crate) fn made_by_peer(cx: &mut Cx<'_>, established: &mut Established, mut child: ChildSa) {
    let (connection, path) = (established.config.id, established.ike.path);
    child
        .install_inbound(connection, path)
        .into_iter()
        .for_each(|output| cx.output(output));
    child.enter(Stage::Young, Some(cx.now + SWITCH_WAIT));
    if let Some(origin) = &child.origin {
        established.note_rival(origin);
    }
    established.children.insert(child.inbound_spi(), child);
}

/// The peer has answered our request. If it asked for the same meanwhile, the one with the lowest nonce is closed by
/// who asked for it (RFC 7296 2.8.1), and the other side deletes the old one.
pub(crate) fn made_by_us(
    cx: &mut Cx<'_>,
    established: &mut Established,
    old: Spi,
    mut child: ChildSa,
    rivals: &[Vec<u8>],
) {
    let (connection, path) = (established.config.id, established.ike.path);
    let loses = child
        .origin
        .as_ref()
        .is_some_and(|origin| rivals.iter().any(|theirs| origin.lowest < *theirs));
    child
        .install_inbound(connection, path)
        .into_iter()
        .for_each(|output| cx.output(output));
    let spi = child.inbound_spi();
    if loses {
        child.enter(Stage::Doomed, None);
        established.children.insert(spi, child);
        return;
    }
    established.children.insert(spi, child);
    promote(cx, established, spi);
    for rival in established
        .children
        .values_mut()
        .filter(|rival| rival.lives() && rival.replaces(old) && rival.inbound_spi() != spi)
    {
        rival
            .remove_outbound(connection)
            .into_iter()
            .for_each(|output| cx.output(output));
        rival.enter(Stage::Redundant, Some(cx.now + PATIENCE));
    }
    if let Some(old) = established.children.get_mut(&old).filter(|old| old.lives()) {
        old.remove_outbound(connection)
            .into_iter()
            .for_each(|output| cx.output(output));
        old.enter(Stage::Doomed, None);
    }
}

/// We have answered the peer's request for another CHILD SA: receive with it, before the answer leaves. What is to be
/// promoted once it has left, which is all of it unless we have asked for the same.
pub(crate) fn added_by_peer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    mut child: ChildSa,
) -> Option<Spi> {
    let (connection, path) = (established.config.id, established.ike.path);
    child
        .install_inbound(connection, path)
        .into_iter()
        .for_each(|output| cx.output(output));
    let lowest = child.origin.as_ref().map(|origin| origin.lowest.clone());
    let rivals = established.note_addition(&child.as_wish(), &lowest.unwrap_or_default());
    child.enter(Stage::Young, rivals.then_some(cx.now + SWITCH_WAIT));
    let spi = child.inbound_spi();
    established.children.insert(spi, child);
    (!rivals).then_some(spi)
}

/// The peer has answered our request for another CHILD SA. If it asked for the same meanwhile: as when both replace one
/// (RFC 7296 2.8.1).
pub(crate) fn added_by_us(
    cx: &mut Cx<'_>,
    established: &mut Established,
    mut child: ChildSa,
    rivals: &[Vec<u8>],
) {
    let (connection, path) = (established.config.id, established.ike.path);
    let lowest = child.origin.as_ref().map(|origin| origin.lowest.clone());
    let loses = |lowest: &Vec<u8>| rivals.iter().any(|theirs| lowest < theirs);
    child
        .install_inbound(connection, path)
        .into_iter()
        .for_each(|output| cx.output(output));
    let spi = child.inbound_spi();
    if lowest.as_ref().is_some_and(loses) {
        child.enter(Stage::Doomed, None);
        established.children.insert(spi, child);
        return;
    }
    established.children.insert(spi, child);
    promote(cx, established, spi);
    let of_rival = |child: &ChildSa| {
        let origin = child.origin.as_ref();
        origin.is_some_and(|origin| rivals.contains(&origin.lowest))
    };
    for rival in established
        .children
        .values_mut()
        .filter(|rival| rival.lives() && of_rival(rival))
    {
        rival
            .remove_outbound(connection)
            .into_iter()
            .for_each(|output| cx.output(output));
        rival.enter(Stage::Redundant, Some(cx.now + PATIENCE));
    }
}

/// The peer asked for a CHILD SA that there was already: one of the two goes. If ours was made a moment ago, the peer
/// had not heard of it, and the nonces tell which (RFC 7296 2.8.1); otherwise the peer has its reasons, and the old
/// one goes.
pub(crate) fn retire_twins(cx: &mut Cx<'_>, established: &mut Established, spi: Spi) {
    let connection = established.config.id;
    let Some(new) = established.children.get(&spi) else {
        return;
    };
    let lowest = new.origin.as_ref().map(|origin| origin.lowest.clone());
    let twins: Vec<Spi> = established
        .children
        .values()
        .filter(|old| old.lives() && old.inbound_spi() != spi && is_twin(old, new))
        .map(ChildSa::inbound_spi)
        .collect();
    let crossed = |old: &ChildSa| {
        old.origin.as_ref().is_some_and(|origin| {
            origin.role == Role::Initiator
                && origin.replaced.is_none()
                && cx.now.saturating_duration_since(origin.at) < CROSSING
                && lowest.as_ref().is_some_and(|lowest| *lowest < origin.lowest)
        })
    };
    let keeps_old = twins
        .iter()
        .filter_map(|twin| established.children.get(twin))
        .any(crossed);
    let (losers, stage, deadline) = if keeps_old {
        (vec![spi], Stage::Redundant, Some(cx.now + PATIENCE))
    } else {
        (twins, Stage::Doomed, None)
    };
    for loser in losers {
        if let Some(child) = established.children.get_mut(&loser) {
            child
                .remove_outbound(connection)
                .into_iter()
                .for_each(|output| cx.output(output));
            child.enter(stage, deadline);
        }
    }
}

impl ChildSa {
    /// What it is for.
    pub(crate) fn as_wish(&self) -> Wish {
        let (local, remote) = self.selectors();
        Wish {
            id: self.id(),
            resource: self.resource(),
            local: local.to_vec(),
            remote: remote.to_vec(),
        }
    }
}

/// They carry the same, and neither was made in the place of the other.
fn is_twin(old: &ChildSa, new: &ChildSa) -> bool {
    let (one, other) = (old.selectors(), new.selectors());
    old.id() == new.id()
        && old.resource() == new.resource()
        && same(one.0, other.0)
        && same(one.1, other.1)
        && !new.replaces(old.inbound_spi())
        && !old.replaces(new.inbound_spi())
}

/// The peer has shown that it receives on it: send with it from now on.
pub(crate) fn promote(cx: &mut Cx<'_>, established: &mut Established, spi: Spi) {
    let (connection, path) = (established.config.id, established.ike.path);
    let Some(child) = established
        .children
        .get_mut(&spi)
        .filter(|child| child.stage == Stage::Young)
    else {
        return;
    };
    child.enter(Stage::Current, None);
    child
        .install_outbound(connection, path)
        .into_iter()
        .for_each(|output| cx.output(output));
    if established.announced {
        child.announced = true;
        let child = child.facts(&established.config);
        cx.event(Event::ChildEstablished { connection, child });
    }
    // Who replaced another by this one is done with it, even if its delete is still to come.
    let replaced = established
        .children
        .get(&spi)
        .and_then(|child| child.origin.as_ref())
        .and_then(|origin| origin.replaced);
    if let Some(old) = replaced.and_then(|old| established.children.get_mut(&old)) {
        old.worn = None;
        if old.lives() && old.deadline.is_none() {
            // The peer is to delete it; should it forget that, we do.
            old.deadline = Some(cx.now + PATIENCE);
        }
    }
}

/// The peer does not know what we wanted to replace (RFC 7296 2.25): it is gone there, and here.
pub(crate) fn not_found(cx: &mut Cx<'_>, established: &mut Established, old: Spi) -> Option<Ending> {
    succeed(cx, established, old);
    if let Some(child) = established.children.get_mut(&old).filter(|child| child.lives()) {
        drain(cx, established.config.id, child);
    }
    established.childless(Cause::PeerNotify {
        notify: NotifyType::CHILD_SA_NOT_FOUND,
    })
}

/// The peer has deleted these: their successors take over. The SPIs that the answer names, and those that are removed
/// at once because nothing takes their place.
pub(crate) fn deleted_by_peer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    spis: &[u32],
) -> (Vec<u32>, Vec<ChildSa>) {
    let named = delete::named(established, spis);
    for spi in &named {
        established.child_lost(cx, *spi);
    }
    for spi in &named {
        succeed(cx, established, *spi);
    }
    let answer = named.iter().map(|spi| spi.0).collect();
    let others = established
        .children
        .values()
        .any(|child| child.lives() && !named.contains(&child.inbound_spi()));
    if !others && !established.rekeys_child() {
        let removed = named
            .iter()
            .filter_map(|spi| established.children.remove(spi))
            .collect();
        return (answer, removed);
    }
    for spi in &named {
        if let Some(child) = established.children.get_mut(spi) {
            child.drain(cx.now);
        }
    }
    (answer, Vec::new())
}

/// Traffic leaves `old` for what was made in its place. Whether there is anything.
pub(crate) fn succeeded(cx: &mut Cx<'_>, established: &mut Established, old: Spi) -> bool {
    if !replaced(established).contains(&old) {
        return false;
    }
    succeed(cx, established, old);
    let connection = established.config.id;
    if let Some(old) = established.children.get_mut(&old) {
        let output = old.remove_outbound(connection);
        output.into_iter().for_each(|output| cx.output(output));
    }
    true
}

/// What the peer made in the place of `old` takes over.
fn succeed(cx: &mut Cx<'_>, established: &mut Established, old: Spi) {
    let heirs: Vec<Spi> = established
        .children
        .values()
        .filter(|child| child.stage == Stage::Young && child.replaces(old))
        .map(ChildSa::inbound_spi)
        .collect();
    for heir in heirs {
        promote(cx, established, heir);
    }
}

/// Stops sending; what is on the way is still received.
pub(crate) fn drain(cx: &mut Cx<'_>, connection: crate::config::ConnectionId, child: &mut ChildSa) {
    child
        .remove_outbound(connection)
        .into_iter()
        .for_each(|output| cx.output(output));
    child.drain(cx.now);
}

/// Whatever time has brought about: stages that end, lifetimes.
pub(crate) fn age(cx: &mut Cx<'_>, established: &mut Established) -> Option<Ending> {
    let connection = established.config.id;
    for child in established
        .children
        .values_mut()
        .filter(|child| child.stage == Stage::Draining)
    {
        child
            .remove_outbound(connection)
            .into_iter()
            .for_each(|output| cx.output(output));
    }
    let passed: Vec<(Spi, Stage)> = established
        .children
        .values()
        .filter(|child| child.deadline.is_some_and(|at| at <= cx.now))
        .map(|child| (child.inbound_spi(), child.stage))
        .collect();
    for (spi, stage) in passed {
        match stage {
            Stage::Young => promote(cx, established, spi),
            Stage::Current | Stage::Redundant => {
                if let Some(child) = established.children.get_mut(&spi) {
                    child
                        .remove_outbound(connection)
                        .into_iter()
                        .for_each(|output| cx.output(output));
                    child.enter(Stage::Doomed, None);
                }
            }
            Stage::Draining => {
                let over = |child: &mut ChildSa| child.is_drained(cx.now);
                if established.children.get_mut(&spi).is_some_and(over) {
                    delete::remove(cx, connection, established.children.remove(&spi));
                }
            }
            Stage::Doomed | Stage::Deleting => {}
        }
    }
    let replaced: Vec<Spi> = replaced(established);
    let mut over = Vec::new();
    for (spi, child) in established.children.iter_mut().filter(|(_, child)| child.lives()) {
        match child.limits.by_time(cx.now) {
            Wear::Fresh => {}
            Wear::Worn if replaced.contains(spi) => {}
            Wear::Worn => {
                child.worn.get_or_insert(cx.now);
            }
            Wear::Over if replaced.contains(spi) => {}
            Wear::Over => over.push(*spi),
        }
    }
    over.into_iter()
        .find_map(|spi| established.child_expired(cx, spi))
}

/// The CHILD SA whose turn it is to be replaced by us.
pub(crate) fn due(cx: &Cx<'_>, established: &Established) -> Option<Spi> {
    let replaced = replaced(established);
    established
        .children
        .iter()
        .filter(|(spi, child)| child.stage == Stage::Current && !replaced.contains(spi))
        .find(|(_, child)| child.worn.is_some_and(|at| at <= cx.now))
        .map(|(spi, _)| *spi)
}

/// The operator wants keys that are newer than the wish: also in the place of what the peer made a moment ago, as soon as
/// that is proven. What has a successor already needs no other.
pub(crate) fn wear(cx: &Cx<'_>, established: &mut Established) {
    let replaced = replaced(established);
    for (spi, child) in &mut established.children {
        if child.lives() && !replaced.contains(spi) {
            child.worn = Some(cx.now);
        }
    }
}

/// Asks the peer to delete what is doomed. Whether there was anything.
pub(crate) fn delete_doomed(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    let mut doomed = Vec::new();
    for (spi, child) in &mut established.children {
        if child.stage == Stage::Doomed {
            child.enter(Stage::Deleting, None);
            doomed.push(*spi);
        }
    }
    if doomed.is_empty() {
        return false;
    }
    let message = crate::message::Informational::delete_esp(doomed.iter().map(|spi| spi.0).collect());
    established.request(cx, Request::DeleteChild(doomed), &message);
    true
}

/// The CHILD SAs in whose place there is another already.
fn replaced(established: &Established) -> Vec<Spi> {
    let heirs = established.children.values().filter(|child| child.lives());
    heirs
        .filter_map(|child| child.origin.as_ref())
        .filter_map(|origin| origin.replaced)
        .collect()
}

/// CHILD SAs of an IKE SA at most, those that drain included.
pub(crate) const MOST_CHILDREN: usize = 256;
/// A request of the peer that is older than this one of ours was not sent before the peer had our request.
const CROSSING: Duration = Duration::from_secs(30);
/// Longer than the peer goes on asking: after that it is a peer that does not delete what it replaced.
const SWITCH_WAIT: Duration = Duration::from_secs(60);
/// How long the peer may take to delete what is for it to delete.
const PATIENCE: Duration = Duration::from_secs(90);
