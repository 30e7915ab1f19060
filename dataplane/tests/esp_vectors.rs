//! Whole ESP packets of suites for which the RFCs have no example.
//!
//! Origin: composed by the figures of the RFCs with `AESGCM`, `AESCCM` and `ChaCha20Poly1305` of pyca/cryptography 48.0 (OpenSSL), which
//! shares no code with what is tested here. SPI 0badcafe, keys and salt `01 02 03 ...`, the inner packet [`INNER`] padded by
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
use xvpn_dataplane::{AesKey, Discard, Suite};

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

/// RFC 4309 2 to 5, RFC 4106 3 to 6 with the shorter ICVs, RFC 8750 4.
const LEGACY: [Known; 30] = [
    Known {
        suite: Suite::AesCcm8(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007a65b5158d13bc5400af86359377140a438abd7afdd43ef2e9738e66d0a5fdc658f4632ab7903a83d",
    },
    Known {
        suite: Suite::AesCcm8(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000091234567800000009153535c420f3142ba9caeb369a063fba8142b6fb613e8e89b8459da594c2cdf1c07a268afcacf96d",
    },
    Known {
        suite: Suite::AesCcm8(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007aadba06df7b1a15ed14e7662bdb682f977bf0e0e7b50eec89b6ce26f14adbc9e3b17ba56e2659ee7",
    },
    Known {
        suite: Suite::AesCcm8(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe0000000700000000000000076c9e34033f90f869b64bc2c76ffbf84b48e5e8828bfb33b49c7ea358fe24b063c30092043e1d69fb",
    },
    Known {
        suite: Suite::AesCcm8(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe0000000912345678000000098543c2e28b7ae9b37603e2e85694b5fe70fa266f21a11f5e6f9f370482f46bf5ea31aa47a00e22e3",
    },
    Known {
        suite: Suite::AesCcm12(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007a65b5158d13bc5400af86359377140a438abd7afdd43ef2e9738e66d0a5fdc65ce72d609d11606b22910d22b",
    },
    Known {
        suite: Suite::AesCcm12(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000091234567800000009153535c420f3142ba9caeb369a063fba8142b6fb613e8e89b8459da594c2cdf16964632da80bab0596f31a66",
    },
    Known {
        suite: Suite::AesCcm12(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007aadba06df7b1a15ed14e7662bdb682f977bf0e0e7b50eec89b6ce26f14adbc9e153276bb7deee6f801223293",
    },
    Known {
        suite: Suite::AesCcm12(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe0000000700000000000000076c9e34033f90f869b64bc2c76ffbf84b48e5e8828bfb33b49c7ea358fe24b0637ee52c0a046aa07eeef72dc0",
    },
    Known {
        suite: Suite::AesCcm12(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe0000000912345678000000098543c2e28b7ae9b37603e2e85694b5fe70fa266f21a11f5e6f9f370482f46bf5a5f71e2b3525640c694b5372",
    },
    Known {
        suite: Suite::AesCcm16(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007a65b5158d13bc5400af86359377140a438abd7afdd43ef2e9738e66d0a5fdc65db437713b1043dc6daa017db0c2d5874",
    },
    Known {
        suite: Suite::AesCcm16(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000091234567800000009153535c420f3142ba9caeb369a063fba8142b6fb613e8e89b8459da594c2cdf14e404cfc8a06aed64fcbaef5152ec318",
    },
    Known {
        suite: Suite::AesCcm16(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007aadba06df7b1a15ed14e7662bdb682f977bf0e0e7b50eec89b6ce26f14adbc9e8da38b2bee0524246fff4825f300fa34",
    },
    Known {
        suite: Suite::AesCcm16(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe0000000700000000000000076c9e34033f90f869b64bc2c76ffbf84b48e5e8828bfb33b49c7ea358fe24b063cb4e405e44ebc43f4156679be93ec315",
    },
    Known {
        suite: Suite::AesCcm16(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe0000000912345678000000098543c2e28b7ae9b37603e2e85694b5fe70fa266f21a11f5e6f9f370482f46bf53388eee00b056273ab735b30e5c22129",
    },
    Known {
        suite: Suite::AesGcm8(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007911e1dd0e38ec0be5ef5300f19d11c79ba4f6133b7deecb13686b4a0bfff3ace59a72ff37b8290b2",
    },
    Known {
        suite: Suite::AesGcm8(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000091234567800000009763ace8478f4b72d936a945670ac7e27829bb57be79754be7efc9339837697f1fd507b66fc571a0b",
    },
    Known {
        suite: Suite::AesGcm8(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007fc1e3bcef3d753c3e4cf941c5ffa0c625d2298a2f322a8a284629d355f72cd510bd7c26c3b887e46",
    },
    Known {
        suite: Suite::AesGcm8(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007d30fecadad9d210390ed62434a6b09342492b03ac5bfb1eb93c135e8135ef70e7db8328b66caec99",
    },
    Known {
        suite: Suite::AesGcm8(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe0000000912345678000000094174f1985c0b6e2103cd49b06928b04f9e5de2e3f7e54677725896abd17eb566899420c868acb8b2",
    },
    Known {
        suite: Suite::AesGcm12(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007911e1dd0e38ec0be5ef5300f19d11c79ba4f6133b7deecb13686b4a0bfff3ace59a72ff37b8290b23d96b82f",
    },
    Known {
        suite: Suite::AesGcm12(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000091234567800000009763ace8478f4b72d936a945670ac7e27829bb57be79754be7efc9339837697f1fd507b66fc571a0b2b66673c",
    },
    Known {
        suite: Suite::AesGcm12(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007fc1e3bcef3d753c3e4cf941c5ffa0c625d2298a2f322a8a284629d355f72cd510bd7c26c3b887e464356cd2c",
    },
    Known {
        suite: Suite::AesGcm12(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000070000000000000007d30fecadad9d210390ed62434a6b09342492b03ac5bfb1eb93c135e8135ef70e7db8328b66caec997014d5a2",
    },
    Known {
        suite: Suite::AesGcm12(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe0000000912345678000000094174f1985c0b6e2103cd49b06928b04f9e5de2e3f7e54677725896abd17eb566899420c868acb8b26ccc209a",
    },
    Known {
        suite: Suite::AesCcm8Iiv(AesKey::Bits128),
        seq: 0x7,
        esn: false,
        esp: "0badcafe00000007a65b5158d13bc5400af86359377140a438abd7afdd43ef2e9738e66d0a5fdc658f4632ab7903a83d",
    },
    Known {
        suite: Suite::AesCcm8Iiv(AesKey::Bits128),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe00000009153535c420f3142ba9caeb369a063fba8142b6fb613e8e89b8459da594c2cdf1c07a268afcacf96d",
    },
    Known {
        suite: Suite::AesCcm8Iiv(AesKey::Bits192),
        seq: 0x7,
        esn: false,
        esp: "0badcafe00000007aadba06df7b1a15ed14e7662bdb682f977bf0e0e7b50eec89b6ce26f14adbc9e3b17ba56e2659ee7",
    },
    Known {
        suite: Suite::AesCcm8Iiv(AesKey::Bits256),
        seq: 0x7,
        esn: false,
        esp: "0badcafe000000076c9e34033f90f869b64bc2c76ffbf84b48e5e8828bfb33b49c7ea358fe24b063c30092043e1d69fb",
    },
    Known {
        suite: Suite::AesCcm8Iiv(AesKey::Bits256),
        seq: 0x1234_5678_0000_0009,
        esn: true,
        esp: "0badcafe000000098543c2e28b7ae9b37603e2e85694b5fe70fa266f21a11f5e6f9f370482f46bf5ea31aa47a00e22e3",
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

#[test]
fn ccm_and_short_icvs_are_as_openssl_composes_them() {
    seals_and_opens(&LEGACY);
}

/// A cut ICV that could be cut further would be none.
#[test]
fn an_icv_that_lacks_an_octet_opens_nothing() {
    for Known { suite, seq, esn, esp } in &LEGACY {
        let bob = InboundSa::after(&inbound_spec(*suite, *esn), seq - 1).unwrap();
        let whole = hex(esp);
        for cut in 1..=12 {
            let mut short = packet(&whole[..whole.len() - cut]);
            assert!(bob.open(&mut short).is_err(), "{suite:?} {cut}");
        }
        assert!(bob.open(&mut packet(&whole)).is_ok(), "{suite:?}");
    }
}

/// CCM verifies what it has decrypted already: nothing of it may stay behind.
#[test]
fn a_forged_packet_leaves_nothing_of_the_plaintext_behind() {
    for Known { suite, seq, esn, esp } in &LEGACY {
        let bob = InboundSa::after(&inbound_spec(*suite, *esn), seq - 1).unwrap();
        let mut forged = hex(esp);
        *forged.last_mut().unwrap() ^= 1;
        let mut forged = packet(&forged);
        assert_eq!(bob.open(&mut forged), Err(Discard::BadIcv), "{suite:?}");
        let inner = hex(INNER);
        let shown = forged
            .octets()
            .windows(8)
            .any(|octets| inner.windows(8).any(|part| part == octets));
        assert!(!shown, "{suite:?}");
    }
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
