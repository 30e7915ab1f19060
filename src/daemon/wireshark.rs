//! Keys as rows of Wireshark's tables. Its names of algorithms are exact: a table with a name that it does not know is
//! not read at all, so what some Wireshark does not know becomes a comment.

use std::fmt::Write;

use xvpn_ike::api::{ChildSaKeys, ExportedKeys, IkeSaKeys};
use xvpn_ike::negotiate::transform::{AesKey, Encryption, Integrity};

use crate::admin::keys::{KeyRow, KeyTable, Row};

/// The row for the keys of one SA.
pub fn row(keys: &ExportedKeys) -> KeyRow {
    match keys {
        ExportedKeys::Ike(keys) => KeyRow {
            table: KeyTable::Ike,
            row: ike_row(keys),
        },
        ExportedKeys::Child(keys) => KeyRow {
            table: KeyTable::Esp,
            row: esp_row(keys),
        },
    }
}

/// `SPIi,SPIr,SK_ei,SK_er,"encryption",SK_ai,SK_ar,"integrity"`, all numbers hexadecimal.
fn ike_row(keys: &IkeSaKeys) -> Row {
    let (spi_i, spi_r) = (keys.spi_i, keys.spi_r);
    let Some(encryption) = ike_encryption(keys.encryption) else {
        return Row::new(format!(
            "# {spi_i:016x},{spi_r:016x}: Wireshark cannot decrypt IKE messages with {}",
            keys.encryption.names().first().unwrap_or(&"this cipher")
        ));
    };
    // Room for all of it at once: what is moved leaves a copy behind.
    let mut text = String::with_capacity(LONGEST);
    let _ = write!(text, "{spi_i:016x},{spi_r:016x},");
    hex(&mut text, &keys.initiator.encryption);
    text.push(',');
    hex(&mut text, &keys.responder.encryption);
    let _ = write!(text, ",\"{encryption}\",");
    hex(&mut text, &keys.initiator.integrity);
    text.push(',');
    hex(&mut text, &keys.responder.integrity);
    let _ = write!(text, ",\"{}\"", ike_integrity(keys.integrity));
    Row::new(text)
}

/// `"IPv4","source","destination","0xSPI","encryption","0xkey","integrity","0xkey"`.
///
/// Any source and destination: where the capture was made, a NAT may show others than we see, and they may move.
fn esp_row(keys: &ChildSaKeys) -> Row {
    let family = if keys.path.remote.is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let Some((encryption, since)) = esp_encryption(keys.suite.encryption) else {
        return Row::new(format!(
            "# 0x{:08x}: Wireshark cannot decrypt ESP with {}; to read it, name another cipher in esp_proposals, such as \
             aes256gcm16",
            keys.spi.0, keys.suite.encryption
        ));
    };
    let mut text = String::with_capacity(LONGEST);
    match since {
        Since::Always => {}
        Since::Newer => text.push_str("# only for a Wireshark that knows this cipher: #"),
    }
    let _ = write!(
        text,
        "\"{family}\",\"*\",\"*\",\"0x{:08x}\",\"{encryption}\",\"0x",
        keys.spi.0
    );
    hex(&mut text, &keys.keys.encryption);
    let _ = write!(text, "\",\"{}\",\"", esp_integrity(keys.suite.integrity));
    if keys.suite.integrity.is_some() {
        text.push_str("0x");
        hex(&mut text, &keys.keys.integrity);
    }
    text.push('"');
    Row::new(text)
}

fn hex(text: &mut String, octets: &[u8]) {
    for octet in octets {
        // To write into a string does not fail.
        let _ = write!(text, "{octet:02x}");
    }
}

/// Since when Wireshark knows a name.
enum Since {
    /// Every Wireshark of Debian 12 and later (4.0).
    Always,
    /// Not that one.
    Newer,
}

fn ike_encryption(encryption: Encryption) -> Option<&'static str> {
    match encryption {
        Encryption::AesCbc128 => Some("AES-CBC-128 [RFC3602]"),
        Encryption::AesCbc256 => Some("AES-CBC-256 [RFC3602]"),
        Encryption::AesGcm16_128 => Some("AES-GCM-128 with 16 octet ICV [RFC5282]"),
        Encryption::AesGcm16_256 => Some("AES-GCM-256 with 16 octet ICV [RFC5282]"),
        Encryption::AesCcm8(key) => Some(match key {
            AesKey::Bits128 => "AES-CCM-128 with 8 octet ICV [RFC5282]",
            AesKey::Bits192 => "AES-CCM-192 with 8 octet ICV [RFC5282]",
            AesKey::Bits256 => "AES-CCM-256 with 8 octet ICV [RFC5282]",
        }),
        Encryption::AesCcm12(key) => Some(match key {
            AesKey::Bits128 => "AES-CCM-128 with 12 octet ICV [RFC5282]",
            AesKey::Bits192 => "AES-CCM-192 with 12 octet ICV [RFC5282]",
            AesKey::Bits256 => "AES-CCM-256 with 12 octet ICV [RFC5282]",
        }),
        Encryption::AesCcm16(key) => Some(match key {
            AesKey::Bits128 => "AES-CCM-128 with 16 octet ICV [RFC5282]",
            AesKey::Bits192 => "AES-CCM-192 with 16 octet ICV [RFC5282]",
            AesKey::Bits256 => "AES-CCM-256 with 16 octet ICV [RFC5282]",
        }),
        Encryption::AesGcm8(key) => Some(match key {
            AesKey::Bits128 => "AES-GCM-128 with 8 octet ICV [RFC5282]",
            AesKey::Bits192 => "AES-GCM-192 with 8 octet ICV [RFC5282]",
            AesKey::Bits256 => "AES-GCM-256 with 8 octet ICV [RFC5282]",
        }),
        Encryption::AesGcm12(key) => Some(match key {
            AesKey::Bits128 => "AES-GCM-128 with 12 octet ICV [RFC5282]",
            AesKey::Bits192 => "AES-GCM-192 with 12 octet ICV [RFC5282]",
            AesKey::Bits256 => "AES-GCM-256 with 12 octet ICV [RFC5282]",
        }),
        Encryption::ChaCha20Poly1305
        // These are for ESP only.
        | Encryption::AesGcm16Iiv128
        | Encryption::AesGcm16Iiv256
        | Encryption::ChaCha20Poly1305Iiv
        | Encryption::AesCcm8Iiv(_) => None,
    }
}

fn ike_integrity(integrity: Option<Integrity>) -> &'static str {
    match integrity {
        None => "NONE [RFC4306]",
        Some(Integrity::HmacSha1_96) => "HMAC_SHA1_96 [RFC2404]",
        Some(Integrity::HmacSha2_256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integrity::HmacSha2_384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integrity::HmacSha2_512_256) => "HMAC_SHA2_512_256 [RFC4868]",
    }
}

fn esp_encryption(encryption: Encryption) -> Option<(&'static str, Since)> {
    match encryption {
        Encryption::AesCbc128 | Encryption::AesCbc256 => Some(("AES-CBC [RFC3602]", Since::Always)),
        Encryption::AesGcm16_128 | Encryption::AesGcm16_256 => {
            Some(("AES-GCM with 16 octet ICV [RFC4106]", Since::Always))
        }
        Encryption::ChaCha20Poly1305 => Some(("ChaCha20 with Poly1305 [RFC7634]", Since::Newer)),
        Encryption::AesGcm8(_) => Some(("AES-GCM with 8 octet ICV [RFC4106]", Since::Always)),
        Encryption::AesGcm12(_) => Some(("AES-GCM with 12 octet ICV [RFC4106]", Since::Always)),
        // It has no name for CCM in ESP.
        Encryption::AesCcm8(_) | Encryption::AesCcm12(_) | Encryption::AesCcm16(_) => None,
        Encryption::AesGcm16Iiv128
        | Encryption::AesGcm16Iiv256
        | Encryption::ChaCha20Poly1305Iiv
        | Encryption::AesCcm8Iiv(_) => None,
    }
}

fn esp_integrity(integrity: Option<Integrity>) -> &'static str {
    match integrity {
        None => "NULL",
        Some(Integrity::HmacSha1_96) => "HMAC-SHA-1-96 [RFC2404]",
        Some(Integrity::HmacSha2_256_128) => "HMAC-SHA-256-128 [RFC4868]",
        Some(Integrity::HmacSha2_384_192) => "HMAC-SHA-384-192 [RFC4868]",
        Some(Integrity::HmacSha2_512_256) => "HMAC-SHA-512-256 [RFC4868]",
    }
}

/// No row is longer.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use xvpn_ike::api::{ChildSuite, Direction, Path, SaKeys, Spi};
    use zeroize::Zeroizing;

    use super::*;

    fn keys(octet: u8, encryption: usize, integrity: usize) -> SaKeys {
        SaKeys {
            encryption: Zeroizing::new(vec![octet; encryption]),
            integrity: Zeroizing::new(vec![octet; integrity]),
        }
    }

    fn ike(encryption: Encryption, integrity: Option<Integrity>) -> String {
        let len = integrity.map_or(0, Integrity::key_len);
        let keys = IkeSaKeys {
            spi_i: 0x0102_0304_0506_0708,
            spi_r: 9,
            encryption,
            integrity,
            initiator: keys(0xaa, encryption.key_len(), len),
            responder: keys(0xbb, encryption.key_len(), len),
        };
        row(&ExportedKeys::Ike(keys)).row.expose().to_owned()
    }

    fn esp(remote: &str, encryption: Encryption, integrity: Option<Integrity>) -> String {
        let len = integrity.map_or(0, Integrity::key_len);
        let keys = ChildSaKeys {
            direction: Direction::Inbound,
            spi: Spi(0xc0ff),
            suite: ChildSuite {
                encryption,
                integrity,
                esn: true,
            },
            keys: keys(0xcc, encryption.key_len(), len),
            path: Path {
                local: remote.parse().unwrap(),
                remote: remote.parse().unwrap(),
            },
        };
        row(&ExportedKeys::Child(keys)).row.expose().to_owned()
    }

    #[test]
    fn an_ike_sa_is_a_row_with_both_directions() {
        let (i, r) = ("aa".repeat(36), "bb".repeat(36));
        assert_eq!(
            ike(Encryption::AesGcm16_256, None),
            format!(
                "0102030405060708,0000000000000009,{i},{r},\"AES-GCM-256 with 16 octet ICV [RFC5282]\",,,\"NONE [RFC4306]\""
            )
        );
        let row = ike(Encryption::AesCbc128, Some(Integrity::HmacSha2_384_192));
        let (i, r) = ("aa".repeat(48), "bb".repeat(48));
        assert!(
            row.ends_with(&format!(
                ",\"AES-CBC-128 [RFC3602]\",{i},{r},\"HMAC_SHA2_384_192 [RFC4868]\""
            )),
            "{row}"
        );
    }

    #[test]
    fn a_child_sa_is_a_row_for_each_direction_by_the_family_outside() {
        let key = "cc".repeat(36);
        assert_eq!(
            esp("192.0.2.1:500", Encryption::AesGcm16_256, None),
            format!(
                "\"IPv4\",\"*\",\"*\",\"0x0000c0ff\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x{key}\",\"NULL\",\"\""
            )
        );
        let key = "cc".repeat(32);
        assert_eq!(
            esp(
                "[2001:db8::1]:500",
                Encryption::AesCbc256,
                Some(Integrity::HmacSha2_256_128)
            ),
            format!(
                "\"IPv6\",\"*\",\"*\",\"0x0000c0ff\",\"AES-CBC [RFC3602]\",\"0x{key}\",\"HMAC-SHA-256-128 [RFC4868]\",\"0x{key}\""
            )
        );
    }

    #[test]
    fn what_wireshark_may_not_know_is_a_comment_and_spoils_no_table() {
        let row = ike(Encryption::ChaCha20Poly1305, None);
        assert!(
            row.starts_with("# 0102030405060708,") && !row.contains("aaaa"),
            "{row}"
        );
        let row = esp("192.0.2.1:500", Encryption::ChaCha20Poly1305, None);
        assert!(
            row.starts_with("# ") && row.contains("\"ChaCha20 with Poly1305 [RFC7634]\""),
            "{row}"
        );
    }

    #[test]
    fn an_implicit_iv_is_a_comment_that_says_what_to_change() {
        let row = esp("192.0.2.1:500", Encryption::AesGcm16Iiv256, None);
        assert!(
            row.starts_with("# 0x0000c0ff: ")
                && row.contains("aes256gcm16iiv; to read it")
                && !row.contains("cccc"),
            "{row}"
        );
    }

    #[test]
    fn no_row_outgrows_its_room() {
        for encryption in Encryption::ALL {
            for integrity in Integrity::ALL {
                assert!(ike(encryption, Some(integrity)).len() <= LONGEST);
                assert!(esp("[2001:db8::1]:500", encryption, Some(integrity)).len() <= LONGEST);
            }
        }
    }
}
