//! SK payloads of the ciphers for old peers, for which RFC 5282 has no example.
//!
//! Origin: `AESCCM` and the GCM mode of pyca/cryptography 48.0 (OpenSSL), the latter's tag cut. SK_e is `01 02 03 ...`, key and
//! then salt; the IV `51 52 53 ...`; the associated data the 32 octets `a0 a1 a2 ...`.

use xvpn_ike::negotiate::transform::{AesKey, Encryption};

pub const PLAINTEXT: &[u8] = b"sixteen octets!!and some more of them\0\0";

pub const SEALED: [(Encryption, &str); 15] = [
    (
        Encryption::AesCcm8(AesKey::Bits128),
        "30a53717118006d211a1a1f0a4512fad0dd7379f6527de248e95e9ae1ddd09372f3d6f6f54639b0a5b7a92c2f512a2",
    ),
    (
        Encryption::AesCcm8(AesKey::Bits192),
        "06b7ee261e9d9fb65d3f0b0f368bfa022d698f8c66afd19ae73a88eb6b5dd56f66fb5e1edcbfb0d53a92ee9cac5c5f",
    ),
    (
        Encryption::AesCcm8(AesKey::Bits256),
        "cbee772c2f0ccb21dec462edefaf023e26261244088233414025a4c99c059a94a04bccc562092df64ef40aab4d2d47",
    ),
    (
        Encryption::AesCcm12(AesKey::Bits128),
        "30a53717118006d211a1a1f0a4512fad0dd7379f6527de248e95e9ae1ddd09372f3d6f6f54639b463b77d694f61d0ea19f6b43",
    ),
    (
        Encryption::AesCcm12(AesKey::Bits192),
        "06b7ee261e9d9fb65d3f0b0f368bfa022d698f8c66afd19ae73a88eb6b5dd56f66fb5e1edcbfb0fff3faadc834a9bb6a85cde1",
    ),
    (
        Encryption::AesCcm12(AesKey::Bits256),
        "cbee772c2f0ccb21dec462edefaf023e26261244088233414025a4c99c059a94a04bccc562092dc70a72a8aeb08d10db03994b",
    ),
    (
        Encryption::AesCcm16(AesKey::Bits128),
        "30a53717118006d211a1a1f0a4512fad0dd7379f6527de248e95e9ae1ddd09372f3d6f6f54639bb7bcdda00c69ce1092c33bc5ce1ed213",
    ),
    (
        Encryption::AesCcm16(AesKey::Bits192),
        "06b7ee261e9d9fb65d3f0b0f368bfa022d698f8c66afd19ae73a88eb6b5dd56f66fb5e1edcbfb0446cd52a64d04cc096c747751e76ff02",
    ),
    (
        Encryption::AesCcm16(AesKey::Bits256),
        "cbee772c2f0ccb21dec462edefaf023e26261244088233414025a4c99c059a94a04bccc562092d4e966c431acf2bbb7fd842ed6251e7e7",
    ),
    (
        Encryption::AesGcm8(AesKey::Bits128),
        "86b2d085727e329bc9ee6e11cfb26c965ae0317fc2322373624596b71ed3acf751b3ac61a29037e87819a46dc9b6d4",
    ),
    (
        Encryption::AesGcm8(AesKey::Bits192),
        "30b925c5feaa6a352588b5802eccc4825c8fbabeb71bce157e0dba8d7f6a0ec54a56ec022c82145d9fdeb2ecae4418",
    ),
    (
        Encryption::AesGcm8(AesKey::Bits256),
        "4a9935bcf2ace2f70523a4174b9efacffa8f23f64821544e758dbc2402fff77e13d19ad99e2ea928cd23ea84a52252",
    ),
    (
        Encryption::AesGcm12(AesKey::Bits128),
        "86b2d085727e329bc9ee6e11cfb26c965ae0317fc2322373624596b71ed3acf751b3ac61a29037e87819a46dc9b6d4d867d940",
    ),
    (
        Encryption::AesGcm12(AesKey::Bits192),
        "30b925c5feaa6a352588b5802eccc4825c8fbabeb71bce157e0dba8d7f6a0ec54a56ec022c82145d9fdeb2ecae4418c0156252",
    ),
    (
        Encryption::AesGcm12(AesKey::Bits256),
        "4a9935bcf2ace2f70523a4174b9efacffa8f23f64821544e758dbc2402fff77e13d19ad99e2ea928cd23ea84a522520ef80dec",
    ),
];
