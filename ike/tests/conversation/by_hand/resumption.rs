//! The initiator by hand goes on from a session by a ticket. Keys and AUTH are made here by HMAC alone, as RFC 5723 5.1 and 4.3.3
//! write them down.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use xvpn_ike::message::{ResumeAccepted, ResumeRequest, ResumeResponse};
use xvpn_ike::wire::payload::{Notify, NotifyType};
use zeroize::Zeroizing;

use super::*;

/// HMAC-SHA-256 of some parts.
pub(crate) fn prf(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// What was said by both sides of IKE_SESSION_RESUME, and what an initiator must keep of it.
pub(crate) struct Resumed {
    /// The initiator, whose next message is IKE_AUTH.
    pub(crate) by_hand: ByHand,
    /// Bob's answer, which his AUTH covers.
    pub(crate) response: Vec<u8>,
}

impl ByHand {
    /// After IKE_AUTH with TICKET_REQUEST, and the ticket that Bob gave.
    pub(crate) fn with_ticket(pair: Pair) -> (Self, Vec<u8>) {
        let mut by_hand = Self::init_with(pair, 0);
        let mut message = by_hand.auth_request();
        message.other.push(Notify::new(NotifyType::TICKET_REQUEST));
        let answer = by_hand.ask(ExchangeType::IKE_AUTH, &message.emit());
        let accepted = match AuthResponse::parse(&answer.chain().unwrap()).unwrap() {
            AuthResponse::Accepted(accepted) => accepted,
            AuthResponse::Refused(notify) => panic!("refused: {notify:?}"),
        };
        let ticket = accepted
            .other
            .iter()
            .find(|notify| notify.kind == NotifyType::TICKET_LT_OPAQUE)
            .unwrap();
        let (lifetime, ticket) = ticket.data.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*lifetime), 8 * 3600, "that of an IKE SA");
        let ticket = ticket.to_vec();
        (by_hand, ticket)
    }

    /// Shows the ticket. `Err`: Bob's whole answer, which goes no further.
    pub(crate) fn resume(self, ticket: &[u8], round: u64) -> Result<Resumed, Option<Vec<u8>>> {
        let nonce = vec![9; 32];
        let message = ResumeRequest {
            cookie: None,
            nonce: Nonce(nonce.clone()),
            ticket: ticket.to_vec(),
            notifies: InitNotifies::default(),
            vendor_ids: Vec::new(),
        };
        let header = Header {
            initiator_spi: IkeSpi(0x7e5a_0000 + round),
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IKE_SESSION_RESUME,
            message_id: 0,
            ..self.header
        };
        let request = build_plain(&header, &message.emit());
        assert_eq!(request[18], 38);
        let mut by_hand = self;
        let Some(answer) = send(&mut by_hand.pair, &request) else {
            return Err(None);
        };
        let (answered, chain) = Chain::parse_message(&answer).unwrap();
        let ResumeResponse::Accepted(accepted) = ResumeResponse::parse(&chain).unwrap() else {
            return Err(Some(answer));
        };
        by_hand.go_on(&header, &answered, (&nonce, &accepted));
        by_hand.request = request;
        Ok(Resumed {
            by_hand,
            response: answer,
        })
    }

    /// RFC 5723 5.1, for AES-GCM with 256 bits and HMAC-SHA-256.
    fn go_on(&mut self, asked: &Header, answered: &Header, (ni, accepted): (&[u8], &ResumeAccepted)) {
        let nr = &accepted.nonce.0;
        let skeyseed = prf(&self.keys.sk_d, &[b"Resumption", ni, nr]);
        let (spi_i, spi_r) = (asked.initiator_spi.to_bytes(), answered.responder_spi.to_bytes());
        let (mut keymat, mut block) = (Vec::new(), Vec::new());
        for n in 1..=6u8 {
            block = prf(&skeyseed, &[&block, ni, nr, &spi_i, &spi_r, &[n]]);
            keymat.extend_from_slice(&block);
        }
        let cut = |from: usize, length: usize| Zeroizing::new(keymat[from..from + length].to_vec());
        self.keys = IkeKeys {
            sk_d: cut(0, 32),
            sk_ai: cut(0, 0),
            sk_ar: cut(0, 0),
            sk_ei: cut(32, 36),
            sk_er: cut(68, 36),
            sk_pi: cut(104, 32),
            sk_pr: cut(136, 32),
        };
        let suite = config(Who::Alice).ike_proposals[0].encryption[0];
        self.outbound = SkCipher::new(suite, None, &self.keys.sk_ei, &[]).unwrap();
        self.inbound = SkCipher::new(suite, None, &self.keys.sk_er, &[]).unwrap();
        self.nonce_r.clone_from(nr);
        self.header = Header {
            responder_spi: answered.responder_spi,
            exchange: ExchangeType::IKE_AUTH,
            message_id: 1,
            ..*asked
        };
    }
}

impl Resumed {
    /// The IKE_AUTH request under a name (RFC 5723 4.3.3): AUTH = prf(SK_pi, RealMessage1 | Nr | prf(SK_pi, IDi)).
    pub(crate) fn auth_request(&self, name: &str) -> AuthRequest {
        let idi = Identification::new(IdType::FQDN, name.as_bytes().to_vec());
        let by_hand = &self.by_hand;
        let sk_pi = &by_hand.keys.sk_pi;
        let maced_id = prf(sk_pi, &[&idi.to_bytes()]);
        let mut request = by_hand.auth_request();
        request.auth.data = prf(sk_pi, &[&by_hand.request, &by_hand.nonce_r, &maced_id]);
        request.idi = idi;
        // The CHILD SA before is still there when this one is made.
        if let Some(child) = &mut request.child {
            child.sa = esp_offer(&config(Who::Alice).esp_proposals, Spi(0x2345_6789));
        }
        request
    }

    /// What Bob's AUTH must be.
    pub(crate) fn auth_of_bob(&self) -> Vec<u8> {
        let idr = Identification::new(IdType::FQDN, b"bob.example".to_vec());
        let sk_pr = &self.by_hand.keys.sk_pr;
        let maced_id = prf(sk_pr, &[&idr.to_bytes()]);
        prf(sk_pr, &[&self.response, &[9; 32], &maced_id])
    }

    /// Sends it, and reads the answer.
    pub(crate) fn ask(&mut self, request: &AuthRequest) -> AuthResponse {
        let answer = self.by_hand.ask(ExchangeType::IKE_AUTH, &request.emit());
        AuthResponse::parse(&answer.chain().unwrap()).unwrap()
    }
}
