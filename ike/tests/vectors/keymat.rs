//! Key derivation: computed with Python's `hmac` from the formulas of RFC 7296 2.13 to 2.18.
//! g^ir is 32 octets of 11, Ni 32 of 22, Nr 32 of 33, SPIi 0102030405060708, SPIr 1112131415161718.

/// aes256-sha256-prfsha256: SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr.
pub const AES256_SHA256: [&str; 7] = [
    "9038e1aeae29e51301cddc7b47d464d4e164eb9c9548e089df7102190ed2a83a",
    "aaf77e1d7ac5c69e94724a54699ef74e162c8413f4b77423e5e48615fc65f4c7",
    "90e9ff375ff31df945106b351feff34f2d46846039b65f9c2adf8c27b8b3b67b",
    "31e32fe99ec507148c1ba69e7fdcf6ec28356b7c0c0f6d72efd24d0080c5539d",
    "b8f69c57ee799af3f8f7bbf5be27169c2a9cf6d13c57f57c1b4d03b93deaf0ab",
    "ba67e325752ee8ec363c6ee9f5d0aad68907ecfcedfad457c98862da11b799be",
    "c0c22baa3228e2efdc577e4d8514bc7133ed7421e179e28fe5380636deb1a0e0",
];

/// aes256gcm16-prfsha384, the same order.
pub const AES256GCM_SHA384: [&str; 7] = [
    concat!(
        "311aa25699bcb355f74fa7de387a9612eb049cf2cd03f85253ad2b8e220bd74ea3b5cfac0dbf31f4",
        "25afea07f113b913",
    ),
    "",
    "",
    "f6003de55bde8901d71d23527fec21680c8a345b99f31831a2166484985c2c6bb93f86c1",
    "3724d50e2bf25b6cbef840283ae12ecb3decbeb598d27ff9ae0378ec5a102a3c2142915c",
    concat!(
        "2c90856e2f6f459028156247104f94c6de0b42b859b9cff7d6cf3bc3791d5dd15017559369202d05",
        "f37a1636cea3f218",
    ),
    concat!(
        "0578dfffee282712bcba95c8e08ad17095fba83278b27a5cabcd1c4e46034544ec1308fd70fa68b8",
        "1f52146d0e2c6460",
    ),
];

/// The first one rekeyed to the second: SKEYSEED with the old PRF, the rest with the new one.
pub const REKEYED: [&str; 7] = [
    concat!(
        "4a93c5b9902282672ba79cf2445cd8d325c9562702b50f4599770377b50b58c6e6cc354117131d7f",
        "b4e4445893b45716",
    ),
    "",
    "",
    "535dccafc65068bacbab261eb8d04660d151797dfb8db001f1864b9cd4673dd5ac7ffdb6",
    "3c56f0a285396a6af46dc7c8131917ed0da5dde84e1ed7b90b0fd3997ea90f5861821c29",
    concat!(
        "624020eb2e0588d89ccd34df4e29111a816b3b0e40909b7e3cc757435d450d90e9db83ff449285f4",
        "e6b54b669b19ce17",
    ),
    concat!(
        "6886b09ad820ca17347d8db65d0b2c81222cb3fc32c5120fbf4df1a59fd76382cd16a03ba7185df6",
        "a000e1fe1a1ef1b6",
    ),
];

/// A CHILD SA of the first one, aes128-sha1: encryption and integrity from the initiator, then from the responder.
pub const CHILD: [&str; 4] = [
    "4e3c8abe43e2d6960f32cf19b2fc6e76",
    "26c7d00b52214f1df1af5736147142caa1c28efc",
    "9b9eb78403a9d630366cf7f56448a2b0",
    "58850370da19649a0b2277a88514eaa169119cf5",
];

/// A CHILD SA of the first one with g^ir, aes256gcm16: from the initiator, from the responder.
pub const CHILD_PFS: [&str; 2] = [
    "a468d0417184f9800fb4e940522552f02f774f7119f0f363716906f9760b12850cab0151",
    "fc5e7e1e9a25b0ef44376c1add97bfb2cb62694e1a75afa77191cfcdc2cd8039c703bfbb",
];

/// AUTH of the initiator of the first one: psk `secret`, first message `IKE_SA_INIT`, identity fqdn gw.example.org.
pub const AUTH: &str = "60b307909915ac7b8cc085cd908c57cd439cddae4914e8de7e507523878121ea";
