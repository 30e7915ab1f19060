//! The words of a proposal string, and what is wrong with one that is not.

use super::transform::{Additional, Encryption, Integrity, KeyExchangeMethod, Prf};

/// Why a proposal string is none. Carries where, for a caret under the word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{token}`: {kind}")]
pub struct ProposalError {
    /// The word, or the whole string where no single word is to blame.
    pub token: String,
    /// The octet of the string at which the word begins.
    pub offset: usize,
    /// What is wrong.
    pub kind: ProposalErrorKind,
}

/// What is wrong with a proposal string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalErrorKind {
    /// No such algorithm; perhaps this one was meant.
    #[error("no algorithm of that name{}", .suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    Unknown {
        /// The nearest name.
        suggestion: Option<&'static str>,
    },
    /// An algorithm that exists but that we do not speak.
    #[error("{reason}; use {instead}")]
    Unsupported {
        /// Why not.
        reason: &'static str,
        /// What to write.
        instead: &'static str,
    },
    /// Named before.
    #[error("named twice")]
    Twice,
    /// Nothing between two hyphens, or nothing at all.
    #[error("an algorithm is missing here; write for example `aes256gcm16-prfsha256-x25519`")]
    Empty,
    /// No cipher.
    #[error("no encryption algorithm; begin with one such as `aes256gcm16`")]
    NoEncryption,
    /// A cipher that is no AEAD, alone.
    #[error("this cipher needs an integrity algorithm; add one such as `sha256`")]
    NoIntegrity,
    /// An AEAD together with an integrity algorithm.
    #[error(
        "an AEAD protects integrity itself (RFC 5282 8); drop this, or name a PRF such as `prfsha256` instead"
    )]
    IntegrityWithAead,
    /// AEADs and other ciphers in one proposal.
    #[error("AEADs and other ciphers must not share a proposal (RFC 5282 8); write two proposals")]
    MixedCiphers,
    /// No PRF and no integrity algorithm to take it from.
    #[error("no PRF; with an AEAD add one such as `prfsha256`")]
    NoPrf,
    /// No key exchange for an IKE SA.
    #[error("no key exchange; add one such as `x25519` or `modp2048`")]
    NoKeyExchange,
    /// The same key exchange method twice in one SA.
    #[error("the same key exchange would take place twice; name another, such as `ke1_mlkem768`")]
    SameKeyExchange,
    /// ke2 without ke1.
    #[error("additional key exchanges are numbered from `ke1_` on, without a gap; use the next lower number")]
    AdditionalGap,
    /// `ke1_none` and nothing else.
    #[error(
        "`none` is for what may be left out; name a method for it as well, such as `ke1_mlkem768`, or drop it"
    )]
    AdditionalNothing,
    /// An additional key exchange after none.
    #[error("an additional key exchange follows a first one; add one such as `x25519`")]
    AdditionalWithoutFirst,
    /// A PRF for ESP.
    #[error("a CHILD SA has no PRF of its own; drop it")]
    PrfInEsp,
    /// A cipher with an implicit IV for IKE.
    #[error(
        "a cipher with an implicit IV is for ESP only (RFC 8750 7); name the same without `iiv` here, such as \
         `aes256gcm16`"
    )]
    ImplicitIvInIke,
    /// ESN for IKE.
    #[error("extended sequence numbers belong to ESP; drop it")]
    EsnInIke,
}

/// What a word can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Encryption(Encryption),
    Integrity(Integrity),
    Prf(Prf),
    KeyExchange(KeyExchangeMethod),
    Additional(Additional, Option<KeyExchangeMethod>),
    Esn(bool),
}

/// A word and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    text: &'a str,
    offset: usize,
    pub(super) token: Token,
}

impl Word<'_> {
    /// It names the additional key exchange of this number.
    pub(super) fn is_additional(&self, number: Additional) -> bool {
        match self.token {
            Token::Additional(which, _) => which == number,
            Token::Encryption(_)
            | Token::Integrity(_)
            | Token::Prf(_)
            | Token::KeyExchange(_)
            | Token::Esn(_) => false,
        }
    }

    pub(super) fn error(&self, kind: ProposalErrorKind) -> ProposalError {
        ProposalError {
            token: self.text.to_owned(),
            offset: self.offset,
            kind,
        }
    }
}

/// An error that no single word is to blame for.
pub(super) fn whole(text: &str, kind: ProposalErrorKind) -> ProposalError {
    ProposalError {
        token: text.to_owned(),
        offset: 0,
        kind,
    }
}

/// Cuts the string at its hyphens.
pub(super) fn words(text: &str) -> Result<Vec<Word<'_>>, ProposalError> {
    let mut offset = 0;
    let mut words = Vec::new();
    for piece in text.split('-') {
        let start = offset + (piece.len() - piece.trim_start().len());
        offset += piece.len() + 1;
        let word = piece.trim();
        let token = read(word).map_err(|kind| ProposalError {
            token: word.to_owned(),
            offset: start,
            kind,
        })?;
        words.push(Word {
            text: word,
            offset: start,
            token,
        });
    }
    Ok(words)
}

/// Appends an algorithm unless it is there already.
pub(super) fn push<T: PartialEq>(list: &mut Vec<T>, item: T, word: &Word<'_>) -> Result<(), ProposalError> {
    if list.contains(&item) {
        return Err(word.error(ProposalErrorKind::Twice));
    }
    list.push(item);
    Ok(())
}

/// RFC 5282 8, RFC 7296 3.3: AEADs without integrity algorithms, other ciphers with, never both in one.
pub(super) fn check_combination(
    text: &str,
    words: &[Word<'_>],
    encryption: &[Encryption],
    integrity: &[Integrity],
) -> Result<(), ProposalError> {
    let find = |wanted: fn(Token) -> bool| words.iter().find(|word| wanted(word.token));
    let aeads = encryption.iter().filter(|e| e.is_aead()).count();
    if encryption.is_empty() {
        return Err(whole(text, ProposalErrorKind::NoEncryption));
    }
    if aeads != 0 && aeads != encryption.len() {
        return Err(whole(text, ProposalErrorKind::MixedCiphers));
    }
    if aeads != 0 && !integrity.is_empty() {
        let kind = ProposalErrorKind::IntegrityWithAead;
        return Err(match find(|token| matches!(token, Token::Integrity(_))) {
            Some(word) => word.error(kind),
            None => whole(text, kind),
        });
    }
    if aeads == 0 && integrity.is_empty() {
        let kind = ProposalErrorKind::NoIntegrity;
        return Err(match find(|token| matches!(token, Token::Encryption(_))) {
            Some(word) => word.error(kind),
            None => whole(text, kind),
        });
    }
    Ok(())
}

fn read(word: &str) -> Result<Token, ProposalErrorKind> {
    if word.is_empty() {
        return Err(ProposalErrorKind::Empty);
    }
    if let Ok(e) = word.parse() {
        return Ok(Token::Encryption(e));
    }
    if let Ok(i) = word.parse() {
        return Ok(Token::Integrity(i));
    }
    if let Ok(p) = word.parse() {
        return Ok(Token::Prf(p));
    }
    if let Ok(k) = word.parse::<KeyExchangeMethod>() {
        return first_method(k).map(Token::KeyExchange);
    }
    if let Some((which, method)) = additional(word) {
        return match method {
            _ if method.eq_ignore_ascii_case("none") => Ok(Token::Additional(which, None)),
            method => match method.parse() {
                Ok(method) => Ok(Token::Additional(which, Some(method))),
                Err(_) => Err(explain(&method.to_ascii_lowercase())),
            },
        };
    }
    match word.to_ascii_lowercase().as_str() {
        "esn" => Ok(Token::Esn(true)),
        "noesn" => Ok(Token::Esn(false)),
        lower => Err(explain(lower)),
    }
}

/// `ke1_mlkem768` in its two parts.
fn additional(word: &str) -> Option<(Additional, &str)> {
    let (number, method) = word.split_once('_')?;
    let which = Additional::ALL
        .into_iter()
        .find(|which| which.name().eq_ignore_ascii_case(number))?;
    Some((which, method))
}

/// What takes place in IKE_SA_INIT itself, which is never fragmented (RFC 7383 2.1), must fit into it.
fn first_method(method: KeyExchangeMethod) -> Result<KeyExchangeMethod, ProposalErrorKind> {
    if method.is_post_quantum() {
        return Err(ProposalErrorKind::Unsupported {
            reason: "its public value is too large for IKE_SA_INIT, so it comes in addition to another",
            instead: "`x25519-ke1_mlkem768`",
        });
    }
    Ok(method)
}

/// Names that operators bring along from other programs, and why they do not work here.
const UNSUPPORTED: [(&[&str], &str, &str); 6] = [
    (
        &["3des", "des", "blowfish", "cast128"],
        "64-bit block ciphers are broken (Sweet32)",
        "`aes128`",
    ),
    (&["null"], "NULL encryption hides nothing", "`aes128gcm16`"),
    (&["md5", "prfmd5"], "MD5 is broken", "`sha256`"),
    (
        &["modp768", "dh1", "modp1536", "dh5"],
        "this MODP group is too small",
        "`modp2048` (`dh14`)",
    ),
    (
        &["modp6144", "dh17", "modp8192", "dh18"],
        "this MODP group is slower than it is stronger",
        "`ecp384`",
    ),
    (
        &["aes192", "aes192gcm16", "aes192gcm"],
        "192-bit keys are not spoken, but with what is for old peers",
        "the 256-bit variant",
    ),
];

fn explain(word: &str) -> ProposalErrorKind {
    if let Some((_, reason, instead)) = UNSUPPORTED.iter().find(|(names, ..)| names.contains(&word)) {
        return ProposalErrorKind::Unsupported { reason, instead };
    }
    let known = (Encryption::ALL.iter().flat_map(|e| e.names()))
        .chain(Integrity::ALL.iter().flat_map(|i| i.names()))
        .chain(Prf::ALL.iter().flat_map(|p| p.names()))
        .chain(KeyExchangeMethod::ALL.iter().flat_map(|k| k.names()));
    let nearest = known
        .map(|name| (distance(word, name), *name))
        .min_by_key(|(far, _)| *far);
    let suggestion = nearest
        .filter(|(far, _)| *far <= 2.max(word.len() / 4))
        .map(|(_, name)| name);
    ProposalErrorKind::Unknown { suggestion }
}

/// Edits from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(*to != from)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
