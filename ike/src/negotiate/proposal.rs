//! Proposals as an operator writes them, `aes256gcm16-prfsha256-x25519`, and the suites that come of them.

use std::fmt;
use std::str::FromStr;

use super::additional::AdditionalChoices;
use super::token::{self, Token};
use super::transform::{
    Additional, AdditionalMethods, Encryption, Integrity, KeyExchangeMethod, Legacy, LegacyReason, Prf,
    esn_name,
};

pub use super::token::{ProposalError, ProposalErrorKind};

/// One proposal for an IKE SA: any combination of one algorithm of each list (RFC 7296 3.3).
/// Either every cipher is an AEAD and `integrity` is empty, or none is and it is not (RFC 5282 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    /// Ciphers, most wanted first.
    pub encryption: Vec<Encryption>,
    /// Integrity algorithms, most wanted first; empty with AEADs.
    pub integrity: Vec<Integrity>,
    /// PRFs, most wanted first.
    pub prf: Vec<Prf>,
    /// Key exchange methods, most wanted first.
    pub key_exchange: Vec<KeyExchangeMethod>,
    /// Key exchanges that follow the first (RFC 9370).
    pub additional: AdditionalChoices,
}

/// One proposal for a CHILD SA with ESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Ciphers, most wanted first.
    pub encryption: Vec<Encryption>,
    /// Integrity algorithms, most wanted first; empty with AEADs.
    pub integrity: Vec<Integrity>,
    /// Extended sequence numbers or not, most wanted first. Never empty.
    pub esn: Vec<bool>,
    /// Key exchange methods for perfect forward secrecy in CREATE_CHILD_SA; empty: none.
    /// An SA made in IKE_AUTH never has an exchange of its own (RFC 7296 1.2).
    pub key_exchange: Vec<KeyExchangeMethod>,
    /// Key exchanges that follow the first (RFC 9370).
    pub additional: AdditionalChoices,
}

/// The algorithms of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IkeSuite {
    /// The cipher of the SK payload.
    pub encryption: Encryption,
    /// The integrity algorithm of the SK payload; `None` with an AEAD.
    pub integrity: Option<Integrity>,
    /// The PRF.
    pub prf: Prf,
    /// The key exchange.
    pub key_exchange: KeyExchangeMethod,
    /// Those that followed it (RFC 9370).
    pub additional: AdditionalMethods,
}

/// The algorithms of a CHILD SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspSuite {
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm; `None` with an AEAD.
    pub integrity: Option<Integrity>,
    /// Extended sequence numbers (RFC 4303 2.2.1).
    pub esn: bool,
    /// The key exchange that went with it (PFS), if one did.
    pub key_exchange: Option<KeyExchangeMethod>,
    /// Those that followed it (RFC 9370).
    pub additional: AdditionalMethods,
}

/// What we offer unless told otherwise: X25519 with ML-KEM-768 behind it, and the same without for a peer that cannot do
/// that. It is a proposal of its own and not one with NONE: a peer that does not know the transform type must be able to
/// pass it over (RFC 7296 3.3.6).
pub fn default_ike() -> Vec<IkeProposal> {
    let mut proposals = post_quantum_ike();
    proposals.extend(classical_ike());
    proposals
}

/// What we offer to a peer that must withstand a quantum computer.
pub fn post_quantum_ike() -> Vec<IkeProposal> {
    let hybrid = classical_ike().into_iter().take(1).map(|aead| IkeProposal {
        additional: AdditionalChoices::first(KeyExchangeMethod::MlKem768),
        ..aead
    });
    hybrid.collect()
}

/// What we offer without additional key exchanges: AEADs first, and in a proposal of their own (RFC 5282 8).
pub fn classical_ike() -> Vec<IkeProposal> {
    let prf = vec![Prf::HmacSha2_256, Prf::HmacSha2_384, Prf::HmacSha2_512];
    let key_exchange = vec![
        KeyExchangeMethod::Curve25519,
        KeyExchangeMethod::Ecp256,
        KeyExchangeMethod::Ecp384,
        KeyExchangeMethod::Modp2048,
        KeyExchangeMethod::Modp3072,
        KeyExchangeMethod::Modp4096,
    ];
    let aead = IkeProposal {
        encryption: aead(),
        integrity: vec![],
        prf,
        key_exchange,
        additional: AdditionalChoices::none(),
    };
    let cbc = IkeProposal {
        encryption: cbc(),
        integrity: sha2(),
        ..aead.clone()
    };
    vec![aead, cbc]
}

/// What we offer for CHILD SAs unless told otherwise. Without PFS: the first CHILD SA cannot have it, and
/// rekeying the IKE SA renews the source of all keys. Each AEAD with its IV implicit, which saves 8 octets of each packet,
/// and then with an explicit one, for a peer that knows no other (RFC 8750 5): it passes over the transforms that it does
/// not know (RFC 7296 3.3.6).
pub fn default_esp() -> Vec<EspProposal> {
    let aead = EspProposal {
        encryption: implicit_iv().into_iter().chain(aead()).collect(),
        integrity: vec![],
        esn: vec![true, false],
        key_exchange: vec![],
        additional: AdditionalChoices::none(),
    };
    let cbc = EspProposal {
        encryption: cbc(),
        integrity: sha2(),
        ..aead.clone()
    };
    vec![aead, cbc]
}

/// For an old peer that knows no more: to be appended only if the operator asked for legacy algorithms.
pub fn legacy_ike() -> Vec<IkeProposal> {
    vec![IkeProposal {
        encryption: cbc(),
        integrity: vec![Integrity::HmacSha2_256_128, Integrity::HmacSha1_96],
        prf: vec![Prf::HmacSha2_256, Prf::HmacSha1],
        key_exchange: vec![KeyExchangeMethod::Modp2048, KeyExchangeMethod::Modp1024],
        additional: AdditionalChoices::none(),
    }]
}

/// For an old peer that knows no more: to be appended only if the operator asked for legacy algorithms.
pub fn legacy_esp() -> Vec<EspProposal> {
    vec![EspProposal {
        encryption: cbc(),
        integrity: vec![Integrity::HmacSha2_256_128, Integrity::HmacSha1_96],
        esn: vec![false],
        key_exchange: vec![],
        additional: AdditionalChoices::none(),
    }]
}

fn aead() -> Vec<Encryption> {
    vec![
        Encryption::AesGcm16_256,
        Encryption::AesGcm16_128,
        Encryption::ChaCha20Poly1305,
    ]
}

fn implicit_iv() -> Vec<Encryption> {
    vec![
        Encryption::AesGcm16Iiv256,
        Encryption::AesGcm16Iiv128,
        Encryption::ChaCha20Poly1305Iiv,
    ]
}

fn cbc() -> Vec<Encryption> {
    vec![Encryption::AesCbc256, Encryption::AesCbc128]
}

fn sha2() -> Vec<Integrity> {
    vec![
        Integrity::HmacSha2_256_128,
        Integrity::HmacSha2_384_192,
        Integrity::HmacSha2_512_256,
    ]
}

/// Those that suit a peer: one that cannot do IKE_INTERMEDIATE has no additional key exchanges (RFC 9370 2.2.1).
pub fn suitable(proposals: &[IkeProposal], intermediate: bool) -> Vec<IkeProposal> {
    if intermediate {
        return proposals.to_vec();
    }
    let can_do_without = proposals
        .iter()
        .filter(|proposal| !proposal.additional.is_required());
    can_do_without
        .map(|proposal| IkeProposal {
            additional: AdditionalChoices::none(),
            ..proposal.clone()
        })
        .collect()
}

impl IkeProposal {
    /// Names an algorithm that is only for old peers.
    pub fn is_legacy(&self) -> bool {
        !self.legacy_names().is_empty()
    }

    /// The algorithms in it that are only for old peers.
    pub fn legacy(&self) -> Vec<Legacy> {
        let mut found = legacy_common(&self.encryption, &self.integrity, &self.key_exchange);
        let prfs = self.prf.iter().filter(|p| p.is_legacy());
        found.extend(prfs.map(|p| Legacy {
            name: p.name(),
            reason: LegacyReason::Sha1,
        }));
        found
    }

    /// The names of the algorithms in it that are only for old peers.
    pub fn legacy_names(&self) -> Vec<&'static str> {
        self.legacy().iter().map(|legacy| legacy.name).collect()
    }
}

impl EspProposal {
    /// Names an algorithm that is only for old peers.
    pub fn is_legacy(&self) -> bool {
        !self.legacy_names().is_empty()
    }

    /// The algorithms in it that are only for old peers.
    pub fn legacy(&self) -> Vec<Legacy> {
        legacy_common(&self.encryption, &self.integrity, &self.key_exchange)
    }

    /// The names of the algorithms in it that are only for old peers.
    pub fn legacy_names(&self) -> Vec<&'static str> {
        self.legacy().iter().map(|legacy| legacy.name).collect()
    }

    /// As it is offered in IKE_AUTH, where there is no key exchange (RFC 7296 1.2).
    pub fn without_key_exchange(&self) -> Self {
        Self {
            key_exchange: Vec::new(),
            additional: AdditionalChoices::none(),
            ..self.clone()
        }
    }
}

fn legacy_common(e: &[Encryption], i: &[Integrity], k: &[KeyExchangeMethod]) -> Vec<Legacy> {
    let ciphers = e.iter().filter_map(|e| {
        let reason = e.legacy_reason()?;
        let name = e.name();
        Some(Legacy { name, reason })
    });
    let hashes = i.iter().filter(|i| i.is_legacy()).map(|i| Legacy {
        name: i.name(),
        reason: LegacyReason::Sha1,
    });
    let groups = k.iter().filter(|k| k.is_legacy()).map(|k| Legacy {
        name: k.name(),
        reason: LegacyReason::SmallGroup,
    });
    ciphers.chain(hashes).chain(groups).collect()
}

impl FromStr for IkeProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let words = token::words(text)?;
        let mut proposal = Self {
            encryption: Vec::new(),
            integrity: Vec::new(),
            prf: Vec::new(),
            key_exchange: Vec::new(),
            additional: AdditionalChoices::none(),
        };
        for word in &words {
            match word.token {
                Token::Encryption(e) if e.has_implicit_iv() => {
                    return Err(word.error(ProposalErrorKind::ImplicitIvInIke));
                }
                Token::Encryption(e) => token::push(&mut proposal.encryption, e, word)?,
                Token::Integrity(i) => token::push(&mut proposal.integrity, i, word)?,
                Token::Prf(p) => token::push(&mut proposal.prf, p, word)?,
                Token::KeyExchange(k) => token::push(&mut proposal.key_exchange, k, word)?,
                Token::Additional(which, method) => proposal.additional.push(which, method, word)?,
                Token::Esn(_) => return Err(word.error(ProposalErrorKind::EsnInIke)),
            }
        }
        token::check_combination(text, &words, &proposal.encryption, &proposal.integrity)?;
        if proposal.prf.is_empty() {
            // As strongSwan reads it: the PRF is that of the integrity algorithm's hash.
            proposal.prf = proposal.integrity.iter().map(|i| i.prf()).collect();
        }
        if proposal.prf.is_empty() {
            return Err(token::whole(text, ProposalErrorKind::NoPrf));
        }
        if proposal.key_exchange.is_empty() {
            return Err(token::whole(text, ProposalErrorKind::NoKeyExchange));
        }
        proposal.additional.check(&words, &proposal.key_exchange)?;
        Ok(proposal)
    }
}

impl FromStr for EspProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let words = token::words(text)?;
        let mut proposal = Self {
            encryption: Vec::new(),
            integrity: Vec::new(),
            esn: Vec::new(),
            key_exchange: Vec::new(),
            additional: AdditionalChoices::none(),
        };
        for word in &words {
            match word.token {
                Token::Encryption(e) => token::push(&mut proposal.encryption, e, word)?,
                Token::Integrity(i) => token::push(&mut proposal.integrity, i, word)?,
                Token::Esn(esn) => token::push(&mut proposal.esn, esn, word)?,
                Token::KeyExchange(k) => token::push(&mut proposal.key_exchange, k, word)?,
                Token::Additional(which, method) => proposal.additional.push(which, method, word)?,
                Token::Prf(_) => return Err(word.error(ProposalErrorKind::PrfInEsp)),
            }
        }
        token::check_combination(text, &words, &proposal.encryption, &proposal.integrity)?;
        proposal.additional.check(&words, &proposal.key_exchange)?;
        if proposal.esn.is_empty() {
            proposal.esn.push(false);
        }
        Ok(proposal)
    }
}

impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(&self.encryption, Encryption::name)
            .chain(names(&self.integrity, Integrity::name))
            .chain(names(&self.prf, Prf::name))
            .chain(names(&self.key_exchange, KeyExchangeMethod::name))
            .chain(self.additional.iter().map(keyword));
        write_joined(f, names)
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No word for ESN means `noesn`, so that alone goes without saying.
        let esn: &[bool] = if self.esn == [false] { &[] } else { &self.esn };
        let names = names(&self.encryption, Encryption::name)
            .chain(names(&self.integrity, Integrity::name))
            .chain(names(&self.key_exchange, KeyExchangeMethod::name))
            .chain(self.additional.iter().map(keyword))
            .chain(names(esn, esn_name));
        write_joined(f, names)
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = std::iter::once(self.encryption.name())
            .chain(self.integrity.map(Integrity::name))
            .chain([self.prf.name(), self.key_exchange.name()])
            .map(str::to_owned)
            .chain(chosen(&self.additional));
        write_joined(f, names)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = std::iter::once(self.encryption.name())
            .chain(self.integrity.map(Integrity::name))
            .chain(self.key_exchange.map(KeyExchangeMethod::name))
            .map(str::to_owned)
            .chain(chosen(&self.additional))
            .chain(self.esn.then(|| esn_name(true).to_owned()));
        write_joined(f, names)
    }
}

fn names<T: Copy>(list: &[T], name: fn(T) -> &'static str) -> impl Iterator<Item = String> {
    list.iter().map(move |item| name(*item).to_owned())
}

fn keyword((which, method): (Additional, Option<KeyExchangeMethod>)) -> String {
    which.keyword(method)
}

fn chosen(additional: &AdditionalMethods) -> impl Iterator<Item = String> {
    additional
        .iter()
        .map(|(which, method)| which.keyword(Some(method)))
}

fn write_joined(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = String>) -> fmt::Result {
    names.enumerate().try_for_each(|(n, name)| {
        let hyphen = if n == 0 { "" } else { "-" };
        write!(f, "{hyphen}{name}")
    })
}
