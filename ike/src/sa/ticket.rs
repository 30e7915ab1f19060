//! Tickets by value (RFC 5723 6.1): the state of an IKE SA, sealed for ourselves and kept by the peer.
//!
//! ```text
//! key identity (8) | nonce (16) | AES-256-GCM { format, SK_d, algorithms, the peer's identity, policy, times } | ICV (16)
//! ```
//!
//! Each ticket has a key of its own, which follows from our secret and its nonce, so that no nonce of the cipher can repeat.
//!
//! A ticket has a serial number that grows, which begins with the second in which it was given. For each connection the one
//! number is kept from which on its tickets are good: a ticket that was used, or whose IKE SA was deleted, is below. So nobody
//! can fill a list, and what one peer does has no effect on the tickets of another.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::api::Random;
use crate::auth::identity::Identity;
use crate::config::{ConnectionId, Secret};
use crate::crypto::aead::SkCipher;
use crate::negotiate::proposal::{IkeProposal, IkeSuite};
use crate::negotiate::transform::{AdditionalMethods, Encryption, Prf};
use crate::wire::Reader;
use crate::wire::sealed::Protect;

/// The number of a ticket that we have given: later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial(u64);

impl Serial {
    /// When it was given, in seconds since 1970.
    fn second(self) -> u64 {
        self.0 >> WITHIN_SECOND
    }
}

/// What a ticket holds (RFC 5723 5). Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// SK_d of the IKE SA.
    pub(crate) sk_d: Zeroizing<Vec<u8>>,
    /// Its algorithms, with the key exchanges that are in SK_d.
    pub(crate) suite: IkeSuite,
    /// A post-quantum pre-shared key is in SK_d.
    pub(crate) ppk: bool,
    /// Who the peer had proven to be.
    pub(crate) remote: Identity,
    /// Names, credentials and algorithms of the connection.
    pub(crate) policy: [u8; 32],
    /// When the peer had last shown its credentials, in seconds since 1970.
    pub(crate) proven_at: u64,
    /// The last second of the certificates among them, if there were any.
    pub(crate) valid_until: Option<u64>,
    /// Until when the ticket is good.
    pub(crate) expires: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

/// The tickets of this gateway.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// The first one seals, all of them open.
    keys: Vec<TicketKey>,
    last: Option<Serial>,
    good_from: BTreeMap<ConnectionId, Serial>,
}

#[derive(Debug)]
struct TicketKey {
    /// RFC 5723 6.1: the key identity field.
    name: Vec<u8>,
    secret: Secret,
}

impl Tickets {
    /// Without a secret no ticket is given or taken.
    pub(crate) fn new(secrets: Vec<Secret>) -> Self {
        let mut tickets = Self::default();
        tickets.replace_keys(secrets);
        tickets
    }

    /// Other secrets, from now on.
    pub(crate) fn replace_keys(&mut self, secrets: Vec<Secret>) {
        let named = |secret: Secret| {
            let name = Prf::HmacSha2_256.compute(secret.expose(), &[NAMING]);
            let name = name.iter().copied().take(KEY_IDENTITY).collect();
            TicketKey { name, secret }
        };
        self.keys = secrets.into_iter().map(named).collect();
    }

    /// A ticket for a session, and its number. `now` in seconds since 1970.
    pub(crate) fn seal(
        &mut self,
        random: &mut dyn Random,
        now: u64,
        session: &Session,
    ) -> Option<(Serial, Vec<u8>)> {
        let key = self.keys.first()?;
        let first = now.checked_mul(1 << WITHIN_SECOND)?;
        let serial = Serial(
            self.last
                .map_or(first, |last| first.max(last.0.saturating_add(1))),
        );
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce);
        let cipher = cipher(&key.secret, &nonce)?;
        let head = [key.name.as_slice(), &nonce].concat();
        let mut text = session.to_bytes(serial)?;
        cipher.seal(&NO_IV, &head, &mut text);
        // What could not be sealed was wiped.
        if text.len() <= ICV {
            return None;
        }
        self.last = Some(serial);
        Some((serial, [head.as_slice(), &text].concat()))
    }

    /// What is in a ticket of ours that has not expired. One comparison if it is not ours, else two HMACs and one decryption.
    pub(crate) fn open(&self, now: u64, ticket: &[u8]) -> Option<(Serial, Session)> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (head, text) = ticket.split_at_checked(KEY_IDENTITY + NONCE)?;
        let (name, nonce) = head.split_at_checked(KEY_IDENTITY)?;
        let key = self.keys.iter().find(|key| key.name == name)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = cipher(&key.secret, nonce)?.open(&NO_IV, head, &mut text).ok()?;
        let (serial, session) = Session::from_bytes(text.get(..length)?)?;
        (session.expires > now && serial.second() <= now).then_some((serial, session))
    }

    /// Whether a ticket was neither used nor revoked.
    pub(crate) fn is_good(&self, connection: ConnectionId, serial: Serial) -> bool {
        self.good_from.get(&connection).is_none_or(|from| serial >= *from)
    }

    /// Notes that a ticket was used, or that its IKE SA was deleted (RFC 5723 4.3.1, 6.2). Whether it was good until now.
    pub(crate) fn spend(&mut self, connection: ConnectionId, serial: Serial) -> bool {
        let good = self.is_good(connection, serial);
        let from = self.good_from.entry(connection).or_insert(serial);
        *from = Serial(serial.0.saturating_add(1)).max(*from);
        good
    }
}

impl Session {
    /// `None` if it is too large for a first message.
    fn to_bytes(&self, serial: Serial) -> Option<Zeroizing<Vec<u8>>> {
        // Allocated once: a growing vector would leave copies of SK_d behind.
        let mut out = Zeroizing::new(Vec::with_capacity(LONGEST));
        out.extend([FORMAT, u8::from(self.ppk)]);
        let valid_until = self.valid_until.unwrap_or(u64::MAX);
        for number in [serial.0, self.proven_at, valid_until, self.expires] {
            out.extend(number.to_be_bytes());
        }
        out.extend(self.policy);
        let (suite, remote) = (self.suite.to_string(), self.remote.rest_of_id());
        for part in [suite.as_bytes(), &remote, &self.sk_d] {
            let length = u16::try_from(part.len()).ok()?;
            if out.len() + 2 + part.len() > LONGEST - KEY_IDENTITY - NONCE - ICV {
                return None;
            }
            out.extend(length.to_be_bytes());
            out.extend_from_slice(part);
        }
        Some(out)
    }

    fn from_bytes(octets: &[u8]) -> Option<(Serial, Self)> {
        let mut reader = Reader::new(octets);
        if reader.u8("the format").ok()? != FORMAT {
            return None;
        }
        let ppk = reader.u8("a flag").ok()? != 0;
        let mut number = || reader.u64("a number").ok();
        let [serial, proven_at, valid_until, expires] = [number()?, number()?, number()?, number()?];
        let policy = reader.array("the policy").ok()?;
        let mut part = || {
            let length = usize::from(reader.u16("a length").ok()?);
            reader.take(length, "a part").ok()
        };
        let suite = suite(part()?)?;
        let remote = identity(part()?)?;
        let sk_d = Zeroizing::new(part()?.to_vec());
        let session = Self {
            sk_d,
            suite,
            ppk,
            remote,
            policy,
            proven_at,
            valid_until: (valid_until != u64::MAX).then_some(valid_until),
            expires,
        };
        reader.is_empty().then_some((Serial(serial), session))
    }
}

/// The one suite that this text names.
fn suite(text: &[u8]) -> Option<IkeSuite> {
    let proposal: IkeProposal = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mut additional = AdditionalMethods::NONE;
    for (which, method) in proposal.additional.iter() {
        additional = additional.with(which, method?);
    }
    Some(IkeSuite {
        encryption: *proposal.encryption.first()?,
        integrity: proposal.integrity.first().copied(),
        prf: *proposal.prf.first()?,
        key_exchange: *proposal.key_exchange.first()?,
        additional,
    })
}

fn identity(rest_of_id: &[u8]) -> Option<Identity> {
    let (&[kind, ..], data) = rest_of_id.split_first_chunk::<4>()?;
    Identity::from_wire(kind, data).ok()
}

/// The key of one ticket. Its nonce is 128 random bits, so no two tickets have the same.
fn cipher(secret: &Secret, nonce: &[u8]) -> Option<SkCipher> {
    let length = Encryption::AesGcm16_256.key_len();
    let key = Prf::HmacSha2_256.plus(secret.expose(), &[SEALING, nonce], length);
    SkCipher::new(Encryption::AesGcm16_256, None, &key.ok()?, &[]).ok()
}

const FORMAT: u8 = 1;
const KEY_IDENTITY: usize = 8;
const NONCE: usize = 16;
const ICV: usize = 16;
/// One message per key.
const NO_IV: [u8; 8] = [0; 8];
/// A larger ticket would make the first message, which cannot be fragmented, too large.
pub(crate) const LONGEST: usize = 900;
/// Bits of the numbers within a second.
const WITHIN_SECOND: u32 = 20;
/// Keep the two uses of the secret apart.
const SEALING: &[u8] = b"xvpn ticket key";
const NAMING: &[u8] = b"xvpn ticket key identity";

#[cfg(test)]
mod tests;
