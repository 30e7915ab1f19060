//! From a shared secret to keys: SKEYSEED and the SK_* of an IKE SA (RFC 7296 2.14, 2.18), and KEYMAT of a
//! CHILD SA (2.17).

use std::fmt;

use zeroize::Zeroizing;

use crate::api::SaKeys;
use crate::crypto::aead::{KeyMismatch, SkCipher};
use crate::crypto::prf::PrfPlusExhausted;
use crate::negotiate::proposal::{EspSuite, IkeSuite};
use crate::negotiate::transform::{Integrity, Prf};

/// The secrets of an IKE SA. Zeroized on drop, never printed.
pub struct IkeKeys {
    /// For the keys of CHILD SAs, and of the next IKE SA.
    pub sk_d: Zeroizing<Vec<u8>>,
    /// Integrity, from the initiator; empty with an AEAD.
    pub sk_ai: Zeroizing<Vec<u8>>,
    /// Integrity, from the responder; empty with an AEAD.
    pub sk_ar: Zeroizing<Vec<u8>>,
    /// Encryption, from the initiator; an AEAD's salt at the end.
    pub sk_ei: Zeroizing<Vec<u8>>,
    /// Encryption, from the responder; an AEAD's salt at the end.
    pub sk_er: Zeroizing<Vec<u8>>,
    /// For the initiator's AUTH.
    pub sk_pi: Zeroizing<Vec<u8>>,
    /// For the responder's AUTH.
    pub sk_pr: Zeroizing<Vec<u8>>,
}

/// The secrets of the key exchanges of one CREATE_CHILD_SA: SK(0), and SK(1) to SK(n) of the IKE_FOLLOWUP_KE exchanges
/// after it (RFC 9370 2.2.4). Zeroized on drop, never printed.
#[derive(Default)]
pub struct SharedSecrets {
    /// SK(0); a CHILD SA without perfect forward secrecy has none.
    pub first: Option<Zeroizing<Vec<u8>>>,
    /// SK(1) and on.
    pub additional: Vec<Zeroizing<Vec<u8>>>,
}

impl SharedSecrets {
    /// Without any.
    pub fn none() -> Self {
        Self::default()
    }

    /// With one.
    pub fn only(first: Zeroizing<Vec<u8>>) -> Self {
        Self {
            first: Some(first),
            additional: Vec::new(),
        }
    }

    /// SK(0) | Ni | Nr | SK(1) | ... | SK(n).
    fn around<'a>(&'a self, nonce_i: &'a [u8], nonce_r: &'a [u8]) -> Vec<&'a [u8]> {
        let first = self.first.as_ref().map(|secret| secret.as_slice());
        let mut parts = vec![first.unwrap_or_default(), nonce_i, nonce_r];
        parts.extend(self.additional.iter().map(|secret| secret.as_slice()));
        parts
    }
}

impl fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecrets(..)")
    }
}

/// What both sides put into an IKE SA's keys beside the shared secret. Nonces without payload headers.
#[derive(Clone, Copy, Debug)]
pub struct Seeds<'a> {
    /// Ni.
    pub nonce_i: &'a [u8],
    /// Nr.
    pub nonce_r: &'a [u8],
    /// SPIi of the IKE SA the keys are for.
    pub spi_i: u64,
    /// SPIr of the IKE SA the keys are for.
    pub spi_r: u64,
}

impl IkeKeys {
    /// The keys of a new IKE SA: SKEYSEED = prf(Ni | Nr, g^ir) (RFC 7296 2.14).
    pub fn derive(suite: &IkeSuite, shared: &[u8], seeds: Seeds<'_>) -> Result<Self, PrfPlusExhausted> {
        let nonces = Zeroizing::new([seeds.nonce_i, seeds.nonce_r].concat());
        let skeyseed = suite.prf.compute(&nonces, &[shared]);
        Self::expand(suite, &skeyseed, seeds)
    }

    /// The keys of an IKE SA that replaces another: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr | SK(1) | ... | SK(n)),
    /// where that prf is still the old SA's (RFC 7296 2.18, RFC 9370 2.2.4).
    pub fn rekey(
        old_prf: Prf,
        old_sk_d: &[u8],
        suite: &IkeSuite,
        secrets: &SharedSecrets,
        seeds: Seeds<'_>,
    ) -> Result<Self, PrfPlusExhausted> {
        let skeyseed = old_prf.compute(old_sk_d, &secrets.around(seeds.nonce_i, seeds.nonce_r));
        Self::expand(suite, &skeyseed, seeds)
    }

    /// The keys after an additional key exchange: SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr), with the nonces of
    /// IKE_SA_INIT (RFC 9370 2.2.2).
    pub fn update(
        &self,
        suite: &IkeSuite,
        shared: &[u8],
        seeds: Seeds<'_>,
    ) -> Result<Self, PrfPlusExhausted> {
        let skeyseed = suite
            .prf
            .compute(&self.sk_d, &[shared, seeds.nonce_i, seeds.nonce_r]);
        Self::expand(suite, &skeyseed, seeds)
    }

    /// The keys of an IKE SA that goes on from a lost one: SKEYSEED = prf(SK_d (old), "Resumption" | Ni | Nr) (RFC 5723 5.1).
    /// Whatever key exchanges and post-quantum pre-shared key are in the old SK_d are in these.
    pub fn resume(old_sk_d: &[u8], suite: &IkeSuite, seeds: Seeds<'_>) -> Result<Self, PrfPlusExhausted> {
        let skeyseed = suite
            .prf
            .compute(old_sk_d, &[b"Resumption", seeds.nonce_i, seeds.nonce_r]);
        Self::expand(suite, &skeyseed, seeds)
    }

    /// SK_d, SK_pi and SK_pr with a post-quantum pre-shared key (RFC 8784 3). The IKE SA's own messages go without: they are
    /// there before the PPK is known.
    pub fn with_ppk(&self, prf: Prf, ppk: &[u8]) -> Result<PpkKeys, PrfPlusExhausted> {
        let mix = |key: &[u8]| prf.plus(ppk, &[key], prf.output_len());
        Ok(PpkKeys {
            sk_d: mix(&self.sk_d)?,
            sk_pi: mix(&self.sk_pi)?,
            sk_pr: mix(&self.sk_pr)?,
        })
    }

    /// The ciphers of both directions: from the initiator, from the responder.
    pub fn ciphers(&self, suite: &IkeSuite) -> Result<(SkCipher, SkCipher), KeyMismatch> {
        Ok((
            SkCipher::new(suite.encryption, suite.integrity, &self.sk_ei, &self.sk_ai)?,
            SkCipher::new(suite.encryption, suite.integrity, &self.sk_er, &self.sk_ar)?,
        ))
    }

    /// {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr).
    fn expand(suite: &IkeSuite, skeyseed: &[u8], seeds: Seeds<'_>) -> Result<Self, PrfPlusExhausted> {
        let (prf, a, e) = (
            suite.prf.output_len(),
            integrity_len(suite.integrity),
            suite.encryption.key_len(),
        );
        let (spi_i, spi_r) = (seeds.spi_i.to_be_bytes(), seeds.spi_r.to_be_bytes());
        let seed: [&[u8]; 4] = [seeds.nonce_i, seeds.nonce_r, &spi_i, &spi_r];
        let keymat = suite.prf.plus(skeyseed, &seed, 3 * prf + 2 * a + 2 * e)?;
        let mut keymat = Cutter(&keymat);
        Ok(Self {
            sk_d: keymat.take(prf),
            sk_ai: keymat.take(a),
            sk_ar: keymat.take(a),
            sk_ei: keymat.take(e),
            sk_er: keymat.take(e),
            sk_pi: keymat.take(prf),
            sk_pr: keymat.take(prf),
        })
    }
}

/// What a post-quantum pre-shared key changes of the keys of an IKE SA. Zeroized on drop, never printed.
pub struct PpkKeys {
    /// In the place of SK_d.
    pub sk_d: Zeroizing<Vec<u8>>,
    /// In the place of SK_pi.
    pub sk_pi: Zeroizing<Vec<u8>>,
    /// In the place of SK_pr.
    pub sk_pr: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PpkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PpkKeys(..)")
    }
}

impl fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IkeKeys(..)")
    }
}

/// The keys of both directions of a CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildKeys {
    /// For traffic from the exchange's initiator.
    pub initiator: SaKeys,
    /// For traffic from the exchange's responder.
    pub responder: SaKeys,
}

impl ChildKeys {
    /// `KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr [| SK(1) | ... | SK(n)])`, with the IKE SA's prf (RFC 7296 2.17,
    /// RFC 9370 2.2.4).
    ///
    /// `initiator` and the nonces are those of the exchange that makes the CHILD SA, whoever began the IKE SA.
    pub fn derive(
        prf: Prf,
        sk_d: &[u8],
        suite: &EspSuite,
        secrets: &SharedSecrets,
        (nonce_i, nonce_r): (&[u8], &[u8]),
    ) -> Result<Self, PrfPlusExhausted> {
        let (e, a) = (suite.encryption.key_len(), integrity_len(suite.integrity));
        let seed = secrets.around(nonce_i, nonce_r);
        let keymat = prf.plus(sk_d, &seed, 2 * (e + a))?;
        let mut keymat = Cutter(&keymat);
        // All keys of the initiator's direction first; in each direction encryption before integrity.
        let initiator = SaKeys {
            encryption: keymat.take(e),
            integrity: keymat.take(a),
        };
        let responder = SaKeys {
            encryption: keymat.take(e),
            integrity: keymat.take(a),
        };
        Ok(Self { initiator, responder })
    }
}

fn integrity_len(integrity: Option<Integrity>) -> usize {
    integrity.map_or(0, Integrity::key_len)
}

/// Cuts keys off the front of key material.
struct Cutter<'a>(&'a [u8]);

impl Cutter<'_> {
    fn take(&mut self, len: usize) -> Zeroizing<Vec<u8>> {
        // prf+ gave exactly the sum of all lengths; should it not have, a short key is refused where it is used.
        let (key, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        Zeroizing::new(key.to_vec())
    }
}
