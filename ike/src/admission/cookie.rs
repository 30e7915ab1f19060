//! Stateless cookies (RFC 7296 2.6), and what RFC 8019 7.1.1.3 has them carry.
//!
//! ```text
//! cookie = version of the secret | difficulty | PRF | prf(secret, Ni | IPi | port | SPIi | difficulty | PRF)
//! ```
//!
//! Difficulty and PRF are those of the puzzle that was given along; zero if none was.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Applicant;
use crate::api::Random;
use crate::crypto::puzzle::Puzzle;
use crate::negotiate::transform::Prf;

/// Makes and recognises cookies.
#[derive(Default)]
pub(super) struct Cookies {
    current: Option<CookieSecret>,
    previous: Option<CookieSecret>,
}

/// What a cookie of ours says of the answer it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The puzzle that was given along.
    pub(super) puzzle: Option<Puzzle>,
}

struct CookieSecret {
    version: u8,
    octets: Zeroizing<[u8; 32]>,
    since: Instant,
}

impl Cookies {
    /// Changes the secret if it is old. The one before stays good for cookies that are under way.
    pub(super) fn rotate(&mut self, now: Instant, random: &mut dyn Random) {
        let age = |secret: &CookieSecret| now.saturating_duration_since(secret.since);
        if self
            .current
            .as_ref()
            .is_some_and(|secret| age(secret) < SECRET_LIFETIME)
        {
            return;
        }
        let version = self
            .current
            .as_ref()
            .map_or(0, |secret| secret.version.wrapping_add(1));
        let mut octets = Zeroizing::new([0; 32]);
        random.fill(octets.as_mut_slice());
        let young = |secret: &CookieSecret| age(secret) < SECRET_LIFETIME * 2;
        self.previous = self.current.take().filter(young);
        self.current = Some(CookieSecret {
            version,
            octets,
            since: now,
        });
    }

    /// A cookie for this initiator, and for the puzzle it is given.
    pub(super) fn make(&self, applicant: &Applicant<'_>, puzzle: Option<Puzzle>) -> Vec<u8> {
        self.current
            .as_ref()
            .map(|secret| secret.cookie(applicant, info(puzzle)))
            .unwrap_or_default()
    }

    /// What the initiator's cookie says, if it is one of ours.
    pub(super) fn read(&self, applicant: &Applicant<'_>) -> Option<Ticket> {
        let cookie = applicant.cookie?;
        let (&[version, difficulty, high, low], _) = cookie.split_first_chunk::<4>()?;
        let secret = [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .find(|secret| version == secret.version)?;
        let ours: bool = secret
            .cookie(applicant, [difficulty, high, low])
            .as_slice()
            .ct_eq(cookie)
            .into();
        let puzzle = Prf::from_wire(u16::from_be_bytes([high, low])).map(|prf| Puzzle { prf, difficulty });
        ours.then_some(Ticket { puzzle })
    }
}

impl CookieSecret {
    fn cookie(&self, applicant: &Applicant<'_>, info: [u8; 3]) -> Vec<u8> {
        let (v4, v6);
        let address: &[u8] = match applicant.from.ip() {
            IpAddr::V4(address) => {
                v4 = address.octets();
                &v4
            }
            IpAddr::V6(address) => {
                v6 = address.octets();
                &v6
            }
        };
        let (port, spi) = (applicant.from.port().to_be_bytes(), applicant.spi_i.to_bytes());
        let parts = [applicant.nonce, address, &port, &spi, &info];
        let digest = Prf::HmacSha2_256.compute(self.octets.as_slice(), &parts);
        let mut cookie = Vec::with_capacity(LEN);
        cookie.push(self.version);
        cookie.extend_from_slice(&info);
        cookie.extend_from_slice(&digest);
        cookie
    }
}

fn info(puzzle: Option<Puzzle>) -> [u8; 3] {
    let Some(puzzle) = puzzle else { return [0; 3] };
    let [high, low] = puzzle.prf.id().to_be_bytes();
    [puzzle.difficulty, high, low]
}

/// Octets of a cookie: at most 64 (RFC 7296 2.6).
const LEN: usize = 4 + 32;
/// How long cookies are made with one secret; each is good for once to twice as long.
pub(super) const SECRET_LIFETIME: Duration = Duration::from_secs(60);
