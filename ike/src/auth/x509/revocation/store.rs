//! What the network said, for as long as it holds; and what failed, so that it is not asked again at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};

use super::super::crl::{Crl, CrlError};
use super::super::error::Moment;
use super::super::ocsp;
use super::super::status::Status;
use super::fetches::Asked;
use super::{Kind, Question, Subject};
use crate::timers::after;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Store {
    crls: BTreeMap<String, Arc<Crl>>,
    responses: BTreeMap<Key, (Moment, Vec<u8>)>,
    failures: BTreeMap<FailureKey, (Instant, String)>,
}

/// A certificate: issuer and serial number, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; 32]);

type FailureKey = (Kind, String, Key);

impl Key {
    fn of(subject: &Subject) -> Self {
        let mut digest = Sha256::new();
        for part in [
            &subject.issuer.name,
            &subject.issuer.key.octets,
            &subject.facts.serial,
        ] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl Question {
    /// The same answer would do for both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_source = self.kind == other.kind && self.url == other.url;
        same_source && (self.kind == Kind::Crl || Key::of(&self.subject) == Key::of(&other.subject))
    }

    fn failure_key(&self) -> FailureKey {
        (self.kind, self.url.clone(), Key::of(&self.subject))
    }
}

impl Store {
    /// Takes an answer, if it is one. An answer that only says that nothing is known is kept as a failure.
    pub(super) fn learn(&mut self, asked: &Asked, octets: &[u8], date: UnixTime) -> Result<(), String> {
        let subject = &asked.question.subject;
        match asked.question.kind {
            Kind::Crl => {
                let crl = Crl::parse(octets).map_err(|error| error.to_string())?;
                let status = crl.status(&subject.facts, &subject.issuer, date);
                // One that is out of date can still revoke.
                if matches!(status, Ok(_) | Err(CrlError::OutOfDate(_))) {
                    self.put_crl(asked.question.url.clone(), crl);
                }
                status.map(drop).map_err(|error| error.to_string())
            }
            Kind::Ocsp => {
                let nonce = Some(asked.nonce.as_slice());
                let answer = ocsp::read(octets, &subject.facts, &subject.issuer, nonce, date)
                    .map_err(|error| error.to_string())?;
                match answer.status {
                    Status::Unknown => Err("the responder does not know the certificate".to_owned()),
                    Status::Good | Status::Revoked(_) => {
                        self.put_response(Key::of(subject), answer.until, octets.to_vec());
                        Ok(())
                    }
                }
            }
        }
    }

    pub(super) fn crl(&self, url: &str) -> Option<&Arc<Crl>> {
        self.crls.get(url)
    }

    pub(super) fn response(&self, subject: &Subject) -> Option<&[u8]> {
        self.responses
            .get(&Key::of(subject))
            .map(|(_, response)| response.as_slice())
    }

    pub(super) fn response_for(&self, subject: &Subject, date: UnixTime) -> Option<Vec<u8>> {
        self.responses
            .get(&Key::of(subject))
            .filter(|(until, _)| date.as_secs() <= until.0)
            .map(|(_, response)| response.clone())
    }

    pub(super) fn remember_failure(&mut self, question: &Question, why: String, now: Instant) {
        self.failures.retain(|_, (until, _)| *until > now);
        if self.failures.len() >= MOST_FAILURES {
            let oldest = self.failures.iter().min_by_key(|(_, (until, _))| *until);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.into_iter().for_each(|key| {
                self.failures.remove(&key);
            });
        }
        let until = after(now, BEFORE_ASKING_AGAIN);
        self.failures.insert(question.failure_key(), (until, why));
    }

    /// Why the question was answered in vain lately.
    pub(super) fn failure(&self, question: &Question, now: Instant) -> Option<&str> {
        self.failures
            .get(&question.failure_key())
            .filter(|(until, _)| *until > now)
            .map(|(_, why)| why.as_str())
    }

    /// All of them for a certificate, in words.
    pub(super) fn failures_of(&self, subject: &Subject, now: Instant) -> Vec<String> {
        let own = Key::of(subject);
        self.failures
            .iter()
            .filter(|((_, _, key), (until, _))| *key == own && *until > now)
            .map(|((kind, url, _), (_, why))| match kind {
                Kind::Ocsp => format!("OCSP at {url}: {why}"),
                Kind::Crl => format!("the CRL at {url}: {why}"),
            })
            .collect()
    }

    /// Room is made by what ends first.
    fn put_crl(&mut self, url: String, crl: Crl) {
        self.crls.remove(&url);
        let octets = |crls: &BTreeMap<String, Arc<Crl>>| crls.values().map(|crl| crl.size()).sum::<usize>();
        while self.crls.len() >= MOST_CRLS || octets(&self.crls) + crl.size() > MOST_OCTETS {
            let first = self.crls.iter().min_by_key(|(_, crl)| crl.next_update());
            let Some(first) = first.map(|(url, _)| url.clone()) else {
                break;
            };
            self.crls.remove(&first);
        }
        self.crls.insert(url, Arc::new(crl));
    }

    fn put_response(&mut self, key: Key, until: Moment, response: Vec<u8>) {
        self.responses.remove(&key);
        if self.responses.len() >= MOST_RESPONSES {
            let first = self.responses.iter().min_by_key(|(_, (until, _))| *until);
            let first = first.map(|(key, _)| *key);
            first.into_iter().for_each(|key| {
                self.responses.remove(&key);
            });
        }
        self.responses.insert(key, (until, response));
    }
}

/// CRLs kept.
const MOST_CRLS: usize = 32;
/// Octets of CRLs kept.
const MOST_OCTETS: usize = 16 * 1024 * 1024;
/// OCSP responses kept.
const MOST_RESPONSES: usize = 256;
/// Failures kept.
const MOST_FAILURES: usize = 256;
/// A source that failed is left alone this long.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(60);
