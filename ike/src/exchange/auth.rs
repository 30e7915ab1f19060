//! IKE_AUTH, and the first CHILD SA (RFC 7296 1.2, 2.4, 2.15, 2.17, 2.21.2).
//!
//! ```text
//! initiator                                                   responder
//!   request: SK {IDi, [N(INITIAL_CONTACT)], IDr, AUTH, SAi2, TSi, TSr}  -->
//!                              <--  answer: SK {IDr, AUTH, SAr2, TSi, TSr}
//!                                       or: SK {IDr, AUTH, N(error)}: the IKE SA stands, the CHILD SA does not
//!                                       or: SK {N(error)}: nothing stands
//! ```
//!
//! Whoever reads a message here knows that it comes from the one with whom the keys were exchanged, and not yet who
//! that is.

mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash::Token;
use super::init::{Attempt, Exchanged};
use super::narrowed::without_key_exchange;
use super::proof::{self, Proof};
use super::resume::Past;
use super::status::{self, Deferred};
use super::ticket::{self, Granted};
use super::{Cx, lane, mobike, ppk, resume};
use crate::api::{Role, Spi};
use crate::auth::identity::{Identity, IdentityWireError};
use crate::auth::signed::SignedOctets;
use crate::auth::verified::{AuthVerified, Credentials, Means};
use crate::config::{Aggfrag, ConnectionConfig};
use crate::error::{Cause, Exchange, Failure, Ignore, Side};
use crate::message::{AuthRequest, ChildOffer};
use crate::negotiate::offer;
use crate::negotiate::selector::to_payload;
use crate::sa::child::{ChildAgreement, ChildSa};
use crate::sa::ike_sa::IkeSa;
use crate::sa::keymat::{ChildKeys, PpkKeys, SharedSecrets};
use crate::sa::lifetime::Limits;
use crate::sa::mobility::Mobility;
use crate::sa::ticket::Serial;
use crate::sa::transmission::Seen;
use crate::sa::window::Overdue;
use crate::state::Reauthentication;
use crate::wire::payload::{Body, GatewayIdentity, IdType, Identification, Notify, NotifyType};
use crate::wire::{ExchangeType, Header};

pub(crate) use response::Finished;

/// The initiator, after its IKE_AUTH request, awaiting the answer.
pub(crate) struct Sent {
    /// The configuration the attempt began with.
    pub(crate) config: Arc<ConnectionConfig>,
    /// The IKE SA; the peer is not authenticated yet.
    pub(crate) ike: IkeSa,
    /// When the attempt began.
    pub(crate) begun: Instant,
    /// What is special about it.
    pub(crate) attempt: Attempt,
    /// RealMessage2: the responder's first message, which its AUTH covers.
    response: Vec<u8>,
    int_auth: Vec<u8>,
    /// The keys with the PPK, if we have offered one (RFC 8784).
    ppk: Option<PpkKeys>,
    /// The IKE SA that it goes on from (RFC 5723).
    past: Option<Past>,
    /// Our SPI of the first CHILD SA; `None`: without one (RFC 6023).
    pub(crate) child_spi: Option<Spi>,
    /// The answer came; whether the peer's certificate is still good is not known yet.
    pub(crate) deferred: Option<Deferred>,
}

/// A peer that has proven who it is.
pub(crate) struct Authenticated {
    /// The connection's configuration.
    pub(crate) config: Arc<ConnectionConfig>,
    /// The IKE SA.
    pub(crate) ike: IkeSa,
    /// Who the peer is.
    pub(crate) remote_identity: Identity,
    /// The first CHILD SA, or why there is none.
    pub(crate) child: Result<Option<ChildSa>, Failure>,
    /// Our SPI of the one that the peer has made and we cannot use.
    pub(crate) unusable: Option<Spi>,
    /// The peer wants a CHILD SA for each pair of selectors (SINGLE_PAIR_REQUIRED, RFC 7296 2.9).
    pub(crate) single_pair: bool,
    /// The rest of what we asked for may be had in another CHILD SA (ADDITIONAL_TS_POSSIBLE, RFC 7296 2.9).
    pub(crate) additional_ts: bool,
    /// How long the peer lets an authentication count (AUTH_LIFETIME, RFC 4478).
    pub(crate) auth_lifetime: Option<Duration>,
    /// The peer says that this is the only IKE SA between the two identities (RFC 7296 2.4).
    pub(crate) initial_contact: bool,
    /// The initiator is sent to this gateway instead of getting a CHILD SA (RFC 5685 6).
    pub(crate) redirect: Option<GatewayIdentity>,
    /// Both sides' addresses.
    pub(crate) mobility: Mobility,
    /// What the peer shows if it has lost this IKE SA.
    pub(crate) token: Option<Token>,
    /// When the negotiation began.
    pub(crate) begun: Instant,
    /// The proof.
    pub(crate) proof: AuthVerified,
    /// When the peer has shown its credentials.
    pub(crate) credentials: Credentials,
    /// When it has to again, if that was known before: it goes on from an IKE SA that was lost (RFC 5723).
    pub(crate) reauthentication: Option<Reauthentication>,
    /// What became of our wish for a ticket.
    pub(crate) ticket: Granted,
    /// The ticket that we gave.
    pub(crate) issued: Option<Serial>,
}

impl Authenticated {
    /// It goes on from an IKE SA that was lost (RFC 5723).
    pub(crate) fn is_resumed(&self) -> bool {
        self.ike.remote_means == Some(Means::Ticket)
    }
}

/// The initiator's request. `sole`: no other IKE SA stands between the two identities.
///
/// # Errors
///
/// We cannot prove who we are in a way that the peer accepts.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    exchanged: Exchanged,
    response: &[u8],
    sole: bool,
) -> Result<Sent, Failure> {
    let Exchanged {
        config,
        mut ike,
        request,
        begun,
        attempt,
        solution,
        past,
    } = exchanged;
    let int_auth = ike.int_auth.octets(ike.requests.next_id());
    let idi = identification(&config.local_identity);
    let signed = SignedOctets {
        message: &request,
        nonce: &ike.nonces.responder,
        sk_p: &ike.keys.sk_pi,
        rest_of_id: &idi.to_bytes(),
        int_auth: &int_auth,
    };
    let Ours {
        mut proof,
        ppk,
        ppk_identity,
    } = match &past {
        Some(_) => Ours::of(resume::prove(&ike, signed)),
        None => prove(&ike, &config, signed, attempt)?,
    };
    if ike.features.wants_ocsp {
        proof.certificates.extend(status::own_response(cx, &config));
    }
    ike.local_means = Some(proof.means);
    let childless = config.childless.wants() && ike.features.childless;
    let child_spi = (!childless).then(|| cx.spis.allocate_esp(cx.random, lane::first(config.id)));
    // RFC 5723 4.3.3: there are no certificates.
    let full = past.is_none();
    let asked = full.then_some(&*config);
    let message = AuthRequest {
        idi,
        idr: Some(identification(&config.remote_identity)),
        auth: proof.auth,
        certificates: proof.certificates,
        certificate_requests: proof::certificate_requests(asked.into_iter(), MOST_AUTHORITIES),
        // Who reauthenticates has an IKE SA, and wants to keep it until the new one stands.
        initial_contact: sole && config.initial_contact && !attempt.reauthenticates,
        mobike_supported: config.is_mobile_on(ike.path),
        child: child_spi.map(|child_spi| ChildOffer {
            sa: offer::esp_offer(&without_key_exchange(&config.esp_proposals), child_spi),
            tsi: to_payload(&config.local_selectors),
            tsr: to_payload(&config.remote_selectors),
            transport_mode: false,
            no_tfc_padding: false,
            aggfrag: config.child_aggfrag.map(Aggfrag::notify),
        }),
        wants_configuration: false,
        other: proof::announcement(asked.map(|config| &config.remote_auth).into_iter())
            .into_iter()
            .chain(ppk_identity)
            .chain(ticket::request(&config))
            .chain(further(cx, &ike, &config, config.is_mobile_on(ike.path)))
            .collect(),
    };
    let (exchange, payloads) = (ExchangeType::IKE_AUTH, message.emit());
    let message = ike.request_behind(cx.now, cx.random, exchange, &payloads, solution.as_ref());
    cx.transmit(ike.path, message);
    Ok(Sent {
        config,
        ike,
        begun,
        attempt,
        response: response.to_vec(),
        int_auth,
        ppk,
        past,
        child_spi,
        deferred: None,
    })
}

/// How we prove who we are.
struct Ours {
    proof: Proof,
    /// The keys with the PPK, if we offer one (RFC 8784).
    ppk: Option<PpkKeys>,
    /// What goes with it.
    ppk_identity: Vec<Notify>,
}

impl Ours {
    fn of(proof: Proof) -> Self {
        Self {
            proof,
            ppk: None,
            ppk_identity: Vec::new(),
        }
    }
}

/// By our credentials, and with the PPK if there is one.
fn prove(
    ike: &IkeSa,
    config: &ConnectionConfig,
    signed: SignedOctets<'_>,
    attempt: Attempt,
) -> Result<Ours, Failure> {
    let by = |sk_p| {
        let announced = ike.features.auth_methods.clone();
        let signed = SignedOctets { sk_p, ..signed };
        proof::prove(ike, config, signed, announced, attempt.key).map_err(failure)
    };
    let Some((named, keys)) = ppk::offer(ike, config).map_err(failure)? else {
        return by(&ike.keys.sk_pi).map(Ours::of);
    };
    let proof = by(&keys.sk_pi)?;
    let without = match named.required {
        true => None,
        false => Some(by(&ike.keys.sk_pi)?.auth),
    };
    Ok(Ours {
        proof,
        ppk_identity: ppk::identity(named, without),
        ppk: Some(keys),
    })
}

impl Sent {
    /// Looks at a message for our SPI. Changes nothing, but fragments are stored.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        if [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_SESSION_RESUME].contains(&header.exchange) {
            return Err(Ignore::Unasked);
        }
        if !header.flags.response || header.exchange != ExchangeType::IKE_AUTH {
            return Err(Ignore::UnexpectedState);
        }
        self.ike.receive(cx.now, cx.random, header, bytes)
    }

    /// When something must happen.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.ike.due()
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<Option<u32>, Failure> {
        match self.ike.on_timeout(cx.now, cx.random) {
            Overdue::No => Ok(None),
            Overdue::Resend { message, sent } => {
                cx.retransmit(self.ike.path, message);
                Ok(Some(sent))
            }
            Overdue::GiveUp { tries } => Err(failure(Cause::NoResponse { tries })),
        }
    }

    /// The end of an attempt that came to nothing.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        self.release_child(cx);
        cx.spis.release_ike(self.ike.local_spi(), None);
    }

    fn release_child(&self, cx: &mut Cx<'_>) {
        if let Some(spi) = self.child_spi {
            cx.spis.release_esp(spi);
        }
    }
}

/// AUTH_LIFETIME, in a protected message of the responder (RFC 4478 3).
pub(crate) fn auth_lifetime(notifies: &[Notify]) -> Option<Duration> {
    let notify = notifies
        .iter()
        .find(|notify| notify.kind == NotifyType::AUTH_LIFETIME)?;
    let seconds = <[u8; 4]>::try_from(notify.data.as_slice()).ok()?;
    Some(Duration::from_secs(u32::from_be_bytes(seconds).into()))
}

/// What either side says besides, of what it can do.
pub(crate) fn further(cx: &Cx<'_>, ike: &IkeSa, config: &ConnectionConfig, mobike: bool) -> Vec<Notify> {
    let mut notifies = match mobike {
        true => mobike::announce(ike, &config.other_addresses),
        false => Vec::new(),
    };
    notifies.extend(cx.tokens.notify(ike));
    notifies
}

/// Both sides' addresses, as IKE_AUTH tells them.
pub(crate) fn mobility(ike: &IkeSa, config: &ConnectionConfig, notifies: &[Notify]) -> Mobility {
    let mut mobility = Mobility {
        decides: ike.role == Role::Initiator,
        own: config.other_addresses.clone(),
        ..Mobility::default()
    };
    mobility.learn(mobike::addresses(notifies));
    mobility
}

/// The CHILD SA whose keys come of the nonces of IKE_SA_INIT (RFC 7296 2.17).
pub(crate) fn first_child_sa(
    cx: &mut Cx<'_>,
    ike: &IkeSa,
    config: &ConnectionConfig,
    agreement: ChildAgreement,
) -> Result<ChildSa, Cause> {
    let nonces = (ike.nonces.initiator.as_slice(), ike.nonces.responder.as_slice());
    let keys = ChildKeys::derive(
        ike.suite.prf,
        &ike.keys.sk_d,
        &agreement.suite,
        &SharedSecrets::none(),
        nonces,
    )
    .map_err(|_| Cause::Internal {
        detail: "KEYMAT is too long",
    })?;
    let limits = Limits::of_child(
        cx.now,
        config.child(agreement.id).lifetime,
        agreement.suite.esn,
        cx.random,
    );
    Ok(ChildSa::new(agreement, keys, ike.role, limits))
}

/// An identity as a payload.
pub(crate) fn identification(identity: &Identity) -> Identification {
    let (kind, data) = identity.to_wire();
    Identification::new(IdType(kind), data)
}

/// A payload as an identity.
pub(crate) fn identity(payload: &Identification) -> Result<Identity, Cause> {
    Identity::from_wire(payload.kind.0, &payload.data).map_err(|error| match error {
        // The message is well formed, but nobody we know has such a name.
        IdentityWireError::UnknownType(id_type) => Cause::UnsupportedIdentity { id_type },
        IdentityWireError::Malformed(_) => Cause::InvalidSyntax {
            refused_by: Side::Us,
            detail: error.to_string(),
        },
    })
}

/// A failure of this exchange.
pub(crate) fn failure(cause: Cause) -> Failure {
    Failure::new(Exchange::IkeAuth, cause)
}

/// Authorities named in CERTREQ at most.
const MOST_AUTHORITIES: usize = 64;
