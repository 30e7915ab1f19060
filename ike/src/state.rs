//! The states of an IKE SA. Each is named for what it awaits, and owns only what is legal then.

mod closing;
mod dispatch;
mod reauth;
mod refusals;
mod tend;
mod wants;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{CloseReason, Encapsulation, Event, ExportedKeys, Reason, Role, Spi, Step};
use crate::auth::identity::Identity;
use crate::auth::verified::{AuthVerified, Credentials};
use crate::config::{ChildId, ConnectionConfig, EncapsulationPolicy};
use crate::error::{Cause, Failure, Ignore};
use crate::exchange::crash::Token;
use crate::exchange::ticket::{Granted, Ticket};
use crate::exchange::{
    Cx, add_child, auth, follow_up, init, intermediate, liveness, mobike, rekey_child, rekey_ike, resume,
    ticket,
};
use crate::message::Informational;
use crate::sa::child::ChildSa;
use crate::sa::ike_sa::IkeSa;
use crate::sa::lifetime::Limits;
use crate::sa::mobility::Mobility;
use crate::sa::pace::Pace;
use crate::sa::ticket::Serial;
use crate::sa::transmission::Seen;
use crate::sa::window::Overdue;
use crate::timers::{Timers, after};
use crate::wire::payload::GatewayIdentity;
use crate::wire::{ExchangeType, Header, IkeSpi};

pub(crate) use closing::Closing;
pub(crate) use reauth::Reauthentication;
pub(crate) use refusals::Refusals;
pub(crate) use tend::Born;
pub(crate) use wants::Want;

/// An IKE SA of a connection. (A half-open SA of a responder belongs to no connection yet: `admission`.)
pub(crate) enum State {
    /// Our IKE_SA_INIT request awaits its answer.
    InitSent(Box<init::Sent>),
    /// Our IKE_SESSION_RESUME request awaits its answer.
    ResumeSent(Box<resume::Sent>),
    /// Our IKE_INTERMEDIATE request awaits its answer.
    IntermediateSent(Box<intermediate::Sent>),
    /// Our IKE_AUTH request awaits its answer.
    AuthSent(Box<auth::Sent>),
    /// The peer is authenticated.
    Established(Box<Established>),
    /// Our delete awaits its answer.
    Closing(Box<Closing>),
}

impl State {
    /// When it wants to be woken.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Reason)> {
        let retransmit = |due: Option<Instant>| due.map(|due| (due, Reason::Retransmit));
        match self {
            Self::InitSent(sent) => retransmit(sent.due()),
            Self::ResumeSent(sent) => retransmit(sent.due()),
            Self::IntermediateSent(sent) => retransmit(sent.due()),
            Self::AuthSent(sent) => retransmit(sent.due()),
            Self::Established(sa) => [retransmit(sa.ike.due()), sa.timers.next()]
                .into_iter()
                .flatten()
                .min(),
            Self::Closing(closing) => retransmit(closing.ike.due()),
        }
    }
}

impl State {
    /// The keys of the IKE SA, if it has any yet, and of its CHILD SAs.
    pub(crate) fn exported(&self) -> Vec<ExportedKeys> {
        match self {
            Self::InitSent(_) | Self::ResumeSent(_) => Vec::new(),
            Self::IntermediateSent(sent) => vec![sent.ike().exported()],
            Self::AuthSent(sent) => vec![sent.ike.exported()],
            Self::Established(sa) => {
                let children = sa.children.values();
                std::iter::once(sa.ike.exported())
                    .chain(children.flat_map(|child| child.exported(sa.ike.path)))
                    .collect()
            }
            Self::Closing(closing) => vec![closing.ike.exported()],
        }
    }
}

/// An IKE SA with an authenticated peer.
pub(crate) struct Established {
    /// The connection's configuration when it was negotiated.
    pub(crate) config: Arc<ConnectionConfig>,
    /// Keys, windows, path.
    pub(crate) ike: IkeSa,
    /// Who the peer is.
    pub(crate) remote_identity: Identity,
    /// Its CHILD SAs by our SPI. One, or two while one replaces the other.
    pub(crate) children: BTreeMap<Spi, ChildSa>,
    /// When its negotiation began.
    pub(crate) begun: Instant,
    /// When it was authenticated.
    pub(crate) since: Instant,
    /// The last sign of life.
    pub(crate) last_heard: Instant,
    /// Liveness, keepalive, expiry.
    pub(crate) timers: Timers,
    /// The CHILD SAs that it shall have.
    pub(crate) wants: Vec<Want>,
    /// The operator wants it up: what is missing of them is made.
    pub(crate) wanted: bool,
    /// IKE_AUTH made no CHILD SA, as both sides wanted (RFC 6023), or one that we ask for anew in another way.
    pub(crate) begun_childless: bool,
    /// CHILD SAs for which we do not offer AGGFRAG payloads any more: the peer demands of them what we do not do (RFC 9347 5.1).
    pub(crate) aggfrag_declined: Vec<ChildId>,
    /// The operator was told of it.
    pub(crate) announced: bool,
    /// Another IKE SA of the connection is kept, and the peer is expected to delete this one.
    pub(crate) losing: bool,
    /// Whether the CHILD SAs are here, not yet here, or here no more.
    pub(crate) succession: Succession,
    /// The IKE SAs that the peer has made in its place, undecided.
    pub(crate) heirs: Vec<Heir>,
    /// The SAs that the peer has begun to make, and whose additional key exchanges are not all done.
    pub(crate) pending: Vec<follow_up::Pending>,
    /// IKE SAs that an exchange on this one has made, for the connection to take.
    pub(crate) born: Vec<Born>,
    /// Both sides' addresses.
    pub(crate) mobility: Mobility,
    /// What the peer shows if it has lost this IKE SA.
    pub(crate) token: Option<Token>,
    /// The peer is to be told our token.
    pub(crate) token_due: bool,
    /// The peer is to be sent to this gateway, and was not told yet (RFC 5685).
    pub(crate) redirect_due: Option<GatewayIdentity>,
    /// The peer has just sent us to this gateway.
    pub(crate) redirected: Option<GatewayIdentity>,
    /// When the peer has shown its credentials.
    pub(crate) credentials: Credentials,
    /// The ticket by which it can be resumed (RFC 5723).
    pub(crate) ticket: Option<Ticket>,
    /// We began the first of the line, so it is for us to ask for tickets.
    pub(crate) asks_for_tickets: bool,
    /// A ticket is to be asked for.
    pub(crate) ticket_due: bool,
    /// The ticket that we gave the peer.
    pub(crate) issued: Option<Serial>,
    /// How long it may be used.
    pub(crate) limits: Limits,
    /// When the peer is to be authenticated anew.
    pub(crate) reauthentication: Option<Reauthentication>,
    /// The IKE SAs in whose place it was made from the beginning, and that carry traffic until its CHILD SAs all do.
    pub(crate) predecessors: Vec<IkeSpi>,
    /// It is to be replaced, not before this time.
    pub(crate) worn: Option<Instant>,
    /// What was refused lately.
    pub(crate) refusals: Refusals,
    /// How many SAs the peer may have made now.
    pub(crate) pace: Pace,
    in_flight: Option<Request>,
    _proof: AuthVerified,
}

/// Where an IKE SA is in a line of IKE SAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// It has the CHILD SAs.
    Current,
    /// The peer made it in the place of this one, and has not shown yet that it has it.
    Heir(IkeSpi),
    /// Another has them, and the peer is to delete this one.
    Retired,
}

/// An IKE SA made by the peer in the place of another.
#[derive(Debug)]
pub(crate) struct Heir {
    /// Our SPI of it.
    pub(crate) spi: IkeSpi,
    /// The lower of the two nonces (RFC 7296 2.8.2).
    pub(crate) lowest: Vec<u8>,
}

/// A request of ours on an established IKE SA.
#[derive(Debug)]
pub(crate) enum Request {
    /// Are you there?
    Liveness,
    /// Another CHILD SA.
    AddChild(Box<add_child::Sent>),
    /// May we have a ticket?
    Ticket,
    /// A new CHILD SA in the place of another.
    RekeyChild(Box<rekey_child::Sent>),
    /// A new IKE SA in the place of this one.
    RekeyIke(Box<rekey_ike::Sent>),
    /// An additional key exchange of either (RFC 9370).
    FollowUp(Box<follow_up::Sent>),
    /// Where we are, where the peer is.
    Mobike(Box<mobike::Sent>),
    /// The deletion of CHILD SAs, by our SPIs.
    DeleteChild(Vec<Spi>),
}

/// How an established or closing IKE SA ends.
pub(crate) enum Ending {
    /// The peer deleted it.
    PeerDeleted,
    /// An error ended it.
    Failed(Failure),
    /// Its last CHILD SA is gone: it is of no use any more.
    NoChild,
    /// A limit was reached, or the two sides are out of step: it is deleted, and the connection begins anew.
    Expired(Failure),
    /// The new one takes its place, and it is deleted.
    Replaced(Box<Established>),
    /// The peer has proven that it has lost it (RFC 6290).
    Lost,
    /// The peer does not answer.
    Unreachable {
        /// How often it was asked.
        tries: u32,
    },
    /// Our delete was answered.
    Closed,
}

impl Established {
    /// From the outcome of IKE_AUTH.
    pub(crate) fn new(cx: &mut Cx<'_>, authenticated: auth::Authenticated) -> (Self, Option<Failure>) {
        let now = cx.now;
        let limits = Limits::of_ike(now, authenticated.config.ike_lifetime, cx.random);
        let config = &authenticated.config;
        // RFC 5723 5: who resumes has shown its credentials some time ago.
        let since = now.saturating_duration_since(authenticated.credentials.shown);
        let configured = config.reauthentication.map(|time| time.saturating_sub(since));
        let lifetimes = [configured, authenticated.auth_lifetime];
        let fresh = Reauthentication::new(now, lifetimes, cx.random);
        let reauthentication = Reauthentication::sooner(authenticated.reauthentication, fresh);
        let (ticket, ticket_due) = match authenticated.ticket {
            Granted::Ticket(ticket) => (Some(ticket), false),
            Granted::Later => (None, true),
            Granted::Nothing => (None, false),
        };
        let begun_childless = matches!(authenticated.child, Ok(None));
        let (child, failure) = match authenticated.child {
            Ok(child) => (child, None),
            Err(failure) => (None, Some(failure)),
        };
        let asks_for_tickets = authenticated.ike.role == Role::Initiator;
        let mut established = Self {
            config: authenticated.config,
            ike: authenticated.ike,
            remote_identity: authenticated.remote_identity,
            children: child
                .into_iter()
                .map(|child| (child.inbound_spi(), child))
                .collect(),
            begun: authenticated.begun,
            since: now,
            last_heard: now,
            timers: Timers::default(),
            wants: Vec::new(),
            wanted: false,
            begun_childless,
            aggfrag_declined: Vec::new(),
            announced: false,
            losing: false,
            succession: Succession::Current,
            heirs: Vec::new(),
            pending: Vec::new(),
            born: Vec::new(),
            mobility: authenticated.mobility,
            token: authenticated.token,
            token_due: false,
            redirect_due: None,
            redirected: None,
            credentials: authenticated.credentials,
            ticket,
            asks_for_tickets,
            ticket_due,
            issued: authenticated.issued,
            limits,
            reauthentication,
            predecessors: Vec::new(),
            worn: None,
            refusals: Refusals::default(),
            pace: Pace::default(),
            in_flight: None,
            _proof: authenticated.proof,
        };
        established.ike.trust();
        if let Some(failure) = &failure
            && established.decline_aggfrag(ChildId(0), &failure.cause)
        {
            established.begun_childless = true;
        }
        established.wish(cx, (authenticated.single_pair, authenticated.additional_ts));
        liveness::arm(&mut established);
        established.arm_keepalive(now);
        (established, failure)
    }

    /// Notes it if the peer demands of AGGFRAG payloads what we do not do: they are not offered again. Whether they were.
    pub(crate) fn decline_aggfrag(&mut self, id: ChildId, cause: &Cause) -> bool {
        let demands = matches!(cause, Cause::AggfragDemand { .. });
        if demands && !self.aggfrag_declined.contains(&id) {
            self.aggfrag_declined.push(id);
        }
        demands
    }

    /// Sends a request. The caller has seen that none is in flight.
    pub(crate) fn request(&mut self, cx: &mut Cx<'_>, request: Request, message: &Informational) {
        self.ask(cx, ExchangeType::INFORMATIONAL, &message.emit(), request);
    }

    /// Looks at a message for our SPI. Changes nothing, but fragments are stored.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        read(&mut self.ike, cx, header, bytes)
    }

    /// Whatever is due.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        match self.ike.on_timeout(cx.now, cx.random) {
            Overdue::No => {}
            Overdue::Resend { message, sent } => {
                let (connection, path) = (self.config.id, self.path_of_try(sent));
                cx.retransmit(path, message);
                cx.event(Event::Progress {
                    connection,
                    step: Step::Retransmission { sent },
                    path,
                });
            }
            Overdue::GiveUp { tries } => return Some(Ending::Unreachable { tries }),
        }
        while let Some(reason) = self.timers.take_expired(cx.now) {
            match reason {
                Reason::Liveness => liveness::on_timeout(cx, self),
                Reason::Keepalive => {
                    cx.keepalive(self.ike.path);
                    self.arm_keepalive(cx.now);
                }
                Reason::Expire => return Some(Ending::NoChild),
                // What it was for is looked after below.
                Reason::Rekey | Reason::Retransmit | Reason::Retry | Reason::Fetch => {}
            }
        }
        self.tend(cx)
    }

    /// RFC 3948 4: only who has a NAT before it (or lets the peer believe so) keeps it open.
    pub(crate) fn arm_keepalive(&mut self, now: Instant) {
        let wanted = self.ike.nat.nat_local || self.config.encapsulation == EncapsulationPolicy::Force;
        if wanted && self.ike.encapsulation == Encapsulation::Udp {
            let wait = self.config.nat_keepalive.max(SHORTEST_KEEPALIVE);
            self.timers.set(Reason::Keepalive, after(now, wait));
        } else {
            self.timers.clear(Reason::Keepalive);
        }
    }

    /// Turns it into one that is being deleted. What is left of its CHILD SAs goes when the peer has answered.
    pub(crate) fn close(mut self, cx: &mut Cx<'_>, reason: CloseReason) -> Closing {
        let in_flight = self.forget_request(cx);
        ticket::revoke(cx, &mut self, reason);
        let mut closing = Closing::new(self.config, self.ike, Informational::delete_ike(), reason);
        closing.children = self.children;
        // RFC 7296 2.3: with a window of one the delete waits for the answer to what is in flight.
        if !in_flight {
            closing.say_farewell(cx);
        }
        closing
    }
}

fn read(ike: &mut IkeSa, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
    if [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_SESSION_RESUME].contains(&header.exchange) {
        return Err(Ignore::UnexpectedState);
    }
    ike.receive(cx.now, cx.random, header, bytes)
}

/// A NAT is not kept open more eagerly, whatever the configuration says.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
