//! Whole ESP packets of suites for which the RFCs have no example.
//!
//! Origin: composed by the figures of the RFCs with `AESGCM` and `ChaCha20Poly1305` of pyca/cryptography 48.0 (OpenSSL), which shares
//! no code with what is tested here. SPI 0badcafe, keys and salt `01 02 03 ...`, the inner packet [`INNER`] padded by
//! 1, 2, ... to 4 octets, next header 4:
//!
//! ```text
//! nonce = salt | sequence number in 64 bits; aad = SPI | sequence number in 32 bits, or 64 with ESN
//! esp = SPI | lower 32 bits of the sequence number | encrypt(nonce, payload, aad)
//! ```

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use fixture::{hex, inbound_spec, outbound_spec, packet};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::{Discard, Suite};

struct Known {
    suite: Suite,
    seq: u64,
    esn: bool,
    esp: &'static str,
}

/// RFC 8750 4: figure 1 without ESN, figure 2 with it.
const IMPLICIT_IV: [Known; 6] = [
    Known {
        suite: Suite::AesGcm128Iiv,
        seq: 0x7,
        esn: false,
        esp: "0badcafe00000007911e1dd0e38ec0be5ef5300f19d11c79ba4f6133b7deecb13686b4a0bfff3ace59a72ff37b8290b23d96b82f6498117d",
    },
    Known {
        suite: Suite::AesGcm128Iiv,
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe00000009763ace8478f4b72d936a945670ac7e27829bb57be79754be7efc9339837697f1fd507b66fc571a0b2b66673cefb115ba",
    },
    Known {
        suite: Suite::AesGcm256Iiv,
        seq: 0x7,
        esn: false,
        esp: "0badcafe00000007d30fecadad9d210390ed62434a6b09342492b03ac5bfb1eb93c135e8135ef70e7db8328b66caec997014d5a208885449",
    },
    Known {
        suite: Suite::AesGcm256Iiv,
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000094174f1985c0b6e2103cd49b06928b04f9e5de2e3f7e54677725896abd17eb566899420c868acb8b26ccc209a9b0d6a59",
    },
    Known {
        suite: Suite::ChaCha20Poly1305Iiv,
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000078a5cca8fd96e07462b2410dc6534322171ea0ec8d20d6982e78175da309f096cbc26b615d07bd850bb54044543a55231",
    },
    Known {
        suite: Suite::ChaCha20Poly1305Iiv,
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe00000009d10d4e9f957a53909c2ddf0c42a07e4bf0954cdfe5cf26f30478cec10e253f0411e782f69d5c03b2021e4193a7f69055",
    },
];

fn seals_and_opens(known: &[Known]) {
    for Known { suite, seq, esn, esp } in known {
        let alice = OutboundSa::after(&outbound_spec(*suite, *esn), seq - 1).unwrap();
        let sealed = fixture::seal(&alice, &hex(INNER));
        assert_eq!(sealed.octets(), hex(esp), "{suite:?} {seq:x}");

        let bob = InboundSa::after(&inbound_spec(*suite, *esn), seq - 1).unwrap();
        let mut esp = packet(&hex(esp));
        assert_eq!(
            bob.open(&mut esp).map(|opened| opened.sequence),
            Ok(*seq),
            "{suite:?}"
        );
        assert_eq!(esp.octets(), hex(INNER));
    }
}

#[test]
fn an_implicit_iv_is_the_sequence_number_as_rfc_8750_draws_it() {
    seals_and_opens(&IMPLICIT_IV);
}

/// RFC 8750 4: the upper half is part of the IV although it is not sent.
#[test]
fn an_implicit_iv_of_another_upper_half_opens_nothing() {
    for Known { suite, seq, esn, esp } in IMPLICIT_IV.iter().filter(|known| known.esn) {
        let bob = InboundSa::after(&inbound_spec(*suite, *esn), seq - 1 + (1 << 32)).unwrap();
        assert_eq!(
            bob.open(&mut packet(&hex(esp))),
            Err(Discard::BadIcv),
            "{suite:?}"
        );
    }
}

/// UDP from 10.1.0.1 to 10.2.0.1.
const INNER: &str = "4500001d00010000401166cb0a0100010a02000103e807d00009000078";
