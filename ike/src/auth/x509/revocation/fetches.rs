//! Questions that the network is being asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::crl::LONGEST_CRL;
use super::super::ocsp::{self, LONGEST_RESPONSE, NONCE_LENGTH};
use super::{Kind, Question};
use crate::api::{Fetch, FetchId, Random};
use crate::timers::after;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    next: u64,
    pending: BTreeMap<FetchId, Asked>,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// The nonce of the OCSP request.
    pub(super) nonce: Vec<u8>,
    deadline: Instant,
}

impl Fetches {
    /// The id of the question, and the request unless it is under way already. The question comes back if too many are.
    pub(super) fn start(
        &mut self,
        question: Question,
        now: Instant,
        random: &mut dyn Random,
    ) -> Result<(FetchId, Option<Fetch>), Question> {
        let same = |asked: &Asked| asked.question.is_same(&question);
        if let Some((id, _)) = self.pending.iter().find(|(_, asked)| same(asked)) {
            return Ok((*id, None));
        }
        if self.pending.len() >= MOST_PENDING {
            return Err(question);
        }
        let id = FetchId(self.next);
        self.next = self.next.wrapping_add(1);
        let mut nonce = vec![0; NONCE_LENGTH];
        random.fill(&mut nonce);
        let (post, limit) = match question.kind {
            Kind::Crl => (None, LONGEST_CRL),
            Kind::Ocsp => {
                let subject = &question.subject;
                let request = ocsp::request(&subject.facts, &subject.issuer, &nonce);
                (Some(request), LONGEST_RESPONSE)
            }
        };
        let fetch = Fetch {
            id,
            url: question.url.clone(),
            post,
            limit,
            timeout: PATIENCE,
        };
        let asked = Asked {
            question,
            nonce,
            // Whoever fetches tells us why it failed, if it can.
            deadline: after(now, PATIENCE + GRACE),
        };
        self.pending.insert(id, asked);
        Ok((id, Some(fetch)))
    }

    pub(super) fn finish(&mut self, id: FetchId) -> Option<Asked> {
        self.pending.remove(&id)
    }

    pub(super) fn take_overdue(&mut self, now: Instant) -> BTreeMap<FetchId, Asked> {
        let (overdue, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|(_, asked)| asked.deadline <= now);
        self.pending = pending;
        overdue
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|asked| asked.deadline).min()
    }
}

/// Questions under way at most.
const MOST_PENDING: usize = 32;
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// On top, until we stop to wait for whoever fetches.
const GRACE: Duration = Duration::from_secs(1);
