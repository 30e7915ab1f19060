//! IKE_SESSION_RESUME requests (RFC 5723 4.3.2): of strangers, too, and let in like those of IKE_SA_INIT.

use std::time::Instant;

use super::Endpoint;
use super::first::{applicant, first_message, likely};
use crate::admission::{Applicant, Verdict};
use crate::api::Path;
use crate::error::Ignore;
use crate::exchange::auth_answer::Awaited;
use crate::exchange::init_answer::response_header;
use crate::exchange::resume_answer;
use crate::message::{ResumeRequest, ResumeResponse, build_plain};
use crate::timers::after;
use crate::wire::{Chain, Header};

impl Endpoint {
    /// A request that was not answered yet. It costs one decryption at most before its sender has shown its address, and no
    /// key exchange ever.
    pub(super) fn on_resume_request(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), Ignore> {
        let (_, chain) = Chain::parse_message(bytes).map_err(|_| Ignore::Malformed)?;
        let request = ResumeRequest::parse(&chain).map_err(|_| Ignore::Malformed)?;
        let candidates = self.candidates(path);
        let config = self.config.clone();
        let (mut cx, _, admission) = self.split(now);
        let stateless = |response: &ResumeResponse| build_plain(&response_header(header), &response.emit());
        let Some(found) = resume_answer::find(&cx, &request.ticket, &candidates) else {
            // Also where tickets are not wanted any more: the peer need not wait to find out.
            cx.transmit(path, stateless(&ResumeResponse::Refused));
            return Ok(());
        };
        let applicant = Applicant {
            nonce: &request.nonce.0,
            from: applicant(path),
            spi_i: header.initiator_spi,
            cookie: request.cookie.as_deref(),
            solution: None,
            prf: None,
            // RFC 8019 4.4: a ticket of ours is worth more than the solution of a puzzle, and less than a cookie.
            expected: true,
            proven: path.is_tcp(),
        };
        match admission.judge(&config, now, cx.random, applicant) {
            Verdict::Full | Verdict::PuzzleWanted(..) => return Err(Ignore::HalfOpenFull),
            Verdict::CookieWanted(cookie) => {
                cx.transmit(path, stateless(&ResumeResponse::Cookie(cookie)));
                return Ok(());
            }
            Verdict::Admitted => {}
        }
        // Who has seen a ticket on its way can show it too, but not take up all the room with it.
        let same = admission
            .half_open()
            .filter_map(|awaited| awaited.presented.as_ref());
        if same.filter(|presented| found.is_of(presented)).count() >= MOST_OF_A_TICKET {
            return Err(Ignore::HalfOpenFull);
        }
        let first = first_message(path, header.initiator_spi, bytes);
        let Some((half, presented)) = resume_answer::answer(&mut cx, header, &request, path, &found, first)
        else {
            cx.transmit(path, stateless(&ResumeResponse::Refused));
            return Ok(());
        };
        cx.transmit(path, half.response.clone());
        let expires = after(now, config.half_open_timeout);
        let mut awaited = Awaited::resuming(half, bytes, presented, now, expires);
        awaited.likely = likely(&candidates);
        admission.put(awaited);
        Ok(())
    }
}

/// Half-open IKE SAs by one ticket.
const MOST_OF_A_TICKET: usize = 4;
