//! What the evidence at hand says of one certificate.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::super::crl::{Crl, CrlError};
use super::super::error::Moment;
use super::super::facts::Facts;
use super::super::ocsp::{self, OcspError};
use super::super::status::Status;
use super::{Checker, Evidence, RevocationError, Subject};

/// What the evidence says.
pub(super) enum Judgement {
    Good,
    Revoked(Box<RevocationError>),
    /// Nothing, and why each piece of it says nothing.
    Open(Vec<Doubt>),
}

/// A piece of evidence that says nothing.
pub(super) struct Doubt {
    /// Which.
    pub(super) source: String,
    why: String,
    /// It is not good any more since then.
    pub(super) out_of_date: Option<Moment>,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.why)
    }
}

/// What one piece says, or why it says nothing and since when.
type Said = Result<Status, (String, Option<Moment>)>;

impl Checker {
    /// Somebody who says revoked is believed whatever others say.
    pub(super) fn judge(&self, subject: &Subject, evidence: Evidence<'_>, date: UnixTime) -> Judgement {
        let mut good = false;
        let mut doubts = Vec::new();
        for (source, said) in self.statements(subject, evidence, date) {
            match said {
                Ok(Status::Good) => good = true,
                Ok(Status::Revoked(revocation)) => {
                    return Judgement::Revoked(Box::new(RevocationError::Revoked {
                        subject: subject.name.clone(),
                        revocation,
                        source,
                    }));
                }
                Ok(Status::Unknown) => doubts.push(Doubt {
                    source,
                    why: "the responder does not know the certificate".to_owned(),
                    out_of_date: None,
                }),
                Err((why, out_of_date)) => doubts.push(Doubt {
                    source,
                    why,
                    out_of_date,
                }),
            }
        }
        if good {
            Judgement::Good
        } else {
            Judgement::Open(doubts)
        }
    }

    fn statements(&self, subject: &Subject, evidence: Evidence<'_>, date: UnixTime) -> Vec<(String, Said)> {
        let mut statements = Vec::new();
        let read = |response: &[u8]| ocsp::read(response, &subject.facts, &subject.issuer, None, date);
        let believe = |read: Result<ocsp::Answer, OcspError>| match read {
            Ok(ocsp::Answer {
                responder: Some(responder),
                ..
            }) if self.is_revoked(&responder, subject, evidence, date) => {
                Err(("its responder's own certificate is revoked".to_owned(), None))
            }
            read => of_ocsp(read),
        };
        for response in evidence.in_band {
            match read(response) {
                // It is of another certificate of the chain.
                Err(OcspError::OtherCertificate | OcspError::Responder) => {}
                read => statements.push(("the OCSP response of the peer".to_owned(), believe(read))),
            }
        }
        if let Some(response) = self.store.response(subject) {
            let source = "the OCSP response fetched before".to_owned();
            statements.push((source, believe(read(response))));
        }
        let mut hear = |source: String, crl: &Arc<Crl>| {
            match crl.status(&subject.facts, &subject.issuer, date) {
                // One for other certificates.
                Err(CrlError::OtherIssuer | CrlError::OtherScope) => {}
                status => statements.push((source, of_crl(status))),
            }
        };
        for crl in &evidence.rules.crls {
            hear("the CRL file".to_owned(), crl);
        }
        for url in subject.facts.crl_urls() {
            self.store
                .crl(url)
                .into_iter()
                .for_each(|crl| hear(format!("the CRL at {url}"), crl));
        }
        statements
    }
}

impl Checker {
    /// RFC 6960 4.2.2.2.1: a responder's certificate is looked up in the CRLs at hand; the network is not asked about it.
    fn is_revoked(
        &self,
        responder: &Facts,
        subject: &Subject,
        evidence: Evidence<'_>,
        date: UnixTime,
    ) -> bool {
        let urls = responder.crl_urls().chain(subject.facts.crl_urls());
        let fetched = urls.filter_map(|url| self.store.crl(url));
        let mut crls = evidence.rules.crls.iter().chain(fetched);
        crls.any(|crl| {
            let status = crl.status(responder, &subject.issuer, date);
            matches!(status, Ok(Status::Revoked(_)))
        })
    }
}

fn of_ocsp(read: Result<ocsp::Answer, OcspError>) -> Said {
    read.map(|answer| answer.status).map_err(|error| {
        let since = if let OcspError::OutOfDate(since) = &error {
            Some(*since)
        } else {
            None
        };
        (error.to_string(), since)
    })
}

fn of_crl(status: Result<Status, CrlError>) -> Said {
    status.map_err(|error| {
        let since = if let CrlError::OutOfDate(since) = &error {
            Some(*since)
        } else {
            None
        };
        (error.to_string(), since)
    })
}
