//! RFC 7634, appendix A (ESP) and appendix B (IKEv2).

/// Key and salt, of both.
pub const KEYMAT: &str = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3";
/// The IV, of both.
pub const IV: &str = "1011121314151617";
/// A: SPI and sequence number.
pub const ESP_AAD: &str = "0102030400000005";
/// A.
pub const ESP_PLAINTEXT: &str = concat!(
    "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b",
    "0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233",
    "3435363701020204",
);
/// A, ICV at the end.
pub const ESP_CIPHERTEXT: &str = concat!(
    "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb",
    "61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da",
    "9165b82829f641e076aaa8266b7fb0f7b11b369907e1ad43",
);
/// B: header and generic payload header.
pub const IKE_AAD: &str = "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029";
/// B.
pub const IKE_PLAINTEXT: &str = "0000000c000040010000000a00";
/// B, ICV at the end.
pub const IKE_CIPHERTEXT: &str = "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2";
/// B: the whole message.
pub const IKE_MESSAGE: &str = concat!(
    "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e2025000000000900000045290000291011121314151617",
    "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2",
);
