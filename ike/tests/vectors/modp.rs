//! MODP: computed with Python's `pow`. The exponents are runs of octets (5a.. for Alice, a5.. for Bob), their highest bit
//! set as our key pairs do; the results are given by their SHA-256.

/// Bits, octets of exponent, SHA-256 of Alice's public value, of Bob's, of the shared secret.
pub const MODP: [(u32, usize, [&str; 3]); 4] = [
    (
        1024,
        40,
        [
            "e8e53859bd73189a95e2d97e89baa7c97d1e1448a51679b666ad5f29c98dc169",
            "f995f076af9a49c5cd7d26276f193bbad015431ea8c1840abd692dc3ec1cba2b",
            "7c312c9e43acae4080858313b2411ccabe8191bc390fd11b687a84aaffec562f",
        ],
    ),
    (
        2048,
        40,
        [
            "59e4f6335db059b4ef44694408c251be319eddb05bef682b8e101090f8df672c",
            "4c26cc80a146dd3256d8d05cced1995c8554de0d52a7e6910ee898f231598b0d",
            "4d96efdd0a44929c96a7d3a1e291b2928872075b38e7be103745aa93629e1cd2",
        ],
    ),
    (
        3072,
        56,
        [
            "68d46bbae2c64dafd31209546ecdab123e15399dfc608c2cc426623db961c9a5",
            "a2cf53d583cd1b8f2a0d5a4091c465ac20a1663ada2c96328f5b4a7f25f1b38c",
            "52aae900d1b60359cab62ed25bd045e5f9d765defd48cb3fec49b82b1786a154",
        ],
    ),
    (
        4096,
        64,
        [
            "bf6766d7ef5a8a773cb797ef295c6364f102a7d955ebba3c23c07f2ce0040d07",
            "41f7f779c2a87a583bc5745b93dac02fd8a2b2b712005ace7b22f6be8459af36",
            "4ef586e479311e39de52d0b60c5b26f836710be8d1590c34665778b3bc061c96",
        ],
    ),
];
