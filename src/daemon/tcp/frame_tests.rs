use super::*;

/// All messages of a stream, received in pieces of this size.
fn read(mut decoder: Decoder, stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Broken>) {
    let mut found = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(match frame {
                    Frame::Ike(message) => [b"I", message].concat(),
                    Frame::Esp(packet) => [b"E", packet].concat(),
                    Frame::Silence => b"S".to_vec(),
                    Frame::Rubbish => b"R".to_vec(),
                }),
                Ok(None) => break,
                Err(broken) => return (found, Some(broken)),
            }
        }
    }
    (found, None)
}

fn responder() -> Decoder {
    Decoder::of_responder(LONGEST)
}

/// RFC 9329, figures 1, 2 and 3, and the keepalive of 6.6, octet by octet.
const STREAM: &[u8] = &[
    0x49, 0x4b, 0x45, 0x54, 0x43, 0x50, // "IKETCP"
    0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0xa1, 0xa2,
    0xa3, // length 9, non-ESP marker, three octets of IKE
    0x00, 0x0b, 0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x01,
    0xee, // length 11, SPI 12345678, sequence number 1, one octet
    0x00, 0x03, 0xff, // a NAT-keepalive
    0x00, 0x02, // an empty message
];

#[test]
fn reads_the_figures_of_the_rfc_in_pieces_of_any_size() {
    let expected: Vec<Vec<u8>> = vec![
        b"I\xa1\xa2\xa3".to_vec(),
        b"E\x12\x34\x56\x78\x00\x00\x00\x01\xee".to_vec(),
        b"S".to_vec(),
        b"S".to_vec(),
    ];
    for piece in 1..=STREAM.len() {
        assert_eq!(
            read(responder(), STREAM, piece),
            (expected.clone(), None),
            "{piece}"
        );
        assert_eq!(
            read(Decoder::of_originator(), &STREAM[6..], piece),
            (expected.clone(), None),
            "{piece}"
        );
    }
}

#[test]
fn writes_the_figures_of_the_rfc() {
    let mut out = PREFIX.to_vec();
    assert!(emit_ike(&mut out, &[0xa1, 0xa2, 0xa3]));
    assert!(emit_esp(&mut out, &[0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0xee]));
    assert_eq!(out, STREAM[..26]);
}

#[test]
fn half_a_prefix_is_waited_for_and_a_wrong_one_is_seen_at_once() {
    let mut decoder = responder();
    decoder.push(b"IKE");
    assert_eq!(decoder.next_frame(), Ok(None));
    assert!(decoder.awaits_prefix());
    decoder.push(b"TCP");
    assert_eq!(decoder.next_frame(), Ok(None));
    assert!(!decoder.awaits_prefix());
    for wrong in [&b"G"[..], b"IKEX", b"IKETCQ", b"\x16\x03\x01", b"iketcp"] {
        assert_eq!(read(responder(), wrong, 1).1, Some(Broken::Prefix), "{wrong:?}");
    }
}

#[test]
fn lengths_of_0_and_1_end_the_stream() {
    for length in [0, 1] {
        let stream = [&PREFIX[..], &[0, length], &[0; 40]].concat();
        assert_eq!(read(responder(), &stream, 7), (vec![], Some(Broken::Length)));
    }
}

#[test]
fn the_longest_length_is_read_and_no_longer_one_is_written() {
    let message = vec![7; LONGEST];
    let mut stream = PREFIX.to_vec();
    assert!(emit_esp(&mut stream, &message));
    assert_eq!(stream[6..8], [0xff, 0xff]);
    assert_eq!(
        read(responder(), &stream, 1448),
        (vec![[b"E", &message[..]].concat()], None)
    );
    let before = stream.len();
    assert!(!emit_esp(&mut stream, &vec![7; LONGEST + 1]));
    assert!(!emit_ike(&mut stream, &vec![7; LONGEST - 3]));
    assert_eq!(stream.len(), before, "half a message was written");
}

#[test]
fn a_stranger_may_not_send_what_only_a_known_peer_may() {
    let stream = [&PREFIX[..], &[0x20, 0x00], &[7; 0x1ffe]].concat();
    assert_eq!(
        read(Decoder::of_responder(4096), &stream, 9999).1,
        Some(Broken::TooLong)
    );
    let mut decoder = Decoder::of_responder(4096);
    decoder.trust();
    assert_eq!(read(decoder, &stream, 9999).0.len(), 1);
}

#[test]
fn what_is_shorter_than_an_spi_is_rubbish_and_ends_nothing() {
    let stream = [&PREFIX[..], &[0, 3, 0], &[0, 5, 0, 0, 0], &[0, 6, 0, 0, 0, 0]].concat();
    // The last is an IKE message of no octets, which IKE will judge.
    assert_eq!(
        read(responder(), &stream, 1).0,
        [b"R".to_vec(), b"R".to_vec(), b"I".to_vec()]
    );
}

/// A source of octets for what follows: the same ones in every run.
fn octets(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn whatever_is_written_is_read_again_however_it_was_cut() {
    for seed in 0..300 {
        let random = octets(seed, 64);
        let (mut stream, mut expected) = (PREFIX.to_vec(), Vec::new());
        for (number, octet) in random.iter().enumerate() {
            let mut message = octets(seed << 8 | number as u64, usize::from(*octet) * 11 + 4);
            if octet % 2 == 0 {
                assert!(emit_ike(&mut stream, &message));
                expected.push([b"I", &message[..]].concat());
            } else {
                // RFC 9329 3.2: an SPI is never zero.
                message[0] |= 1;
                assert!(emit_esp(&mut stream, &message));
                expected.push([b"E", &message[..]].concat());
            }
        }
        let piece = usize::from(random[0]) * 13 + 1;
        assert_eq!(read(responder(), &stream, piece), (expected, None), "seed {seed}");
    }
}

#[test]
fn any_octets_are_read_without_a_panic_and_with_bounded_memory() {
    for seed in 0..2000 {
        let mut stream = octets(seed, 4000);
        if seed % 2 == 0 {
            stream.splice(..0, PREFIX);
        }
        let mut decoder = Decoder::of_responder(2048);
        for piece in stream.chunks(usize::try_from(seed % 97).unwrap() + 1) {
            decoder.push(piece);
            let mut ended = false;
            while let Some(_frame) = decoder.next_frame().unwrap_or_else(|_| {
                ended = true;
                None
            }) {}
            assert!(decoder.received.len() <= 2048 + 2 + 97, "seed {seed}");
            if ended {
                break;
            }
        }
    }
}
