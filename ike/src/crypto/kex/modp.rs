//! The MODP groups: generator 2 modulo a safe prime (RFC 7296 B.2, RFC 3526). Constant-time, with short exponents.

use std::sync::LazyLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, Uint};
use zeroize::{Zeroize, Zeroizing};

use crate::api::Random;

#[derive(Clone, Copy)]
pub(super) enum Group {
    Modp1024,
    Modp2048,
    Modp3072,
    Modp4096,
}

pub(super) struct Private {
    group: Group,
    exponent: Zeroizing<U512>,
}

impl Group {
    /// Octets of a private exponent: at least twice the strength of the group (RFC 3526 8, second estimate).
    fn exponent_len(self) -> usize {
        match self {
            Self::Modp1024 | Self::Modp2048 => 40,
            Self::Modp3072 => 56,
            Self::Modp4096 => 64,
        }
    }

    /// base^exponent mod p, as wide as p; `None` unless 1 < base < p - 1.
    fn power(self, base: &[u8], exponent: &U512) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Modp1024 => power(&MODP_1024, base, exponent),
            Self::Modp2048 => power(&MODP_2048, base, exponent),
            Self::Modp3072 => power(&MODP_3072, base, exponent),
            Self::Modp4096 => power(&MODP_4096, base, exponent),
        }
    }

    /// The generator 2, as wide as p.
    fn generator(self) -> Vec<u8> {
        let width = match self {
            Self::Modp1024 => 128,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
        };
        let mut two = vec![0; width];
        if let Some(last) = two.last_mut() {
            *last = 2;
        }
        two
    }
}

pub(super) fn generate(group: Group, random: &mut dyn Random) -> (Private, Vec<u8>) {
    let mut octets = Zeroizing::new([0; EXPONENT_LEN]);
    let unused = EXPONENT_LEN.saturating_sub(group.exponent_len());
    let (_, used) = octets.split_at_mut(unused);
    random.fill(used);
    if let Some(first) = used.first_mut() {
        // The highest bit is always there, so that no exponent is small.
        *first |= 0x80;
    }
    let exponent = Zeroizing::new(U512::from_be_slice(octets.as_slice()));
    // The generator is in range, so there is always a power.
    let public = group
        .power(&group.generator(), &exponent)
        .map(|power| power.to_vec())
        .unwrap_or_default();
    (Private { group, exponent }, public)
}

pub(super) fn shared(private: &Private, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    private.group.power(peer_public, &private.exponent)
}

fn power<const LIMBS: usize>(
    params: &FixedMontyParams<LIMBS>,
    base: &[u8],
    exponent: &U512,
) -> Option<Zeroizing<Vec<u8>>> {
    if base.len() != Uint::<LIMBS>::BYTES {
        return None;
    }
    let base = Uint::<LIMBS>::from_be_slice(base);
    // RFC 6989 2.1: 1 < r < p - 1; with a safe prime that leaves out every small subgroup. Both are public.
    let highest = params.modulus().as_ref().wrapping_sub(&Uint::from_u8(2));
    if base <= Uint::ONE || base > highest {
        return None;
    }
    let mut power = FixedMontyForm::new(&base, params).pow(exponent);
    let mut plain = power.retrieve();
    let mut octets = plain.to_be_bytes();
    let shared = Zeroizing::new(octets.as_slice().to_vec());
    octets.zeroize();
    plain.zeroize();
    power.zeroize();
    Some(shared)
}

fn params<const LIMBS: usize>(prime: Uint<LIMBS>) -> FixedMontyParams<LIMBS> {
    // The lowest bit of each prime below is set, which is all that can be asked of a constant here.
    FixedMontyParams::new_vartime(Odd::new(prime | Uint::ONE).unwrap_or_default())
}

const EXPONENT_LEN: usize = 64;

/// RFC 7296 B.2.
static MODP_1024: LazyLock<FixedMontyParams<{ crypto_bigint::U1024::LIMBS }>> = LazyLock::new(|| {
    params(crypto_bigint::U1024::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
    )))
});

/// RFC 3526 3.
static MODP_2048: LazyLock<FixedMontyParams<{ crypto_bigint::U2048::LIMBS }>> = LazyLock::new(|| {
    params(crypto_bigint::U2048::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    )))
});

/// RFC 3526 4.
static MODP_3072: LazyLock<FixedMontyParams<{ crypto_bigint::U3072::LIMBS }>> = LazyLock::new(|| {
    params(crypto_bigint::U3072::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
        "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
        "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
        "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    )))
});

/// RFC 3526 5.
static MODP_4096: LazyLock<FixedMontyParams<{ crypto_bigint::U4096::LIMBS }>> = LazyLock::new(|| {
    params(crypto_bigint::U4096::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
        "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
        "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
        "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7",
        "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8",
        "DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2",
        "233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9",
        "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
    )))
});
