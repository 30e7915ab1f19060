//! `xvpn genpsk`: a pre-shared key that nobody guesses and every gateway takes.

use std::io::Write;

use zeroize::Zeroizing;

use super::{Exit, complain};

pub(super) fn genpsk() -> Exit {
    let key = match generate() {
        Ok(key) => key,
        Err(error) => {
            complain(
                &format!("the system gives no random octets: {error}"),
                "check that /dev/urandom exists",
            );
            return Exit::Failed;
        }
    };
    let line = Zeroizing::new(format!("{}\n", key.as_str()));
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => Exit::Success,
        Err(error) => {
            complain(&format!("cannot print the key: {error}"), "");
            Exit::Failed
        }
    }
}

/// Letters and digits only, as AWS demands (8 to 64 of them, `.` and `_`, not beginning with 0): every gateway takes them,
/// and no shell, template or URL needs quotes for them. 44 of 62 are 261 bits.
fn generate() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut key = Zeroizing::new(String::with_capacity(LENGTH));
    let mut octets = Zeroizing::new([0u8; 64]);
    while key.len() < LENGTH {
        getrandom::fill(octets.as_mut_slice())?;
        for octet in octets.iter() {
            // Six bits; 62 and 63 are thrown away rather than folded, so that no letter is likelier than another.
            let Some(&letter) = ALPHABET.get(usize::from(octet & 63)) else {
                continue;
            };
            let leading_zero = key.is_empty() && letter == b'0';
            if key.len() < LENGTH && !leading_zero {
                key.push(char::from(letter));
            }
        }
    }
    Ok(key)
}

const LENGTH: usize = 44;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_keys_of_letters_and_digits_that_differ() {
        let keys: Vec<_> = (0..200).map(|_| generate().unwrap()).collect();
        for key in &keys {
            assert_eq!(key.len(), LENGTH);
            assert!(key.bytes().all(|c| c.is_ascii_alphanumeric()) && !key.starts_with('0'));
        }
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
