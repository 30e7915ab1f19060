//! Transforms and proposals of the peer in an operator's words, those we do not speak included.

use crate::wire::payload::{Proposal, ProtocolId, Transform};

use super::transform::{Encryption, Integrity, KeyExchangeMethod, Prf, TransformType, esn_name};

/// A proposal, such as `aes256gcm16-prfsha256-modp1024`.
pub fn proposal(proposal: &Proposal) -> String {
    let names: Vec<String> = proposal.transforms.iter().map(transform).collect();
    let names = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join("-")
    };
    match proposal.protocol {
        ProtocolId::IKE | ProtocolId::ESP => names,
        other => format!("{other}:{names}"),
    }
}

/// Several proposals. The text is bounded: it may come of a stranger's datagram.
pub fn proposals(list: &[Proposal]) -> String {
    if list.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = String::new();
    for (n, item) in list.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let item = proposal(item);
        if text.len().saturating_add(item.len()) > LONGEST {
            let left = list.len().saturating_sub(n);
            let cut: String = item.chars().take(if n == 0 { LONGEST } else { 0 }).collect();
            return format!("{text}{cut}{comma}... ({left} more)");
        }
        text.push_str(comma);
        text.push_str(&item);
    }
    text
}

/// One transform, such as `aes256gcm16` or `3des`.
pub fn transform(transform: &Transform) -> String {
    let (id, bits) = (transform.id, transform.key_length());
    let Some(kind) = TransformType::from_wire(transform.kind.0) else {
        return format!("type{}:{id}", transform.kind.0);
    };
    let ours = match kind {
        TransformType::Encryption => Encryption::from_wire(id, bits).map(Encryption::name),
        TransformType::Prf => Prf::from_wire(id).map(Prf::name),
        TransformType::Integrity => Integrity::from_wire(id).map(Integrity::name),
        TransformType::KeyExchange => KeyExchangeMethod::from_wire(id).map(KeyExchangeMethod::name),
        TransformType::AdditionalKeyExchange(which) => {
            return match (id, KeyExchangeMethod::from_wire(id)) {
                (0, _) => which.keyword(None),
                (_, Some(method)) => which.keyword(Some(method)),
                (_, None) => format!("{}_{id}", which.name()),
            };
        }
        TransformType::ExtendedSequenceNumbers => match id {
            0 => Some(esn_name(false)),
            1 => Some(esn_name(true)),
            _ => None,
        },
    };
    let foreign = || {
        FOREIGN
            .iter()
            .find(|row| row.0 == kind && row.1 == id)
            .map(|row| row.2)
    };
    match (ours.or_else(foreign), bits) {
        (Some(name), _) if ours.is_some() => name.to_owned(),
        (Some(name), Some(bits)) => format!("{name}_{bits}"),
        (Some(name), None) => name.to_owned(),
        (None, Some(bits)) => format!("{}{id}_{bits}", kind.name()),
        (None, None) => format!("{}{id}", kind.name()),
    }
}

const LONGEST: usize = 600;

/// Names of what we do not speak but peers offer (IANA "IKEv2 Parameters").
const FOREIGN: [(TransformType, u16, &str); 35] = [
    (TransformType::Encryption, 2, "des"),
    (TransformType::Encryption, 3, "3des"),
    (TransformType::Encryption, 6, "cast128"),
    (TransformType::Encryption, 7, "blowfish"),
    (TransformType::Encryption, 11, "null"),
    (TransformType::Encryption, 12, "aes"),
    (TransformType::Encryption, 13, "aesctr"),
    (TransformType::Encryption, 14, "aesccm8"),
    (TransformType::Encryption, 15, "aesccm12"),
    (TransformType::Encryption, 16, "aesccm16"),
    (TransformType::Encryption, 18, "aesgcm8"),
    (TransformType::Encryption, 19, "aesgcm12"),
    (TransformType::Encryption, 20, "aesgcm16"),
    (TransformType::Encryption, 23, "camellia"),
    (TransformType::Prf, 1, "prfmd5"),
    (TransformType::Prf, 4, "prfaesxcbc"),
    (TransformType::Prf, 8, "prfaescmac"),
    (TransformType::Integrity, 0, "none"),
    (TransformType::Integrity, 1, "md5"),
    (TransformType::Integrity, 5, "aesxcbc"),
    (TransformType::Integrity, 8, "aescmac"),
    (TransformType::KeyExchange, 0, "none"),
    (TransformType::KeyExchange, 1, "modp768"),
    (TransformType::KeyExchange, 5, "modp1536"),
    (TransformType::KeyExchange, 17, "modp6144"),
    (TransformType::KeyExchange, 18, "modp8192"),
    (TransformType::KeyExchange, 22, "modp1024s160"),
    (TransformType::KeyExchange, 23, "modp2048s224"),
    (TransformType::KeyExchange, 24, "modp2048s256"),
    (TransformType::KeyExchange, 25, "ecp192"),
    (TransformType::KeyExchange, 26, "ecp224"),
    (TransformType::KeyExchange, 28, "ecp256bp"),
    (TransformType::KeyExchange, 29, "ecp384bp"),
    (TransformType::KeyExchange, 30, "ecp512bp"),
    (TransformType::KeyExchange, 32, "x448"),
];
