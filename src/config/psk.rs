//! What a pre-shared key is made of, and whether it would withstand guessing.

use zeroize::Zeroizing;

use super::defaults;
use super::diagnostic::{Diagnostic, Report};
use super::source::Span;

/// Without line ends, which editors and `echo` leave behind.
pub(super) fn trim(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// The octets that IKE uses. `0x` hexadecimal and `0s` base64 as strongSwan and Openswan read them; all else as it is.
pub(super) fn decode(text: &str, span: &Span, out: &mut Report) -> Option<Zeroizing<Vec<u8>>> {
    let (octets, what) = if let Some(digits) = text.strip_prefix("0x") {
        (
            hexadecimal(digits),
            "0x, but not by an even number of hexadecimal digits",
        )
    } else if let Some(letters) = text.strip_prefix("0s") {
        (base64(letters), "0s, but not by base64")
    } else {
        (Some(Zeroizing::new(text.as_bytes().to_vec())), "")
    };
    match octets {
        Some(octets) if !octets.is_empty() => return Some(octets),
        Some(_) => {
            let remedy = "make one with `xvpn genpsk` and give it to both sides";
            out.push(
                Diagnostic::error("psk-empty", "the pre-shared key is empty", remedy)
                    .at(span, "nothing there"),
            );
        }
        None => {
            let title = format!("the pre-shared key begins with {what}");
            let remedy = "correct the digits, or choose a key that does not begin with 0x or 0s";
            out.push(Diagnostic::error("psk-encoding", title, remedy).at(span, "this key"));
        }
    }
    None
}

fn hexadecimal(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        let digit = |at: usize| pair.get(at).and_then(|&c| char::from(c).to_digit(16));
        octets.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
    }
    Some(octets)
}

/// RFC 4648 4, padding optional.
fn base64(letters: &str) -> Option<Zeroizing<Vec<u8>>> {
    let letters = letters.trim_end_matches('=');
    let mut octets = Zeroizing::new(Vec::with_capacity(letters.len() * 3 / 4 + 1));
    let (mut bits, mut count) = (0u32, 0u32);
    for letter in letters.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    // Six left-over bits are a letter too many.
    (count < 6).then_some(octets)
}

/// Why a key would not withstand guessing, without telling anything of it.
pub(super) fn weakness(text: &str, octets: &[u8]) -> Option<String> {
    let encoded = octets != text.as_bytes();
    if encoded && octets.len() < defaults::PSK_MIN_OCTETS {
        return Some(format!(
            "{} octets; at least {} are needed",
            octets.len(),
            defaults::PSK_MIN_OCTETS
        ));
    }
    let characters = text.chars().count();
    if !encoded && characters < defaults::PSK_MIN_CHARACTERS {
        return Some(format!(
            "{characters} characters; at least {} are needed",
            defaults::PSK_MIN_CHARACTERS
        ));
    }
    let lower = Zeroizing::new(text.to_lowercase());
    if !encoded
        && text.len() < 2 * defaults::PSK_MIN_CHARACTERS
        && WORDS.iter().any(|word| lower.contains(word))
    {
        return Some("contains a word that every list of passwords has".to_owned());
    }
    let variety = (0..=u8::MAX).filter(|octet| octets.contains(octet)).count();
    if variety < defaults::PSK_MIN_VARIETY {
        return Some("the same few characters again and again".to_owned());
    }
    let repeats = (1..=octets.len() / 2)
        .any(|period| octets.iter().zip(octets.iter().skip(period)).all(|(a, b)| a == b));
    if repeats {
        return Some("the same piece again and again".to_owned());
    }
    let steps = octets
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.abs_diff(*b) <= 1))
        .count();
    (steps * 4 >= octets.len() * 3).then(|| "runs along the keyboard or the alphabet".to_owned())
}

const WORDS: [&str; 14] = [
    "password",
    "passwort",
    "passw0rd",
    "p@ssw0rd",
    "secret",
    "changeme",
    "change-me",
    "qwerty",
    "letmein",
    "12345678",
    "abcdefgh",
    "example",
    "welcome",
    "sharedkey",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_and_base64_as_other_gateways_do() {
        assert_eq!(hexadecimal("00fF").unwrap().as_slice(), [0, 255]);
        assert!(hexadecimal("0").is_none());
        assert!(hexadecimal("zz").is_none());
        assert!(hexadecimal("é").is_none());
        // RFC 4648 10.
        for (letters, text) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmE", "fooba"),
            ("", ""),
        ] {
            assert_eq!(base64(letters).unwrap().as_slice(), text.as_bytes(), "{letters}");
        }
        assert!(base64("Zm9v!").is_none());
        assert!(base64("Zm9vA").is_none());
    }

    #[test]
    fn calls_weak_keys_weak_and_random_keys_not() {
        let weak = |text: &str| weakness(text, text.as_bytes()).is_some();
        assert!(weak("short-9Xk2"));
        assert!(weak("MyPassword-of-2026-is-long"));
        assert!(weak("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        assert!(weak("a1B2c3D4e5a1B2c3D4e5a1B2c3D4e5"));
        assert!(weak("bcdefghijklmnopqrstuvwxyz"));
        assert!(!weak("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6"));
        assert!(weakness("0x0102", &[1, 2]).is_some());
        let octets: Vec<u8> = (0..32u8).map(|n| n.wrapping_mul(71)).collect();
        assert!(weakness("0x…", &octets).is_none());
    }
}
