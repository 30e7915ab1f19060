//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// The ones' complement sum of `octets`, added to `sum`; an odd last octet is padded with zero.
pub fn add(sum: u32, octets: &[u8]) -> u32 {
    // RFC 1071 2(B): words may be added in the machine's order and the sum be swapped at the end; 2(C): and several at once,
    // which the compiler makes vector additions of. 64-bit lanes take 2^32 words without overflow.
    let (blocks, rest) = octets.as_chunks::<32>();
    let mut lanes = [0u64; 8];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let blocks = u16::from_be(fold(lanes.iter().sum()));
    let (words, odd) = rest.as_chunks::<2>();
    let last = odd.first().map_or(0, |octet| u64::from(*octet) << 8);
    let total = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum::<u64>()
        + last
        + u64::from(blocks)
        + u64::from(sum);
    u32::from(fold(total))
}

/// The checksum field of a header or message whose own field was zero in the sum.
pub fn finish(sum: u32) -> u16 {
    !fold(u64::from(sum))
}

/// The checksum after a 16-bit field went from `old` to `new` (RFC 1624 3, equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

fn fold(mut sum: u64) -> u16 {
    while let Err(_overflow) = u16::try_from(sum) {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        assert_eq!(
            finish(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])),
            !0xddf2
        );
    }

    #[test]
    fn updates_as_the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn any_length_sums_like_word_by_word(octets in proptest::collection::vec(any::<u8>(), 0..200), sum: u32) {
            let pairs = octets.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
            prop_assert_eq!(add(sum, &octets), u32::from(fold(pairs.sum::<u64>() + u64::from(sum))));
        }

        #[test]
        fn an_update_is_the_same_as_a_new_sum(mut octets in proptest::collection::vec(any::<u8>(), 4..64), new: u16) {
            // A message of all zeros has two representations of its sum; real headers are never all zeros.
            octets[0] |= 1;
            let old = u16::from_be_bytes([octets[2], octets[3]]);
            let before = finish(add(0, &octets));
            octets[2..4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), finish(add(0, &octets)));
        }
    }
}
