//! The response to the initiator's IKE_AUTH request: the responder's proof, its certificates, and the first CHILD SA
//! (RFC 7296 2.15, 2.21.2).

use super::{Authenticated, Sent, auth_lifetime, failure, first_child_sa, identity, mobility};
use crate::api::{Path, Spi};
use crate::auth::identity::Identity;
use crate::auth::signed::SignedOctets;
use crate::config::ChildId;
use crate::error::{Cause, Failure, Negotiated, Side};
use crate::exchange::init::joined;
use crate::exchange::narrowed::without_key_exchange;
use crate::exchange::proof::{self, Believed, Shown};
use crate::exchange::status::{self, Deferred, Halt, Proven};
use crate::exchange::{Cx, crash, ppk, redirect, resume, ticket};
use crate::message::{AuthAccepted, AuthResponse, ChildAnswer, ChildOffer, Informational};
use crate::negotiate::aggfrag;
use crate::negotiate::select::{ChildExchange, accept_esp};
use crate::negotiate::selector::{check_answer, from_payload};
use crate::sa::child::{ChildAgreement, ChildSa};
use crate::sa::ike_sa::IkeSa;
use crate::wire::Opened;
use crate::wire::payload::{Body, Notify, NotifyType};

/// What the answer led to.
pub(crate) enum Finished {
    /// The peer has proven who it is.
    Authenticated(Box<Authenticated>),
    /// The peer refused: nothing stands.
    Refused(Failure),
    /// The answer is kept until it is known whether the peer's certificate is still good.
    Deferred(Box<Sent>),
    /// We refuse, and the peer, for whom the SA stands, is to be told (RFC 7296 2.21.2).
    Refuse(Failure, Box<IkeSa>, Informational),
}

impl Sent {
    /// Judges the answer.
    pub(crate) fn finish(mut self, cx: &mut Cx<'_>, path: Path, opened: Opened) -> Finished {
        self.ike.requests.answered();
        let accepted = match opened.chain().and_then(|chain| AuthResponse::parse(&chain)) {
            Ok(AuthResponse::Accepted(accepted)) => accepted,
            Ok(AuthResponse::Refused(notify)) => {
                let failure = failure(self.refused(&notify));
                self.release_child(cx);
                return Finished::Refused(failure);
            }
            Err(malformed) => {
                return self.refuse(cx, Cause::from_malformed(&malformed));
            }
        };
        let (remote_identity, believed) = match self.verify(cx, &accepted) {
            Ok(believed) => believed,
            Err(cause) => return self.refuse(cx, cause),
        };
        let asking_since = self.deferred.as_ref().map(|deferred| deferred.since);
        let proven = Proven {
            path: &believed.path,
            certificates: &accepted.certificates,
            asking_since,
            may_wait: true,
        };
        match status::check(cx, &self.config, proven) {
            Ok(()) => {}
            Err(Halt::Refused(cause)) => return self.refuse(cx, cause),
            Err(Halt::Deferred(waits)) => {
                self.deferred = Some(Deferred {
                    path,
                    opened,
                    waits,
                    since: asking_since.unwrap_or(cx.now),
                });
                return Finished::Deferred(Box::new(self));
            }
        }
        self.ike.remote_means = Some(believed.means);
        if let Some(keys) = self.ppk.take().filter(|_| ppk::is_used(&accepted.other)) {
            self.ike.mix(keys);
        }
        let child = match (self.child_spi, &accepted.child) {
            // RFC 6023 3: the answer is as the request.
            (None, _) => Ok(None),
            (Some(_), ChildAnswer::Absent) => {
                return self.refuse(
                    cx,
                    Cause::InvalidSyntax {
                        refused_by: Side::Us,
                        detail: "the CHILD SA that was asked for is neither made nor refused".to_owned(),
                    },
                );
            }
            (Some(spi), ChildAnswer::Accepted(answer)) => self.first_child(cx, spi, answer).map(Some),
            (Some(_), ChildAnswer::Refused(notify)) => Err(self.refused(notify)),
        };
        let made_by_peer = match &accepted.child {
            ChildAnswer::Accepted(_) => self.child_spi,
            ChildAnswer::Refused(_) | ChildAnswer::Absent => None,
        };
        let unusable = made_by_peer.filter(|_| child.is_err());
        let child = child.map_err(|cause| {
            self.release_child(cx);
            failure(cause)
        });
        let single_pair = match &accepted.child {
            ChildAnswer::Refused(notify) => notify.kind == NotifyType::SINGLE_PAIR_REQUIRED,
            ChildAnswer::Accepted(_) | ChildAnswer::Absent => false,
        };
        let says = |kind| accepted.other.iter().any(|notify| notify.kind == kind);
        let initial_contact = says(NotifyType::INITIAL_CONTACT);
        let additional_ts = says(NotifyType::ADDITIONAL_TS_POSSIBLE);
        self.ike.features.mobike = self.config.is_mobile_on(self.ike.path) && accepted.mobike_supported;
        let mobility = mobility(&self.ike, &self.config, &accepted.other);
        let (credentials, reauthentication) = match self.past {
            Some(past) => (past.credentials, past.reauthentication),
            None => (ticket::credentials(cx.now, &believed.path), None),
        };
        Finished::Authenticated(Box::new(Authenticated {
            token: crash::learn(&accepted.other),
            redirect: redirect::instead(&self.ike, &accepted.child),
            ticket: ticket::learn(cx, &self.config, &credentials, &accepted.other),
            mobility,
            config: self.config,
            ike: self.ike,
            remote_identity,
            child,
            unusable,
            single_pair,
            additional_ts,
            auth_lifetime: auth_lifetime(&accepted.other),
            initial_contact,
            begun: self.begun,
            proof: believed.proof,
            issued: None,
            credentials,
            reauthentication,
        }))
    }

    fn verify(&self, cx: &Cx<'_>, accepted: &AuthAccepted) -> Result<(Identity, Believed), Cause> {
        let got = identity(&accepted.idr)?;
        if !self.config.remote_identity.matches(&got) {
            return Err(Cause::IdentityMismatch {
                expected: vec![self.config.remote_identity.clone()],
                got,
            });
        }
        if let Some(past) = &self.past {
            let signed = SignedOctets {
                message: &self.response,
                nonce: &self.ike.nonces.initiator,
                sk_p: &self.ike.keys.sk_pr,
                rest_of_id: &accepted.idr.to_bytes(),
                int_auth: &self.int_auth,
            };
            let believed = resume::verify(&self.ike, &past.remote, signed, (&got, &accepted.auth))?;
            return Ok((got, believed));
        }
        let used = self.ppk.as_ref().filter(|_| ppk::is_used(&accepted.other));
        if used.is_none() && self.config.ppk.as_ref().is_some_and(|ppk| ppk.required) {
            return Err(Cause::NoPpk);
        }
        let signed = SignedOctets {
            message: &self.response,
            nonce: &self.ike.nonces.initiator,
            sk_p: used.map_or(&self.ike.keys.sk_pr, |keys| &keys.sk_pr),
            rest_of_id: &accepted.idr.to_bytes(),
            int_auth: &self.int_auth,
        };
        let shown = Shown {
            identity: &got,
            auth: &accepted.auth,
            certificates: &accepted.certificates,
        };
        let believed = proof::verify(&self.ike, &self.config, signed, shown, cx.wall_clock)?;
        Ok((got, believed))
    }

    fn first_child(&self, cx: &mut Cx<'_>, inbound_spi: Spi, answer: &ChildOffer) -> Result<ChildSa, Cause> {
        let proposals = without_key_exchange(&self.config.esp_proposals);
        let chosen = accept_esp(&proposals, &answer.sa, ChildExchange::IkeAuth).map_err(|bad| {
            Cause::InvalidSyntax {
                refused_by: Side::Us,
                detail: bad.to_string(),
            }
        })?;
        let (local, remote) = (from_payload(&answer.tsi), from_payload(&answer.tsr));
        let within = check_answer(&self.config.local_selectors, &local)
            .and_then(|()| check_answer(&self.config.remote_selectors, &remote));
        if within.is_err() {
            return Err(Cause::SelectorMismatch {
                refused_by: Side::Us,
                ours: (
                    self.config.local_selectors.clone(),
                    self.config.remote_selectors.clone(),
                ),
                theirs: Some((local, remote)),
            });
        }
        let aggfrag = aggfrag::accept(self.config.child_aggfrag, answer.aggfrag.as_ref());
        let aggfrag = aggfrag.map_err(aggfrag::BadAnswer::cause)?;
        let agreement = ChildAgreement {
            id: ChildId(0),
            resource: None,
            inbound_spi,
            outbound_spi: chosen.spi,
            suite: chosen.suite,
            local,
            remote,
            encapsulation: self.ike.encapsulation,
            xvpn: self.ike.features.xvpn,
            apart: false,
            any_port: false,
            aggfrag,
        };
        first_child_sa(cx, &self.ike, &self.config, agreement)
    }

    /// What the peer's refusal means.
    fn refused(&self, notify: &Notify) -> Cause {
        match notify.kind {
            NotifyType::AUTHENTICATION_FAILED if self.config.local_auth.signs() => Cause::CredentialRefused {
                identity: self.config.local_identity.clone(),
            },
            NotifyType::AUTHENTICATION_FAILED => Cause::AuthenticationFailed {
                refused_by: Side::Peer,
                identity: self.config.local_identity.clone(),
            },
            NotifyType::NO_PROPOSAL_CHOSEN => Cause::NoProposal {
                of: Negotiated::Child,
                refused_by: Side::Peer,
                ours: joined(&without_key_exchange(&self.config.esp_proposals)),
                theirs: None,
                difference: None,
            },
            NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => Cause::SelectorMismatch {
                refused_by: Side::Peer,
                ours: (
                    self.config.local_selectors.clone(),
                    self.config.remote_selectors.clone(),
                ),
                theirs: None,
            },
            NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => Cause::UnsupportedCritical {
                refused_by: Side::Peer,
                payload: notify.data.first().copied().unwrap_or_default(),
            },
            other => Cause::from_notify(other),
        }
    }

    fn refuse(self, cx: &mut Cx<'_>, cause: Cause) -> Finished {
        self.release_child(cx);
        // RFC 7296 2.21.2: an INFORMATIONAL exchange with the error and nothing else.
        let farewell = match cause.notify() {
            Some(kind @ NotifyType::AUTHENTICATION_FAILED) => Informational {
                notifies: vec![Notify::new(kind)],
                ..Informational::default()
            },
            Some(_) | None => Informational::delete_ike(),
        };
        Finished::Refuse(failure(cause), Box::new(self.ike), farewell)
    }
}
