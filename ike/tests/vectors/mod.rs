//! Published vectors, each file with its origin.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses some of them")]

pub mod keymat;
pub mod modp;
pub mod rfc3602;
pub mod rfc4231;
pub mod rfc5282;
pub mod rfc5903;
pub mod rfc7634;

use xvpn_ike::api::Random;

/// Octets of a hexadecimal text.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// "Randomness" that is given: octets from a list, over and over.
pub struct Given(std::iter::Cycle<std::vec::IntoIter<u8>>);

impl Given {
    pub fn new(octets: Vec<u8>) -> Self {
        Self(octets.into_iter().cycle())
    }
}

impl Random for Given {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| self.0.next().unwrap());
    }
}
