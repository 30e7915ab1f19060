//! Who may take up room here before it has proven anything: half-open SAs and cookies (RFC 7296 2.6).
//!
//! A half-open SA costs a key exchange and memory, and anyone can ask for one from any address. From a threshold on
//! the initiator must first show that it receives what is sent to its address: it must repeat its request with a
//! cookie that only we can make and need not remember.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::api::{Random, Reason};
use crate::config::EndpointConfig;
use crate::exchange::auth_answer::Awaited;
use crate::negotiate::transform::Prf;
use crate::wire::IkeSpi;

/// The half-open SAs, and what new ones must show.
#[derive(Default)]
pub(crate) struct Admission {
    half_open: BTreeMap<IkeSpi, Awaited>,
    /// Key exchanges that were paid for and came to nothing: they count like half-open SAs, or nothing would ever slow
    /// down who asks for them.
    wasted: VecDeque<(Instant, IpAddr)>,
    cookies: Cookies,
    reported: Option<Instant>,
}

/// Whether an initiator may have a half-open SA.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Admitted,
    /// Only with this cookie.
    CookieWanted(Vec<u8>),
    /// There is no room at all.
    Full,
}

/// What an initiator shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    /// Ni.
    pub(crate) nonce: &'a [u8],
    /// IPi.
    pub(crate) from: SocketAddr,
    /// SPIi.
    pub(crate) spi_i: IkeSpi,
    /// Its cookie, if it has one.
    pub(crate) cookie: Option<&'a [u8]>,
}

impl Admission {
    /// Judges an initiator by how much room is left.
    pub(crate) fn judge(
        &mut self,
        config: &EndpointConfig,
        now: Instant,
        random: &mut dyn Random,
        applicant: Applicant<'_>,
    ) -> Verdict {
        let recent = |at: Instant| now.saturating_duration_since(at) < config.half_open_timeout;
        while self.wasted.front().is_some_and(|(at, _)| !recent(*at)) {
            self.wasted.pop_front();
        }
        let taken = self.half_open.len().saturating_add(self.wasted.len());
        if taken >= config.max_half_open {
            return Verdict::Full;
        }
        if taken < config.cookie_threshold {
            return Verdict::Admitted;
        }
        self.cookies.rotate(now, random);
        match applicant.cookie {
            Some(cookie) if self.cookies.is_ours(cookie, applicant) => {
                // Who has shown its address may have a share of the room, and not all of it.
                let share = (config.max_half_open / SHARES)
                    .max(config.cookie_threshold)
                    .max(1);
                if self.taken_by(applicant.from.ip()) < share {
                    Verdict::Admitted
                } else {
                    Verdict::Full
                }
            }
            Some(_) | None => Verdict::CookieWanted(self.cookies.make(applicant)),
        }
    }

    /// A key exchange with this address came to nothing.
    pub(crate) fn note_wasted(&mut self, now: Instant, from: IpAddr) {
        self.wasted.push_back((now, from));
    }

    fn taken_by(&self, address: IpAddr) -> usize {
        let half_open = self
            .half_open
            .values()
            .map(|awaited| awaited.ike.path.remote.ip());
        let wasted = self.wasted.iter().map(|(_, from)| *from);
        half_open.chain(wasted).filter(|from| *from == address).count()
    }

    /// Whether a stranger's failure may be reported to the operator: not more than one in a second, so that nobody can
    /// fill a log with spoofed requests.
    pub(crate) fn may_report(&mut self, now: Instant) -> bool {
        let quiet = self
            .reported
            .is_none_or(|at| now.saturating_duration_since(at) >= REPORT_INTERVAL);
        if quiet {
            self.reported = Some(now);
        }
        quiet
    }

    /// A half-open SA of ours.
    pub(crate) fn get(&self, spi: IkeSpi) -> Option<&Awaited> {
        self.half_open.get(&spi)
    }

    /// The same, to store fragments.
    pub(crate) fn get_mut(&mut self, spi: IkeSpi) -> Option<&mut Awaited> {
        self.half_open.get_mut(&spi)
    }

    /// Takes a half-open SA out.
    pub(crate) fn take(&mut self, spi: IkeSpi) -> Option<Awaited> {
        self.half_open.remove(&spi)
    }

    /// Keeps a half-open SA until it expires.
    pub(crate) fn put(&mut self, awaited: Awaited) {
        self.half_open.insert(awaited.ike.local_spi(), awaited);
    }

    /// Takes one half-open SA out whose time is over.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Awaited> {
        let spi = *self
            .half_open
            .iter()
            .find(|(_, awaited)| awaited.expires <= now)?
            .0;
        self.half_open.remove(&spi)
    }

    /// Takes any half-open SA out.
    pub(crate) fn take_any(&mut self) -> Option<Awaited> {
        self.half_open.pop_first().map(|(_, awaited)| awaited)
    }

    /// When the next one expires.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Reason)> {
        self.half_open
            .values()
            .map(|awaited| (awaited.expires, Reason::Expire))
            .min()
    }
}

/// Makes and recognises cookies: version | prf(secret, Ni | IPi | port | SPIi), as RFC 7296 2.6 suggests.
#[derive(Default)]
struct Cookies {
    current: Option<CookieSecret>,
    previous: Option<CookieSecret>,
}

struct CookieSecret {
    version: u8,
    octets: Zeroizing<[u8; 32]>,
    since: Instant,
}

impl Cookies {
    /// Changes the secret if it is old. The one before stays good for cookies that are under way.
    fn rotate(&mut self, now: Instant, random: &mut dyn Random) {
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

    fn make(&self, applicant: Applicant<'_>) -> Vec<u8> {
        self.current
            .as_ref()
            .map(|secret| secret.cookie(applicant))
            .unwrap_or_default()
    }

    fn is_ours(&self, cookie: &[u8], applicant: Applicant<'_>) -> bool {
        let secrets = [&self.current, &self.previous];
        let secret = secrets
            .into_iter()
            .flatten()
            .find(|secret| cookie.first() == Some(&secret.version));
        secret.is_some_and(|secret| secret.cookie(applicant).as_slice().ct_eq(cookie).into())
    }
}

impl CookieSecret {
    fn cookie(&self, applicant: Applicant<'_>) -> Vec<u8> {
        let address = match applicant.from.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (port, spi) = (applicant.from.port().to_be_bytes(), applicant.spi_i.to_bytes());
        let digest =
            Prf::HmacSha2_256.compute(self.octets.as_slice(), &[applicant.nonce, &address, &port, &spi]);
        let mut cookie = vec![self.version];
        cookie.extend_from_slice(&digest);
        cookie
    }
}

/// One address may have one of so many parts of the room.
const SHARES: usize = 8;
/// Between reports of what strangers did.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long cookies are made with one secret; each is good for once to twice as long.
const SECRET_LIFETIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Clock, SeededRandom};

    fn applicant<'a>(from: &str, cookie: Option<&'a [u8]>) -> Applicant<'a> {
        Applicant {
            nonce: &[1; 32],
            from: from.parse().unwrap(),
            spi_i: IkeSpi(7),
            cookie,
        }
    }

    fn always() -> EndpointConfig {
        EndpointConfig {
            cookie_threshold: 0,
            ..EndpointConfig::default()
        }
    }

    fn cookie_for(admission: &mut Admission, now: Instant, from: &str) -> Vec<u8> {
        match admission.judge(&always(), now, &mut SeededRandom::new(1), applicant(from, None)) {
            Verdict::CookieWanted(cookie) => cookie,
            other @ (Verdict::Admitted | Verdict::Full) => panic!("{other:?}"),
        }
    }

    #[test]
    fn admits_who_returns_its_cookie_and_nobody_else() {
        let (mut admission, now) = (Admission::default(), Clock::new().now());
        let cookie = cookie_for(&mut admission, now, "192.0.2.1:500");
        let mut judge = |from| {
            admission.judge(
                &always(),
                now,
                &mut SeededRandom::new(2),
                applicant(from, Some(&cookie)),
            )
        };
        assert_eq!(judge("192.0.2.1:500"), Verdict::Admitted);
        assert!(matches!(judge("192.0.2.2:500"), Verdict::CookieWanted(_)));
    }

    #[test]
    fn accepts_cookies_of_the_secret_before_but_not_older_ones() {
        let (mut admission, clock) = (Admission::default(), Clock::new());
        let from = "192.0.2.1:500";
        let cookie = cookie_for(&mut admission, clock.now(), from);
        let mut random = SeededRandom::new(2);
        let mut judge = |seconds| {
            let now = clock.now() + Duration::from_secs(seconds);
            admission.judge(&always(), now, &mut random, applicant(from, Some(&cookie)))
        };
        assert_eq!(judge(59), Verdict::Admitted);
        assert_eq!(judge(61), Verdict::Admitted);
        assert!(matches!(judge(125), Verdict::CookieWanted(_)));
    }

    #[test]
    fn refuses_everybody_when_there_is_no_room() {
        let config = EndpointConfig {
            max_half_open: 0,
            ..EndpointConfig::default()
        };
        let now = Clock::new().now();
        let applicant = applicant("192.0.2.1:500", None);
        let verdict = Admission::default().judge(&config, now, &mut SeededRandom::new(1), applicant);
        assert_eq!(verdict, Verdict::Full);
    }
}
