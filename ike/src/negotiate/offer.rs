//! Proposals and suites as SA payloads (RFC 7296 3.3).

use crate::api::Spi;
use crate::wire::payload::{Proposal, ProtocolId, SecurityAssociation, Transform};

use super::proposal::{EspProposal, IkeProposal};
use super::select::{ChosenEsp, ChosenIke};
use super::transform::{Encryption, Integrity, KeyExchangeMethod, Prf, TransformId, esn_transform};

/// Our offer for an IKE SA. `spi` is `None` in IKE_SA_INIT, where the header has it, and our new SPI when an
/// IKE SA is rekeyed (RFC 7296 3.3.1).
pub fn ike_offer(proposals: &[IkeProposal], spi: Option<u64>) -> SecurityAssociation {
    let proposals = proposals.iter().zip(1..=u8::MAX).map(|(ours, number)| Proposal {
        number,
        protocol: ProtocolId::IKE,
        spi: ike_spi(spi),
        transforms: (ours.encryption.iter().map(|e| Encryption::transform(*e)))
            .chain(ours.prf.iter().map(|p| Prf::transform(*p)))
            .chain(ours.integrity.iter().map(|i| Integrity::transform(*i)))
            .chain(ours.key_exchange.iter().map(|k| KeyExchangeMethod::transform(*k)))
            .chain(ours.additional.transforms())
            .map(to_wire)
            .collect(),
    });
    SecurityAssociation {
        proposals: proposals.collect(),
    }
}

/// Our offer for a CHILD SA with our SPI. In IKE_AUTH give [`EspProposal::without_key_exchange`].
pub fn esp_offer(proposals: &[EspProposal], spi: Spi) -> SecurityAssociation {
    let proposals = proposals.iter().zip(1..=u8::MAX).map(|(ours, number)| Proposal {
        number,
        protocol: ProtocolId::ESP,
        spi: spi.0.to_be_bytes().to_vec(),
        transforms: (ours.encryption.iter().map(|e| Encryption::transform(*e)))
            .chain(ours.integrity.iter().map(|i| Integrity::transform(*i)))
            .chain(ours.key_exchange.iter().map(|k| KeyExchangeMethod::transform(*k)))
            .chain(ours.additional.transforms())
            .chain(ours.esn.iter().map(|esn| esn_transform(*esn)))
            .map(to_wire)
            .collect(),
    });
    SecurityAssociation {
        proposals: proposals.collect(),
    }
}

/// Our answer: the suite we picked, under the number of the proposal it was in.
pub fn ike_answer(chosen: &ChosenIke, spi: Option<u64>) -> SecurityAssociation {
    let suite = &chosen.suite;
    let transforms = std::iter::once(suite.encryption.transform())
        .chain([suite.prf.transform()])
        .chain(suite.integrity.map(Integrity::transform))
        .chain([suite.key_exchange.transform()])
        .chain(chosen.additional.transforms())
        .map(to_wire)
        .collect();
    let answer = Proposal {
        number: chosen.number,
        protocol: ProtocolId::IKE,
        spi: ike_spi(spi),
        transforms,
    };
    SecurityAssociation {
        proposals: vec![answer],
    }
}

/// Our answer for a CHILD SA, with our SPI.
pub fn esp_answer(chosen: &ChosenEsp, spi: Spi) -> SecurityAssociation {
    let suite = &chosen.suite;
    let transforms = std::iter::once(suite.encryption.transform())
        .chain(suite.integrity.map(Integrity::transform))
        .chain(suite.key_exchange.map(KeyExchangeMethod::transform))
        .chain(chosen.additional.transforms())
        .chain([esn_transform(suite.esn)])
        .map(to_wire)
        .collect();
    let answer = Proposal {
        number: chosen.number,
        protocol: ProtocolId::ESP,
        spi: spi.0.to_be_bytes().to_vec(),
        transforms,
    };
    SecurityAssociation {
        proposals: vec![answer],
    }
}

fn ike_spi(spi: Option<u64>) -> Vec<u8> {
    spi.map(|spi| spi.to_be_bytes().to_vec()).unwrap_or_default()
}

fn to_wire(transform: TransformId) -> Transform {
    let kind = crate::wire::payload::TransformType(transform.kind);
    match transform.key_length {
        Some(bits) => Transform::with_key_length(kind, transform.id, bits),
        None => Transform::new(kind, transform.id),
    }
}
