//! Sealing and opening the SK payload, with ciphers that are no ciphers: what is tested is the frame.

use proptest::collection::vec;
use proptest::prelude::*;
use xvpn_ike::message::{Informational, OpenError, Protect, open, seal};
use xvpn_ike::wire::payload::{Notify, NotifyType, VendorId};
use xvpn_ike::wire::{ExchangeType, Fault, Flags, Header, IkeSpi, NotAuthentic, PayloadType, Payloads};

/// "Encrypts" by inverting every octet; its ICV is a sum over everything it must cover.
struct Toy {
    iv: usize,
    icv: usize,
    block: usize,
}

/// Shaped like AES-GCM-16: RFC 5282.
const AEAD: Toy = Toy {
    iv: 8,
    icv: 16,
    block: 1,
};
/// Shaped like AES-CBC with HMAC-SHA2-256-128.
const CBC: Toy = Toy {
    iv: 16,
    icv: 16,
    block: 16,
};

impl Toy {
    fn icv(&self, parts: [&[u8]; 3]) -> Vec<u8> {
        let sum = parts.iter().copied().flatten().fold(0u64, |sum, octet| {
            sum.wrapping_mul(0x100_0000_01b3)
                .wrapping_add(u64::from(*octet))
                .wrapping_add(1)
        });
        sum.to_be_bytes().repeat(8)[..self.icv].to_vec()
    }
}

impl Protect for Toy {
    fn iv_len(&self) -> usize {
        self.iv
    }

    fn icv_len(&self) -> usize {
        self.icv
    }

    fn block_len(&self) -> usize {
        self.block
    }

    fn seal(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>) {
        assert_eq!((iv.len(), text.len() % self.block), (self.iv, 0));
        text.iter_mut().for_each(|octet| *octet = !*octet);
        let icv = self.icv([aad, iv, text]);
        text.extend(icv);
    }

    fn open(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Result<usize, NotAuthentic> {
        let (sealed, icv) = text.split_at_mut(text.len() - self.icv);
        if self.icv([aad, iv, sealed]) != icv {
            return Err(NotAuthentic);
        }
        sealed.iter_mut().for_each(|octet| *octet = !*octet);
        Ok(sealed.len())
    }
}

fn header() -> Header {
    Header {
        initiator_spi: IkeSpi(0xa11c_e000_0000_0001),
        responder_spi: IkeSpi(0xb0b0_0000_0000_0002),
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags {
            initiator: true,
            ..Flags::default()
        },
        message_id: 7,
    }
}

fn vendor(octets: &[u8]) -> Payloads {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::VENDOR_ID, &VendorId(octets.to_vec()));
    payloads
}

/// A message whose SK payload has exactly this plaintext, padding included.
fn sealed_plaintext(toy: &Toy, first: PayloadType, plaintext: &[u8]) -> Vec<u8> {
    let iv = vec![1; toy.iv];
    let body = iv.len() + plaintext.len() + toy.icv;
    let mut bytes = seal(&header(), &Payloads::new(), toy, &iv)[..28].to_vec();
    let total = u32::try_from(32 + body).expect("short");
    bytes[24..28].copy_from_slice(&total.to_be_bytes());
    bytes.extend([first.0, 0]);
    bytes.extend(u16::try_from(4 + body).expect("short").to_be_bytes());
    let mut text = plaintext.to_vec();
    toy.seal(&iv, &bytes, &mut text);
    bytes.extend(iv);
    bytes.extend(text);
    bytes
}

#[test]
fn writes_the_frame_of_an_empty_aead_message_octet_by_octet() {
    let bytes = seal(&header(), &Informational::liveness().emit(), &AEAD, &[5; 8]);
    let mut expected = Vec::new();
    expected.extend([0xa1, 0x1c, 0xe0, 0, 0, 0, 0, 1, 0xb0, 0xb0, 0, 0, 0, 0, 0, 2]);
    expected.extend([46, 0x20, 37, 0x08, 0, 0, 0, 7, 0, 0, 0, 57]);
    expected.extend([0, 0, 0, 29]); // no payload inside; 4 + 8 + 1 + 16 octets
    let aad = expected.clone();
    expected.extend([5; 8]);
    expected.push(!0); // the pad length, "encrypted"
    expected.extend(AEAD.icv([&aad, &[5; 8], &[!0]]));
    assert_eq!(bytes, expected);
}

#[test]
fn pads_to_the_block_with_as_little_as_possible() {
    for (length, sealed_length) in [(0, 16), (11, 16), (12, 32), (27, 32), (28, 48)] {
        let bytes = seal(&header(), &vendor(&vec![0; length]), &CBC, &[3; 16]);
        assert_eq!(
            bytes.len(),
            28 + 4 + 16 + sealed_length + 16,
            "{length} octets of body"
        );
        let bytes = seal(&header(), &vendor(&vec![0; length]), &AEAD, &[3; 8]);
        assert_eq!(
            bytes.len(),
            28 + 4 + 8 + 4 + length + 1 + 16,
            "an AEAD needs no padding"
        );
    }
}

#[test]
fn refuses_a_message_of_which_any_octet_was_changed_and_leaves_it_as_it_was() {
    for toy in [&AEAD, &CBC] {
        let good = seal(&header(), &vendor(b"xvpn"), toy, &vec![9; toy.iv]);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x04;
            let before = bytes.clone();
            assert!(open(&bytes, toy).is_err(), "octet {at}");
            assert_eq!(bytes, before);
        }
        assert!(open(&good, toy).is_ok());
    }
}

#[test]
fn ignores_what_is_not_encrypted_or_impossibly_short() {
    let plain = xvpn_ike::message::build_plain(&header(), &vendor(b"xvpn"));
    assert_eq!(open(&plain, &AEAD).unwrap_err(), OpenError::NotEncrypted);
    let empty = xvpn_ike::message::build_plain(&header(), &Payloads::new());
    assert_eq!(open(&empty, &AEAD).unwrap_err(), OpenError::NotEncrypted);
    for toy in [&AEAD, &CBC] {
        let none = sealed_plaintext(toy, PayloadType::NONE, &[]);
        assert_eq!(
            open(&none, toy).unwrap_err(),
            OpenError::Length,
            "not even a pad length"
        );
    }
    let aead = seal(&header(), &vendor(b"xvpn"), &AEAD, &[9; 8]);
    assert_eq!(
        open(&aead, &CBC).unwrap_err(),
        OpenError::Length,
        "no whole block"
    );
}

#[test]
fn accepts_more_padding_than_needed() {
    let mut plaintext = vec![0, 0, 0, 8, b'x', b'v', b'p', b'n'];
    plaintext.extend([0xee; 39]);
    plaintext.push(39);
    let bytes = sealed_plaintext(&CBC, PayloadType::VENDOR_ID, &plaintext);
    let opened = open(&bytes, &CBC).unwrap();
    let chain = opened.chain().unwrap();
    assert_eq!(chain.find(PayloadType::VENDOR_ID).unwrap().body, b"xvpn");
}

#[test]
fn tells_authentic_nonsense_from_what_is_not_authentic() {
    let fault = |first, plaintext: &[u8]| {
        let opened = open(&sealed_plaintext(&AEAD, first, plaintext), &AEAD).expect("the ICV is right");
        assert_eq!(opened.header().message_id, 7, "enough is known to answer");
        opened.chain().unwrap_err()
    };
    let error = fault(PayloadType::NONE, &[3]);
    assert_eq!(
        error.fault,
        Fault::Length {
            what: "the pad length",
            length: 3
        }
    );
    assert_eq!(error.answer(), Notify::new(NotifyType::INVALID_SYNTAX));
    let error = fault(PayloadType::VENDOR_ID, &[0, 0, 0, 99, 0]);
    assert!(matches!(error.fault, Fault::Truncated { .. }));
    let error = fault(PayloadType(200), &[0, 0x80, 0, 4, 0]);
    assert_eq!(
        error.answer(),
        Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200])
    );
    let error = fault(PayloadType::SK, &[0, 0, 0, 4, 0]);
    assert!(matches!(error.fault, Fault::Value { .. }), "SK within SK");
}

proptest! {
    #[test]
    fn opens_what_it_sealed(
        bodies in vec(vec(any::<u8>(), 0..100), 0..10),
        message_id: u32,
        response: bool,
        iv: [u8; 16],
    ) {
        let mut payloads = Payloads::new();
        for body in &bodies {
            payloads.push(PayloadType::VENDOR_ID, &VendorId(body.clone()));
        }
        let flags = Flags { response, ..Flags::default() };
        let header = Header { message_id, flags, ..header() };
        for toy in [&AEAD, &CBC] {
            let bytes = seal(&header, &payloads, toy, &iv[..toy.iv]);
            let opened = open(&bytes, toy).unwrap();
            prop_assert_eq!(opened.header(), &header);
            let chain = opened.chain().unwrap();
            let read: Vec<Vec<u8>> = chain.iter().map(|payload| payload.body.to_vec()).collect();
            prop_assert_eq!(&read, &bodies);
        }
    }

    #[test]
    fn any_authentic_plaintext_is_read_or_refused(first: u8, plaintext in vec(any::<u8>(), 1..200)) {
        let bytes = sealed_plaintext(&AEAD, PayloadType(first), &plaintext);
        let opened = open(&bytes, &AEAD).unwrap();
        let _ = opened.chain().and_then(|chain| Informational::parse(&chain));
    }
}
