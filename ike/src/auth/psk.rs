//! AUTH with a pre-shared key (RFC 7296 2.15).

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::signed::SignedOctets;
use super::verified::AuthVerified;
use crate::config::Secret;
use crate::negotiate::transform::Prf;

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// The peer's AUTH is not what the pre-shared key gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not have the same pre-shared key")]
pub struct AuthMismatch;

/// The Authentication Data of method 2, Shared Key Message Integrity Code.
pub fn authentication_data(prf: Prf, secret: &Secret, signed: SignedOctets<'_>) -> Zeroizing<Vec<u8>> {
    let key = prf.compute(secret.expose(), &[KEY_PAD]);
    let maced_id = prf.compute(signed.sk_p, &[signed.rest_of_id]);
    prf.compute(&key, &[signed.message, signed.nonce, &maced_id, signed.int_auth])
}

/// Compares the peer's Authentication Data with what it should be, in constant time.
pub fn verify(
    prf: Prf,
    secret: &Secret,
    signed: SignedOctets<'_>,
    received: &[u8],
) -> Result<AuthVerified, AuthMismatch> {
    let expected = authentication_data(prf, secret, signed);
    if bool::from(expected.as_slice().ct_eq(received)) {
        Ok(AuthVerified::new())
    } else {
        Err(AuthMismatch)
    }
}

/// Which of two keys, while one replaces the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// The key that stays.
    #[default]
    Current,
    /// The one that it replaces.
    Previous,
}

/// Compares the peer's Authentication Data with what each of the keys gives. The work is the same whichever fits, so that
/// nobody learns from its time which keys there are.
pub fn verify_either(
    prf: Prf,
    (secret, previous): (&Secret, Option<&Secret>),
    signed: SignedOctets<'_>,
    received: &[u8],
) -> Result<(AuthVerified, Generation), AuthMismatch> {
    let fits = |secret: &Secret| {
        authentication_data(prf, secret, signed)
            .as_slice()
            .ct_eq(received)
    };
    let current = fits(secret);
    let before = previous.map_or_else(|| Choice::from(0), fits);
    match (bool::from(current | before), bool::from(current)) {
        (false, _) => Err(AuthMismatch),
        (true, true) => Ok((AuthVerified::new(), Generation::Current)),
        (true, false) => Ok((AuthVerified::new(), Generation::Previous)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(message: &'static [u8]) -> SignedOctets<'static> {
        SignedOctets {
            message,
            nonce: &[7; 32],
            sk_p: &[9; 32],
            rest_of_id: &[2, 0, 0, 0, b'a'],
            int_auth: &[],
        }
    }

    #[test]
    fn accepts_either_of_two_keys_and_says_which() {
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let (new, old, other) = (secret("new"), secret("old"), secret("other"));
        let judge = |of: &Secret, previous: Option<&Secret>| {
            let data = authentication_data(Prf::HmacSha2_256, of, signed(b"init"));
            verify_either(Prf::HmacSha2_256, (&new, previous), signed(b"init"), &data).map(|(_, which)| which)
        };
        assert_eq!(judge(&new, Some(&old)), Ok(Generation::Current));
        assert_eq!(judge(&old, Some(&old)), Ok(Generation::Previous));
        assert_eq!(judge(&other, Some(&old)), Err(AuthMismatch));
        assert_eq!(judge(&new, None), Ok(Generation::Current));
        assert_eq!(judge(&old, None), Err(AuthMismatch));
    }

    #[test]
    fn accepts_the_same_secret_and_refuses_any_other_octet() {
        let secret = Secret::new(b"correct horse".to_vec());
        let data = authentication_data(Prf::HmacSha2_256, &secret, signed(b"init"));
        assert!(verify(Prf::HmacSha2_256, &secret, signed(b"init"), &data).is_ok());
        assert!(verify(Prf::HmacSha2_256, &secret, signed(b"Init"), &data).is_err());
        assert!(
            verify(
                Prf::HmacSha2_256,
                &Secret::new(b"wrong".to_vec()),
                signed(b"init"),
                &data
            )
            .is_err()
        );
        assert!(
            verify(
                Prf::HmacSha2_256,
                &secret,
                signed(b"init"),
                data.get(..31).unwrap()
            )
            .is_err()
        );
        assert!(verify(Prf::HmacSha2_256, &secret, signed(b"init"), &[]).is_err());
    }
}
