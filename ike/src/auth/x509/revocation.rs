//! Is every certificate of a verified path still good (RFC 5280 6.3, RFC 6960, RFC 4806)?
//!
//! ```text
//! evidence at hand (OCSP responses in band, cached ones, CRLs from files and cached ones)
//!   one says revoked            -> refused
//!   one says good               -> on to the next certificate
//!   none says anything          -> a question for the network, if there is a URL that did not fail just now
//!                                  else the policy decides
//! ```
//!
//! Only certificates whose path was verified to a trust anchor, and whose holder has shown that it has the key, get
//! here: a stranger can neither make us fetch anything nor fill the cache.

mod fetches;
mod judge;
mod store;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use rustls_pki_types::UnixTime;

use super::crl::Crl;
use super::error::Moment;
use super::facts::{Facts, Issuer};
use super::status::Revocation;
use super::validate::Link;
use super::{Anchor, CertificateDer, Leaf};
use crate::api::{FetchId, Output, Random};

use fetches::Fetches;
use judge::{Doubt, Judgement};
use store::Store;

/// How much it matters that a certificate was not revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nobody asks.
    Off,
    /// A revoked certificate is refused; one of which nothing can be learned is accepted, and the operator is told.
    #[default]
    IfAvailable,
    /// Only certificates that are known to be good are accepted.
    Require,
}

/// What a connection is told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The policy.
    pub policy: Policy,
    /// CRLs from files.
    pub crls: Vec<Arc<Crl>>,
}

/// A certificate of the path, and who issued it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// How the operator calls it.
    pub name: String,
    /// The certificate.
    pub facts: Facts,
    /// Its issuer.
    pub issuer: Issuer,
}

impl Subject {
    /// The certificates of a verified path. `None` if one does not parse, which validation would have noticed.
    pub(crate) fn of_path(path: &[Link]) -> Option<Vec<Arc<Self>>> {
        let facts: Option<Vec<Facts>> = path
            .iter()
            .map(|link| Facts::parse(&link.certificate).ok())
            .collect();
        let facts = facts?;
        // Of a trust anchor only name and key count (RFC 5280 6.1.1 (d)).
        let may_sign_crls = facts
            .iter()
            .skip(1)
            .map(|issuer| issuer.may_sign_crls)
            .chain([true]);
        path.iter()
            .zip(&facts)
            .zip(may_sign_crls)
            .map(|((link, facts), may_sign_crls)| {
                let issuer = Issuer::from_parts(&link.issuer, &link.issuer_spki, may_sign_crls).ok()?;
                Some(Arc::new(Self {
                    name: Leaf::from_der(&link.certificate).ok()?.subject().to_string(),
                    facts: facts.clone(),
                    issuer,
                }))
            })
            .collect()
    }
}

impl Subject {
    /// Our own certificate, and its issuer from the chain or from the authorities that we trust.
    pub(crate) fn own(chain: &[CertificateDer<'_>], anchors: &[Anchor]) -> Option<Arc<Self>> {
        let (own, others) = chain.split_first()?;
        let facts = Facts::parse(own).ok()?;
        let above = others
            .iter()
            .filter_map(|der| Some(Facts::parse(der).ok()?.as_issuer()));
        let trusted = anchors.iter().filter_map(|anchor| {
            let anchor = anchor.trusted();
            Issuer::from_parts(&anchor.subject, &anchor.subject_public_key_info, true).ok()
        });
        let issuer = above.chain(trusted).find(|issuer| issuer.name == facts.issuer)?;
        Some(Arc::new(Self {
            name: "this host".to_owned(),
            facts,
            issuer,
        }))
    }
}

/// A certificate is refused, or accepted with a doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// Its issuer has revoked it.
    Revoked {
        /// Whose certificate.
        subject: String,
        /// Serial, date, reason.
        revocation: Revocation,
        /// Who says so.
        source: String,
    },
    /// There is a CRL, or an OCSP response, but it is out of date.
    OutOfDate {
        /// Whose certificate.
        subject: String,
        /// Serial number.
        serial: String,
        /// Which.
        source: String,
        /// Since when.
        since: Moment,
    },
    /// Nothing says whether it is still good.
    Unknown {
        /// Whose certificate.
        subject: String,
        /// Serial number.
        serial: String,
        /// What was tried, and what came of it.
        tried: Vec<String>,
    },
}

/// What became of a path.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is accepted, if need be with doubts.
    Accepted(Vec<RevocationError>),
    /// It is not.
    Refused(RevocationError),
    /// The network may know more.
    Wanted(Vec<Question>),
}

/// Something to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    url: String,
    kind: Kind,
    subject: Arc<Subject>,
}

/// What is to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ocsp,
    Crl,
}

/// What the judgement may draw on.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// The connection's rules.
    pub(crate) rules: &'a Rules,
    /// OCSP responses that the peer sent (RFC 4806).
    pub(crate) in_band: &'a [Vec<u8>],
    /// The network may be asked.
    pub(crate) may_ask: bool,
}

/// What was learned of certificates, and what is being asked. Bounded.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    store: Store,
    fetches: Fetches,
}

impl Checker {
    /// Judges the certificates of a verified path.
    pub(crate) fn check(
        &self,
        path: &[Arc<Subject>],
        evidence: Evidence<'_>,
        now: Instant,
        date: UnixTime,
    ) -> Verdict {
        let mut doubts = Vec::new();
        let mut questions = Vec::new();
        for subject in path {
            match self.judge(subject, evidence, date) {
                Judgement::Good => {}
                Judgement::Revoked(error) => return Verdict::Refused(*error),
                Judgement::Open(open) => {
                    let question = self.question(subject, now).filter(|_| evidence.may_ask);
                    match question {
                        Some(question) => questions.push(question),
                        None => doubts.push(self.doubtful(subject, open, now)),
                    }
                }
            }
        }
        match (doubts.pop(), evidence.rules.policy) {
            // Whatever the network says of the others, this one is not known to be good.
            (Some(doubt), Policy::Require) => Verdict::Refused(doubt),
            (doubt, Policy::Off | Policy::IfAvailable | Policy::Require) => {
                doubts.extend(doubt);
                // An authority without any CRL or responder is not worth a word each time.
                doubts.retain(|doubt| doubt.is_worth_a_word());
                if questions.is_empty() {
                    Verdict::Accepted(doubts)
                } else {
                    Verdict::Wanted(questions)
                }
            }
        }
    }

    /// Asks the network; the ids of what is under way then. A question that is being asked already is not asked twice.
    pub(crate) fn ask(
        &mut self,
        questions: Vec<Question>,
        now: Instant,
        random: &mut dyn Random,
        mut output: impl FnMut(Output),
    ) -> BTreeSet<FetchId> {
        let mut ids = BTreeSet::new();
        for question in questions {
            match self.fetches.start(question, now, random) {
                Ok((id, fetch)) => {
                    ids.insert(id);
                    fetch.into_iter().for_each(|fetch| output(Output::Fetch(fetch)));
                }
                Err(question) => {
                    let why = "too many questions are under way".to_owned();
                    self.store.remember_failure(&question, why, now);
                }
            }
        }
        ids
    }

    /// Asks the responder about a certificate of ours, unless it was asked in vain lately.
    pub(crate) fn ask_about_own(
        &mut self,
        subject: &Arc<Subject>,
        now: Instant,
        random: &mut dyn Random,
        output: impl FnMut(Output),
    ) {
        let question = self.question(subject, now);
        let ocsp = question.filter(|question| question.kind == Kind::Ocsp);
        self.ask(ocsp.into_iter().collect(), now, random, output);
    }

    /// An answer of the network, or why there is none. `false` if nobody asked.
    pub(crate) fn fetched(
        &mut self,
        id: FetchId,
        result: Result<&[u8], &str>,
        now: Instant,
        date: UnixTime,
    ) -> bool {
        let Some(asked) = self.fetches.finish(id) else {
            return false;
        };
        let learned = match result {
            Ok(octets) => self.store.learn(&asked, octets, date),
            Err(why) => Err(why.to_owned()),
        };
        if let Err(why) = learned {
            self.store.remember_failure(&asked.question, why, now);
        }
        true
    }

    /// There is an answer that cannot be judged. `false` if nobody asked.
    pub(crate) fn fetched_in_vain(&mut self, id: FetchId, why: &str, now: Instant) -> bool {
        let Some(asked) = self.fetches.finish(id) else {
            return false;
        };
        self.store.remember_failure(&asked.question, why.to_owned(), now);
        true
    }

    /// Gives up questions that nobody answered; the ids of those.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<FetchId> {
        let overdue = self.fetches.take_overdue(now);
        for asked in overdue.values() {
            let why = "no answer in time".to_owned();
            self.store.remember_failure(&asked.question, why, now);
        }
        overdue.into_keys().collect()
    }

    /// When the next question is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.fetches.next_deadline()
    }

    /// A cached OCSP response for a certificate, as it was received (RFC 4806 4.2).
    pub(crate) fn response_for(&self, subject: &Subject, date: UnixTime) -> Option<Vec<u8>> {
        self.store.response_for(subject, date)
    }

    /// The next source for this certificate that did not fail lately: OCSP first, it is fresher and smaller.
    fn question(&self, subject: &Arc<Subject>, now: Instant) -> Option<Question> {
        let ocsp = subject.facts.ocsp_urls().map(|url| (Kind::Ocsp, url));
        let crl = subject.facts.crl_urls().map(|url| (Kind::Crl, url));
        ocsp.chain(crl)
            .map(|(kind, url)| Question {
                url: url.to_owned(),
                kind,
                subject: Arc::clone(subject),
            })
            .find(|question| self.store.failure(question, now).is_none())
    }

    fn doubtful(&self, subject: &Arc<Subject>, open: Vec<Doubt>, now: Instant) -> RevocationError {
        let (name, serial) = (subject.name.clone(), subject.facts.serial_number());
        let out_of_date = open
            .iter()
            .find_map(|doubt| Some((doubt.source.clone(), doubt.out_of_date?)));
        let failures: Vec<String> = self.store.failures_of(subject, now);
        match out_of_date {
            Some((source, since)) if failures.is_empty() => RevocationError::OutOfDate {
                subject: name,
                serial,
                source,
                since,
            },
            Some(_) | None => RevocationError::Unknown {
                subject: name,
                serial,
                tried: open.iter().map(ToString::to_string).chain(failures).collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
