//! Quick Crash Detection (RFC 6290): who has lost its IKE SAs proves it, and the peer need not wait for silence.
//!
//! ```text
//! IKE_AUTH, or INFORMATIONAL after a rekeying:   N(QCD_TOKEN)  -->   <--  N(QCD_TOKEN)
//! (one side crashes and comes back; the other one sends anything)
//!                        HDR, SK {...}  -->   <--  HDR, N(INVALID_IKE_SPI), N(QCD_TOKEN), in the clear
//! ```
//!
//! The token of an IKE SA follows from its SPIs and a secret that outlives the process; it is shown in the clear only
//! when the IKE SA is not there any more, and then it is of no use to anybody else.

use std::fmt;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Cx;
use crate::config::Secret;
use crate::message::{Informational, build_plain};
use crate::negotiate::transform::Prf;
use crate::sa::ike_sa::IkeSa;
use crate::state::{Established, Request};
use crate::wire::payload::{Notify, NotifyType, ProtocolId, VendorId};
use crate::wire::{Chain, ExchangeType, Flags, Header, PayloadType, Payloads};

/// A token of the peer's. Never printed.
#[derive(Clone)]
pub(crate) struct Token(Zeroizing<Vec<u8>>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Makes the tokens of our IKE SAs, if there is a secret that outlives a crash.
#[derive(Debug, Default)]
pub(crate) struct TokenMaker {
    secret: Option<Secret>,
    shown: u32,
    since: Option<Instant>,
}

impl TokenMaker {
    /// Without a secret no tokens are made.
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        Self {
            secret,
            shown: 0,
            since: None,
        }
    }

    /// The notify for an IKE SA, in a protected message.
    pub(crate) fn notify(&self, ike: &IkeSa) -> Option<Notify> {
        self.token(ike.spi_i.0, ike.spi_r.0)
    }

    /// RFC 6290 5.1, with HMAC in the place of the hash.
    fn token(&self, spi_i: u64, spi_r: u64) -> Option<Notify> {
        let secret = self.secret.as_ref()?;
        let spis = [spi_i.to_be_bytes(), spi_r.to_be_bytes()].concat();
        let mac = Prf::HmacSha2_256.compute(secret.expose(), &[LABEL, &spis]);
        Some(Notify {
            protocol: ProtocolId::IKE,
            spi: Vec::new(),
            kind: NotifyType::QUICK_CRASH_DETECTION,
            data: mac.iter().copied().take(TOKEN_LEN).collect(),
        })
    }

    /// The answer to a protected request for an IKE SA that is not here (RFC 6290 4.5, RFC 7296 2.21.4). It is not longer
    /// than the request, and there are only so many of them in a second: requests cost nothing to forge.
    pub(crate) fn answer(&mut self, now: Instant, header: &Header, bytes: &[u8]) -> Option<Vec<u8>> {
        let known = !header.initiator_spi.is_zero() && !header.responder_spi.is_zero();
        let begins = [
            ExchangeType::IKE_SA_INIT,
            ExchangeType::IKE_SESSION_RESUME,
            ExchangeType::IKE_INTERMEDIATE,
            ExchangeType::IKE_AUTH,
        ];
        let sealed = Header::parse(bytes)
            .is_ok_and(|(_, first)| first == PayloadType::SK || first == PayloadType::SKF);
        if header.is_response() || !known || begins.contains(&header.exchange) || !sealed {
            return None;
        }
        let token = self.token(header.initiator_spi.0, header.responder_spi.0)?;
        let mut payloads = Payloads::new();
        payloads.push(PayloadType::NOTIFY, &Notify::new(NotifyType::INVALID_IKE_SPI));
        payloads.push(PayloadType::NOTIFY, &token);
        let answer = Header {
            flags: Flags {
                initiator: !header.flags.initiator,
                version: false,
                response: true,
            },
            ..*header
        };
        let answer = build_plain(&answer, &payloads);
        (answer.len() <= bytes.len() && self.may_show(now)).then_some(answer)
    }

    fn may_show(&mut self, now: Instant) -> bool {
        let over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(over) {
            (self.since, self.shown) = (Some(now), 0);
        }
        self.shown = self.shown.saturating_add(1);
        self.shown <= SHOWN_PER_SECOND
    }
}

/// The peer's token, in a protected message. The last one counts.
pub(crate) fn learn(notifies: &[Notify]) -> Option<Token> {
    let mut tokens = notifies.iter().filter(|notify| {
        notify.kind == NotifyType::QUICK_CRASH_DETECTION && (16..=128).contains(&notify.data.len())
    });
    let last = tokens.next_back()?;
    Some(Token(Zeroizing::new(last.data.clone())))
}

impl Established {
    /// Is this the peer's proof that it has lost this IKE SA? Anyone can send the message; only the peer the token.
    pub(crate) fn is_lost_by_peer(&self, header: &Header, bytes: &[u8]) -> bool {
        let ours = header.initiator_spi == self.ike.spi_i && header.responder_spi == self.ike.spi_r;
        let (Some(Token(token)), true) = (&self.token, ours) else {
            return false;
        };
        let Ok((_, chain)) = Chain::parse_message(bytes) else {
            return false;
        };
        let notifies = chain
            .iter()
            .filter(|payload| payload.kind == PayloadType::NOTIFY)
            .take(MOST_NOTIFIES)
            .filter_map(|payload| payload.read::<Notify>().ok());
        let (mut lost, mut proven) = (false, false);
        for notify in notifies {
            match notify.kind {
                NotifyType::INVALID_IKE_SPI | NotifyType::INVALID_SPI => lost = true,
                NotifyType::QUICK_CRASH_DETECTION => {
                    proven |= bool::from(notify.data.as_slice().ct_eq(token.as_slice()));
                }
                NotifyType(_) => {}
            }
        }
        lost && proven
    }

    /// An empty request that a peer which makes tokens may answer with one: it is a little longer than the answer.
    pub(crate) fn ask_for_life(&mut self, cx: &mut Cx<'_>) {
        let mut payloads: Payloads = Informational::liveness().emit();
        if self.token.is_some() {
            payloads.push(
                PayloadType::VENDOR_ID,
                &VendorId(super::extensions::VENDOR_ID.to_vec()),
            );
        }
        self.ask(cx, ExchangeType::INFORMATIONAL, &payloads, Request::Liveness);
    }
}

/// RFC 6290 4.3: a new IKE SA has a new token. Whether it was told.
pub(crate) fn tell_token(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    if !std::mem::take(&mut established.token_due) {
        return false;
    }
    let Some(notify) = cx.tokens.notify(&established.ike) else {
        return false;
    };
    let message = Informational {
        notifies: vec![notify],
        ..Informational::default()
    };
    established.request(cx, Request::Liveness, &message);
    true
}

/// Keeps this use of the secret apart from any other.
const LABEL: &[u8] = b"QCD_TOKEN";
/// RFC 6290 5: 16 to 128 octets.
const TOKEN_LEN: usize = 16;
/// For all peers together.
const SHOWN_PER_SECOND: u32 = 20;
/// INVALID_IKE_SPI and four tokens (RFC 6290 4.5), and some patience.
const MOST_NOTIFIES: usize = 8;
