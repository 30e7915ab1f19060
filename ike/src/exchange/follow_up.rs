//! IKE_FOLLOWUP_KE (RFC 9370 2.2.4): the additional key exchanges of an SA that CREATE_CHILD_SA agreed on. The SA exists only
//! when the last is done.
//!
//! ```text
//! initiator                                                  responder
//!   CREATE_CHILD_SA request                           -->
//!                                                     <--    CREATE_CHILD_SA answer, N(ADDITIONAL_KEY_EXCHANGE)(link1): it is pending
//!   request: SK {KEi(1), N(ADDITIONAL_KEY_EXCHANGE)(link1)} -->
//!                                                     <--    answer: SK {KEr(1)[, N(ADDITIONAL_KEY_EXCHANGE)(link2)]}
//!   finish: as without, once all are done                    as without, before the last answer leaves
//! ```
//!
//! Collisions are decided by the nonces of CREATE_CHILD_SA: whose nonce is the lowest does not go on. While we go on, the
//! peer's request to replace the same SA is refused for now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::init::key_pair;
use super::new_child::{failure, invalid, public};
use super::{Cx, add_child, rekey_child, rekey_ike, rekey_refused};
use crate::api::Spi;
use crate::config::ChildId;
use crate::crypto::kex::{self, KeyPair};
use crate::error::{Cause, Negotiated};
use crate::message::{FollowUpRequest, FollowUpResponse};
use crate::negotiate::transform::{AdditionalMethods, KeyExchangeMethod};
use crate::sa::child::ChildSa;
use crate::sa::keymat::SharedSecrets;
use crate::state::{Ending, Established, Request};
use crate::timers::after;
#[cfg(any(test, feature = "testing"))]
use crate::wire::IkeSpi;
use crate::wire::payload::{KeyExchange, Notify, NotifyType};
use crate::wire::{Chain, ExchangeType, Malformed, Opened, Payloads};

/// An SA that is agreed on, and the key exchanges that it still lacks.
#[derive(Debug)]
pub(crate) struct Series {
    wanted: Wanted,
    secrets: SharedSecrets,
    left: VecDeque<KeyExchangeMethod>,
}

/// What is to be made.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// An IKE SA in the place of this one.
    Ike(rekey_ike::Unfinished),
    /// A CHILD SA in the place of another.
    Child(rekey_child::Replacement),
    /// A CHILD SA beside the others.
    Added(add_child::Addition),
}

/// Where it will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the place of the IKE SA.
    OfIke,
    /// In the place of this CHILD SA.
    Of(Spi),
    /// Beside the other CHILD SAs.
    Beside,
}

impl Series {
    /// After CREATE_CHILD_SA.
    pub(crate) fn new(wanted: Wanted, secrets: SharedSecrets, additional: AdditionalMethods) -> Self {
        Self {
            wanted,
            secrets,
            left: additional.methods().collect(),
        }
    }

    /// Where it will be.
    pub(crate) fn place(&self) -> Place {
        match &self.wanted {
            Wanted::Ike(_) => Place::OfIke,
            Wanted::Child(child) => Place::Of(child.replaced()),
            Wanted::Added(_) => Place::Beside,
        }
    }

    /// It is to replace the IKE SA.
    pub(crate) fn is_ike(&self) -> bool {
        self.place() == Place::OfIke
    }

    /// It is a CHILD SA beside the others.
    pub(crate) fn is_addition(&self) -> bool {
        self.place() == Place::Beside
    }

    /// The CHILD SA that it is to replace.
    pub(crate) fn replaces(&self) -> Option<Spi> {
        match self.place() {
            Place::OfIke | Place::Beside => None,
            Place::Of(spi) => Some(spi),
        }
    }

    /// The lower of the two nonces, of an IKE SA.
    pub(crate) fn lowest_of_ike(&self) -> Option<Vec<u8>> {
        match &self.wanted {
            Wanted::Ike(ike) => Some(ike.lowest()),
            Wanted::Child(_) | Wanted::Added(_) => None,
        }
    }

    /// Our SPI of what is to be made.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn spi(&self) -> (Option<IkeSpi>, Option<Spi>) {
        match &self.wanted {
            Wanted::Ike(ike) => (Some(ike.spi()), None),
            Wanted::Child(child) => (None, Some(child.spi())),
            Wanted::Added(child) => (None, Some(child.spi())),
        }
    }

    /// It will not be made.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        match self.wanted {
            Wanted::Ike(ike) => ike.discard(cx),
            Wanted::Child(child) => child.discard(cx),
            Wanted::Added(child) => child.discard(cx),
        }
    }
}

/// Our request, which awaits its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What it is for.
    pub(crate) series: Series,
    key: KeyPair,
}

/// Asks for the next key exchange, or makes the SA if none is left. `link` is what the responder last gave.
pub(crate) fn proceed(
    cx: &mut Cx<'_>,
    established: &mut Established,
    mut series: Series,
    link: Option<Vec<u8>>,
) -> Option<Ending> {
    let Some(method) = series.left.pop_front() else {
        return match series.wanted {
            Wanted::Ike(ike) => ike.finish(cx, established, &series.secrets),
            Wanted::Child(child) => {
                child.finish(cx, established, &series.secrets);
                None
            }
            Wanted::Added(child) => {
                child.finish(cx, established, &series.secrets);
                None
            }
        };
    };
    let (link, key) = match (link, key_pair(cx, method)) {
        (Some(link), Ok(key)) => (link, key),
        (None, _) => {
            let cause = invalid("the answer has no ADDITIONAL_KEY_EXCHANGE");
            unusable(cx, established, series, cause);
            return None;
        }
        (Some(_), Err(failure)) => {
            series.discard(cx);
            return Some(Ending::Expired(failure));
        }
    };
    let request = FollowUpRequest {
        ke: public(&key),
        link,
    };
    established.ask(
        cx,
        ExchangeType::IKE_FOLLOWUP_KE,
        &request.emit(),
        Request::FollowUp(Box::new(Sent { series, key })),
    );
    None
}

impl Sent {
    /// Judges the answer.
    pub(crate) fn finish(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        opened: &Opened,
    ) -> Option<Ending> {
        let Self { mut series, key } = self;
        let answer = opened.chain().and_then(|chain| FollowUpResponse::parse(&chain));
        let cause = match answer {
            Ok(FollowUpResponse::Accepted { ke, link }) if ke.method == key.method().id() => {
                match key.shared(&ke.data) {
                    Ok(secret) => {
                        series.secrets.additional.push(secret);
                        return proceed(cx, established, series, link);
                    }
                    Err(_) => Cause::BadPublicValue,
                }
            }
            Ok(FollowUpResponse::Accepted { .. }) => {
                invalid("the answer is of another method than the request")
            }
            Ok(FollowUpResponse::Refused(notify)) => return refused(cx, established, series, &notify),
            Err(malformed) => {
                // RFC 7296 2.21.3: INVALID_SYNTAX is the end of the IKE SA.
                series.discard(cx);
                return Some(Ending::Expired(failure(Cause::from_malformed(&malformed))));
            }
        };
        unusable(cx, established, series, cause);
        None
    }
}

/// The peer's answer cannot be one. It may have an SA now that we cannot use.
fn unusable(cx: &mut Cx<'_>, established: &mut Established, series: Series, cause: Cause) {
    match series.wanted {
        Wanted::Ike(ike) => {
            ike.discard(cx);
            rekey_ike::unusable(cx, established, cause);
        }
        Wanted::Child(child) => {
            let (old, new) = (child.replaced(), child.spi());
            child.discard(cx);
            rekey_child::unusable(cx, established, old, new, cause);
        }
        Wanted::Added(child) => {
            let (wish, spi) = (child.wish().clone(), child.spi());
            child.discard(cx);
            add_child::unusable(cx, established, &wish, spi, cause);
        }
    }
}

/// RFC 9370 2.2.4: the whole series has failed; after STATE_NOT_FOUND it may be begun anew.
fn refused(
    cx: &mut Cx<'_>,
    established: &mut Established,
    series: Series,
    notify: &Notify,
) -> Option<Ending> {
    if let Wanted::Added(child) = series.wanted {
        let wish = child.wish().clone();
        child.discard(cx);
        add_child::refused(cx, established, &wish, notify);
        return None;
    }
    let replaced = series.replaces();
    series.discard(cx);
    let config = std::sync::Arc::clone(&established.config);
    let Some(old) = replaced else {
        let cause = rekey_refused::ike_by_peer(&config, notify);
        return match established.refused(cx, Negotiated::Ike, notify.kind, cause) {
            Ok(at) => {
                established.worn = Some(at);
                None
            }
            Err(ending) => Some(ending),
        };
    };
    let id = established.children.get(&old).map_or(ChildId(0), ChildSa::id);
    let cause = rekey_refused::child_by_peer(&config.child(id), notify);
    match established.refused(cx, Negotiated::Child, notify.kind, cause) {
        Ok(at) => {
            if let Some(child) = established.children.get_mut(&old) {
                child.worn = Some(at);
            }
            None
        }
        Err(ending) => Some(ending),
    }
}

/// What the peer has begun and not finished.
#[derive(Debug)]
pub(crate) struct Pending {
    link: Vec<u8>,
    /// What it is for.
    pub(crate) series: Series,
    /// When it is forgotten.
    pub(crate) expires: Instant,
}

/// Keeps what the peer has begun until it goes on, and gives the link. What it had begun in the same place is forgotten.
pub(crate) fn keep(cx: &mut Cx<'_>, established: &mut Established, series: Series) -> Vec<u8> {
    let place = series.place();
    forget(cx, established, |other| other.place() == place);
    let link = cx.random_octets(LINK_LEN);
    established.pending.push(Pending {
        link: link.clone(),
        series,
        expires: after(cx.now, PATIENCE),
    });
    link
}

/// Answers the peer's request. What is given besides is a CHILD SA that may send once the answer has left.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    chain: &Chain<'_>,
) -> Result<(Payloads, Option<Spi>), Malformed> {
    let request = FollowUpRequest::parse(chain)?;
    let found = established
        .pending
        .iter()
        .position(|pending| pending.link == request.link);
    let response = match found.map(|at| established.pending.remove(at)) {
        None => Err(NotifyType::STATE_NOT_FOUND),
        Some(pending) => exchange(cx, established, pending.series, &request.ke),
    };
    let refused = |kind| (FollowUpResponse::Refused(Notify::new(kind)), None);
    let (response, young) = response.unwrap_or_else(refused);
    Ok((response.emit(), young))
}

/// RFC 9370 2.2.4: no state is found on an IKE SA that is being deleted.
pub(crate) fn answer_closing() -> Payloads {
    FollowUpResponse::Refused(Notify::new(NotifyType::STATE_NOT_FOUND)).emit()
}

fn exchange(
    cx: &mut Cx<'_>,
    established: &mut Established,
    mut series: Series,
    asked: &KeyExchange,
) -> Result<(FollowUpResponse, Option<Spi>), NotifyType> {
    let method = series
        .left
        .pop_front()
        .filter(|method| method.id() == asked.method);
    let answer = method.and_then(|method| {
        let answer = kex::respond(method, &asked.data, cx.random).ok()?;
        Some((method, answer))
    });
    let Some((method, answer)) = answer else {
        series.discard(cx);
        return Err(NotifyType::NO_PROPOSAL_CHOSEN);
    };
    let ke = KeyExchange {
        method: method.id(),
        data: answer.public,
    };
    series.secrets.additional.push(answer.shared);
    if !series.left.is_empty() {
        let link = Some(keep(cx, established, series));
        return Ok((FollowUpResponse::Accepted { ke, link }, None));
    }
    let secrets = &series.secrets;
    let young = match series.wanted {
        Wanted::Ike(ike) => ike.make_for_peer(cx, established, secrets).map(|()| None),
        Wanted::Child(child) => child.make_for_peer(cx, established, secrets).map(|()| None),
        Wanted::Added(child) => child.make_for_peer(cx, established, secrets),
    };
    Ok((FollowUpResponse::Accepted { ke, link: None }, young?))
}

/// Forgets what the peer has begun and did not go on with in time.
pub(crate) fn age(cx: &mut Cx<'_>, established: &mut Established) {
    let (over, left) = std::mem::take(&mut established.pending)
        .into_iter()
        .partition(|pending| pending.expires <= cx.now);
    established.pending = left;
    discard(cx, over);
}

/// Forgets those that will not be made.
pub(crate) fn forget(cx: &mut Cx<'_>, established: &mut Established, which: impl Fn(&Series) -> bool) {
    let (over, left) = std::mem::take(&mut established.pending)
        .into_iter()
        .partition(|pending| which(&pending.series));
    established.pending = left;
    discard(cx, over);
}

fn discard(cx: &mut Cx<'_>, over: Vec<Pending>) {
    over.into_iter().for_each(|pending| pending.series.discard(cx));
}

/// RFC 9370 2.2.4: 5 to 20 seconds are appropriate in most cases. Ours goes on asking for longer, should its first
/// requests be lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// Enough that nobody meets another's by chance.
const LINK_LEN: usize = 8;
