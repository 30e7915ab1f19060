//! Padding, pad length and next header (RFC 4303 2.4 to 2.6).

use super::layout::TRAILER;
use crate::discard::Discard;

/// Writes the default padding 1, 2, 3, ..., its length and the next header over the whole of `tail`.
pub(crate) fn emit(tail: &mut [u8], next_header: u8) {
    let Some((padding, trailer)) = tail
        .len()
        .checked_sub(TRAILER)
        .and_then(|at| tail.split_at_mut_checked(at))
    else {
        return;
    };
    for (octet, value) in padding.iter_mut().zip(1..=u8::MAX) {
        *octet = value;
    }
    // The caller pads to a block of at most 16 octets.
    let len = u8::try_from(padding.len()).unwrap_or(u8::MAX);
    trailer.copy_from_slice(&[len, next_header]);
}

/// The length of what was carried and its next header, from a decrypted payload with its trailer.
pub(crate) fn parse(payload: &[u8]) -> Result<(usize, u8), Discard> {
    let (padded, trailer) = payload.split_last_chunk::<TRAILER>().ok_or(Discard::BadPadding)?;
    let [pad_len, next_header] = *trailer;
    let len = padded
        .len()
        .checked_sub(usize::from(pad_len))
        .ok_or(Discard::BadPadding)?;
    // RFC 4303 2.6: a dummy packet may hold anything, it is only to be dropped.
    if next_header == NO_NEXT_HEADER {
        return Err(Discard::DummyPacket);
    }
    // RFC 4303 2.4: the receiver SHOULD inspect it.
    let padding = padded.get(len..).unwrap_or_default();
    if padding
        .iter()
        .zip(1..=u8::MAX)
        .any(|(octet, value)| *octet != value)
    {
        return Err(Discard::BadPadding);
    }
    Ok((len, next_header))
}

/// Next header of a dummy packet (RFC 4303 2.6).
pub const NO_NEXT_HEADER: u8 = 59;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_for_every_length() {
        for pad in 0..=255_usize {
            let mut payload = vec![0xaa; 20 + pad + 2];
            emit(&mut payload[20..], 4);
            assert_eq!(parse(&payload), Ok((20, 4)), "{pad}");
        }
    }

    #[test]
    fn refuses_padding_that_does_not_count_up() {
        let mut payload = [0xaa, 1, 2, 3, 3, 4];
        assert_eq!(parse(&payload), Ok((1, 4)));
        payload[2] = 0;
        assert_eq!(parse(&payload), Err(Discard::BadPadding));
    }

    #[test]
    fn refuses_padding_longer_than_the_payload() {
        assert_eq!(parse(&[1, 2, 3, 4]), Err(Discard::BadPadding));
        assert_eq!(parse(&[4]), Err(Discard::BadPadding));
        assert_eq!(parse(&[]), Err(Discard::BadPadding));
    }

    #[test]
    fn knows_a_dummy_packet_whatever_its_padding() {
        assert_eq!(parse(&[9, 9, 9, 2, NO_NEXT_HEADER]), Err(Discard::DummyPacket));
    }
}
