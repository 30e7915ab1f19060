//! Peers whose messages the test writes itself, for what Alice and Bob never say: an initiator, and a responder.

// Said in full for the fuzz target that takes this file by its path, too.
#[path = "by_hand/resumption.rs"]
pub(crate) mod resumption;

use std::time::Duration;

use xvpn_ike::api::{Command, Input, Output, Spi};
use xvpn_ike::auth::psk;
use xvpn_ike::auth::signed::SignedOctets;
use xvpn_ike::config::{ConnectionConfig, Secret};
use xvpn_ike::crypto::aead::SkCipher;
use xvpn_ike::crypto::kex::KeyPair;
use xvpn_ike::message::{
    AuthAccepted, AuthRequest, AuthResponse, ChildAnswer, ChildOffer, Informational, InitAccepted,
    InitNotifies, InitRequest, InitResponse, OpenError, Opened, Protect, build_plain, open, seal,
};
use xvpn_ike::negotiate::offer::{esp_offer, ike_answer, ike_offer};
use xvpn_ike::negotiate::proposal::IkeProposal;
use xvpn_ike::negotiate::select::{accept_ike, select_ike};
use xvpn_ike::negotiate::selector::to_payload;
use xvpn_ike::negotiate::transform::KeyExchangeMethod;
use xvpn_ike::sa::keymat::{IkeKeys, Seeds};
use xvpn_ike::testing::{Faults, LINK, Pair, SECRET, SeededRandom, Who, config, path};
use xvpn_ike::wire::payload::{AuthMethod, Authentication, Body, IdType, Identification, KeyExchange, Nonce};
use xvpn_ike::wire::{Chain, ExchangeType, Flags, Header, IkeSpi, PayloadType, Payloads, Writer};

/// An initiator by hand, and Bob.
pub(crate) struct ByHand {
    /// Only Bob takes part.
    pub(crate) pair: Pair,
    /// The header of the next request.
    pub(crate) header: Header,
    outbound: SkCipher,
    inbound: SkCipher,
    keys: IkeKeys,
    request: Vec<u8>,
    nonce_r: Vec<u8>,
    iv: u64,
}

impl ByHand {
    /// After IKE_SA_INIT.
    pub(crate) fn init() -> Self {
        Self::init_with(Pair::new(11, Faults::NONE), 0)
    }

    /// The same once more with a Bob who knows other ones.
    pub(crate) fn init_with(pair: Pair, round: u64) -> Self {
        Self::init_offering(pair, round, &config(Who::Alice).ike_proposals)
    }

    /// The same with another offer.
    pub(crate) fn init_offering(pair: Pair, round: u64, proposals: &[IkeProposal]) -> Self {
        Self::init_saying(pair, round, proposals, false)
    }

    /// The same, and both say that they may send fragments (RFC 7383 2.3) if this is true.
    pub(crate) fn init_saying(
        mut pair: Pair,
        round: u64,
        proposals: &[IkeProposal],
        fragmentation_supported: bool,
    ) -> Self {
        let mut random = SeededRandom::new(12 + round);
        let key = KeyPair::generate(KeyExchangeMethod::Curve25519, &mut random).unwrap();
        let nonce = vec![7; 32];
        let message = InitRequest {
            cookie: None,
            puzzle_solution: None,
            sa: ike_offer(proposals, None),
            ke: KeyExchange {
                method: key.method().id(),
                data: key.public().to_vec(),
            },
            nonce: Nonce(nonce.clone()),
            notifies: InitNotifies {
                intermediate_supported: proposals.iter().any(|ours| !ours.additional.is_empty()),
                fragmentation_supported,
                ..InitNotifies::default()
            },
            vendor_ids: Vec::new(),
        };
        let header = Header {
            initiator_spi: IkeSpi(0xa11ce + round),
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags {
                initiator: true,
                version: false,
                response: false,
            },
            message_id: 0,
        };
        let request = build_plain(&header, &message.emit());
        let answer = send(&mut pair, &request).unwrap();
        let (answer_header, chain) = Chain::parse_message(&answer).unwrap();
        let InitResponse::Accepted(accepted) = InitResponse::parse(&chain).unwrap() else {
            panic!("refused")
        };
        let chosen = accept_ike(proposals, &accepted.sa).unwrap();
        let shared = key.shared(&accepted.ke.data).unwrap();
        let (spi_i, spi_r) = (header.initiator_spi.0, answer_header.responder_spi.0);
        let seeds = Seeds {
            nonce_i: &nonce,
            nonce_r: &accepted.nonce.0,
            spi_i,
            spi_r,
        };
        let keys = IkeKeys::derive(&chosen.suite, &shared, seeds).unwrap();
        let (outbound, inbound) = keys.ciphers(&chosen.suite).unwrap();
        let nonce_r = accepted.nonce.0.clone();
        let header = Header {
            responder_spi: answer_header.responder_spi,
            exchange: ExchangeType::IKE_AUTH,
            message_id: 1,
            ..header
        };
        Self {
            pair,
            header,
            outbound,
            inbound,
            keys,
            request,
            nonce_r,
            iv: 0,
        }
    }

    /// After IKE_AUTH.
    pub(crate) fn established() -> Self {
        Self::established_with(Pair::new(11, Faults::NONE))
    }

    /// The same with a Bob of this kind.
    pub(crate) fn established_with(pair: Pair) -> Self {
        let mut by_hand = Self::init_with(pair, 0);
        let message = by_hand.auth_request();
        let answer = by_hand.ask(ExchangeType::IKE_AUTH, &message.emit());
        assert!(answer.chain().unwrap().find(PayloadType::AUTH).is_some());
        by_hand.pair.bob.clear();
        by_hand
    }

    /// The IKE_AUTH request that Alice would send.
    pub(crate) fn auth_request(&self) -> AuthRequest {
        let config = config(Who::Alice);
        let (kind, data) = config.local_identity.to_wire();
        let idi = Identification::new(IdType(kind), data);
        let signed = SignedOctets {
            message: &self.request,
            nonce: &self.nonce_r,
            sk_p: &self.keys.sk_pi,
            rest_of_id: &idi.to_bytes(),
            int_auth: &[],
        };
        let prf = config.ike_proposals[0].prf[0];
        let data = psk::authentication_data(prf, &Secret::new(SECRET.to_vec()), signed).to_vec();
        AuthRequest {
            idi,
            idr: None,
            auth: Authentication {
                method: AuthMethod::PSK,
                data,
            },
            certificates: Vec::new(),
            certificate_requests: Vec::new(),
            initial_contact: false,
            mobike_supported: true,
            child: Some(ChildOffer {
                sa: esp_offer(&config.esp_proposals, Spi(0x1234_5678)),
                tsi: to_payload(&config.local_selectors),
                tsr: to_payload(&config.remote_selectors),
                transport_mode: false,
                no_tfc_padding: false,
                aggfrag: None,
            }),
            wants_configuration: false,
            other: Vec::new(),
        }
    }

    /// Sends the next request, and opens the answer.
    pub(crate) fn ask(&mut self, exchange: ExchangeType, payloads: &Payloads) -> Opened {
        self.header.exchange = exchange;
        let iv = self.next_iv();
        let bytes = seal(&self.header, payloads, &self.outbound, &iv);
        self.exchange(&bytes)
    }

    /// The same with a chain of payloads as octets.
    pub(crate) fn ask_raw(&mut self, exchange: ExchangeType, first: PayloadType, chain: &[u8]) -> Opened {
        let bytes = self.sealed_raw(exchange, first, chain);
        self.exchange(&bytes)
    }

    /// The next request with a chain of payloads as octets, sealed in one piece.
    pub(crate) fn sealed_raw(&mut self, exchange: ExchangeType, first: PayloadType, chain: &[u8]) -> Vec<u8> {
        self.header.exchange = exchange;
        let iv = self.next_iv();
        let mut text = chain.to_vec();
        text.push(0);
        let payload = 4 + iv.len() + text.len() + self.outbound.icv_len();
        let mut out = Writer::new();
        self.header.emit(
            PayloadType::SK,
            u32::try_from(Header::LEN + payload).unwrap(),
            &mut out,
        );
        out.u8(first.0);
        out.u8(0);
        out.u16(u16::try_from(payload).unwrap());
        self.outbound.seal(&iv, out.as_slice(), &mut text);
        out.bytes(&iv);
        out.bytes(&text);
        out.into_bytes()
    }

    /// A fragment of the next request (RFC 7383 2.5), sealed, with any numbers; before the SKF payload stands `outside`,
    /// in the clear.
    pub(crate) fn fragment(
        &mut self,
        (number, total): (u16, u16),
        (first, content): (PayloadType, &[u8]),
        outside: &[u8],
    ) -> Vec<u8> {
        let iv = self.next_iv();
        let mut text = content.to_vec();
        text.push(0);
        let announced = if outside.is_empty() { 0 } else { 4 + outside.len() };
        let payload = 8 + iv.len() + text.len() + self.outbound.icv_len();
        let length = u32::try_from(Header::LEN + announced + payload).unwrap();
        let mut out = Writer::new();
        if outside.is_empty() {
            self.header.emit(PayloadType::SKF, length, &mut out);
        } else {
            self.header.emit(PayloadType::VENDOR_ID, length, &mut out);
            out.u8(PayloadType::SKF.0);
            out.u8(0);
            out.u16(u16::try_from(announced).unwrap());
            out.bytes(outside);
        }
        out.u8(first.0);
        out.u8(0);
        out.u16(u16::try_from(payload).unwrap());
        out.u16(number);
        out.u16(total);
        self.outbound.seal(&iv, out.as_slice(), &mut text);
        out.bytes(&iv);
        out.bytes(&text);
        out.into_bytes()
    }

    /// A message of the next request, sealed in one piece.
    pub(crate) fn sealed(&mut self, exchange: ExchangeType, payloads: &Payloads) -> Vec<u8> {
        self.header.exchange = exchange;
        let iv = self.next_iv();
        seal(&self.header, payloads, &self.outbound, &iv)
    }

    /// Gives Bob a datagram, as if it came from Alice: all that comes of it.
    pub(crate) fn give(&mut self, bytes: &[u8]) -> Vec<Output> {
        let now = self.pair.clock.now() + Duration::from_millis(1);
        self.pair.clock.advance_to(now);
        let path = path(Who::Bob, 500);
        self.pair.bob.handle(now, Input::Datagram { path, bytes })
    }

    /// Answers Bob's request.
    pub(crate) fn respond(&mut self, request: &Opened, payloads: &Payloads) -> Vec<Output> {
        let asked = request.header();
        let header = Header {
            exchange: asked.exchange,
            flags: Flags {
                initiator: true,
                version: false,
                response: true,
            },
            message_id: asked.message_id,
            ..self.header
        };
        let iv = self.next_iv();
        let bytes = seal(&header, payloads, &self.outbound, &iv);
        self.pair.bob.handle(
            self.pair.clock.now(),
            Input::Datagram {
                path: path(Who::Bob, 500),
                bytes: &bytes,
            },
        )
    }

    /// Opens what Bob sent.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Opened, OpenError> {
        open(bytes, &self.inbound)
    }

    fn exchange(&mut self, bytes: &[u8]) -> Opened {
        let answer = send(&mut self.pair, bytes).expect("an answer");
        self.header.message_id += 1;
        self.open(&answer).unwrap()
    }

    fn next_iv(&mut self) -> Vec<u8> {
        self.iv += 1;
        self.iv.to_be_bytes().to_vec()
    }
}

/// A responder by hand, and Alice, who has sent her IKE_AUTH request.
pub(crate) struct Responder {
    /// Only Alice takes part.
    pub(crate) pair: Pair,
    /// What she asked.
    pub(crate) asked: AuthRequest,
    /// Her request as it came.
    pub(crate) second: Vec<u8>,
    header: Header,
    keys: IkeKeys,
    outbound: SkCipher,
    inbound: SkCipher,
    response: Vec<u8>,
    nonce_i: Vec<u8>,
}

impl Responder {
    /// After IKE_SA_INIT.
    pub(crate) fn init() -> Self {
        Self::begun(Pair::new(17, Faults::NONE))
    }

    /// The same with an Alice who has this configuration.
    pub(crate) fn init_of(alice: ConnectionConfig) -> Self {
        Self::begun(Pair::configured(alice, config(Who::Bob)))
    }

    fn begun(pair: Pair) -> Self {
        let responder = Self::saying(pair, InitNotifies::default(), Duration::ZERO);
        responder.unwrap_or_else(|_| panic!("no IKE_AUTH request"))
    }

    /// The same with these words in the answer to IKE_SA_INIT. `Err`: Alice sends no
    /// IKE_AUTH request within `patience`, or one in fragments.
    pub(crate) fn saying(
        mut pair: Pair,
        notifies: InitNotifies,
        patience: Duration,
    ) -> Result<Self, Box<Pair>> {
        let first = transmitted(&pair.command(Who::Alice, Command::Up(LINK))).unwrap();
        pair.net.clear();
        let (header, chain) = Chain::parse_message(&first).unwrap();
        let request = InitRequest::parse(&chain).unwrap();
        let key = KeyPair::generate(KeyExchangeMethod::Curve25519, &mut SeededRandom::new(18)).unwrap();
        let chosen = select_ike(&config(Who::Bob).ike_proposals, &request.sa).unwrap();
        let nonce_r = vec![8; 32];
        let accepted = InitAccepted {
            sa: ike_answer(&chosen, None),
            ke: KeyExchange {
                method: key.method().id(),
                data: key.public().to_vec(),
            },
            nonce: Nonce(nonce_r.clone()),
            notifies,
            vendor_ids: Vec::new(),
            certificate_requests: Vec::new(),
        };
        let flags = Flags {
            initiator: false,
            version: false,
            response: true,
        };
        let header = Header {
            responder_spi: IkeSpi(0xb0b),
            flags,
            ..header
        };
        let response = build_plain(&header, &InitResponse::Accepted(Box::new(accepted)).emit());
        let shared = key.shared(&request.ke.data).unwrap();
        let (spi_i, spi_r) = (header.initiator_spi.0, header.responder_spi.0);
        let seeds = Seeds {
            nonce_i: &request.nonce.0,
            nonce_r: &nonce_r,
            spi_i,
            spi_r,
        };
        let keys = IkeKeys::derive(&chosen.suite, &shared, seeds).unwrap();
        let (inbound, outbound) = keys.ciphers(&chosen.suite).unwrap();
        pair.alice.clear();
        pair.inject(Who::Alice, path(Who::Alice, 500), &response);
        // Nobody is at Bob's address: what Alice says is only heard here.
        pair.homes.retain(|(_, who)| *who == Who::Alice);
        pair.run_until(patience, |pair| transmitted(&pair.alice.outputs).is_some());
        let Some(second) = transmitted(&pair.alice.outputs) else {
            return Err(Box::new(pair));
        };
        pair.net.clear();
        let Ok(opened) = open(&second, &inbound) else {
            return Err(Box::new(pair));
        };
        let asked = AuthRequest::parse(&opened.chain().unwrap()).unwrap();
        let nonce_i = request.nonce.0.clone();
        Ok(Self {
            pair,
            second,
            asked,
            header,
            keys,
            outbound,
            inbound,
            response,
            nonce_i,
        })
    }

    /// The answer that Bob would give, under a name.
    pub(crate) fn accepted(&self, name: &str) -> AuthAccepted {
        let idr = Identification::new(IdType::FQDN, name.as_bytes().to_vec());
        let signed = SignedOctets {
            message: &self.response,
            nonce: &self.nonce_i,
            sk_p: &self.keys.sk_pr,
            rest_of_id: &idr.to_bytes(),
            int_auth: &[],
        };
        let config = config(Who::Bob);
        let data = psk::authentication_data(
            config.ike_proposals[0].prf[0],
            &Secret::new(SECRET.to_vec()),
            signed,
        )
        .to_vec();
        AuthAccepted {
            idr,
            auth: Authentication {
                method: AuthMethod::PSK,
                data,
            },
            certificates: Vec::new(),
            mobike_supported: false,
            child: ChildAnswer::Accepted(ChildOffer {
                sa: esp_offer(&config.esp_proposals, Spi(0x8765_4321)),
                ..self.asked.child.clone().unwrap()
            }),
            other: Vec::new(),
        }
    }

    /// Gives the answer, and opens what Alice says to it.
    pub(crate) fn answer(&mut self, accepted: AuthAccepted) -> Option<Informational> {
        self.respond(&AuthResponse::Accepted(Box::new(accepted)))
    }

    /// Alice's last message, opened.
    pub(crate) fn last_of_alice(&self) -> Opened {
        let last = self
            .pair
            .alice
            .outputs
            .iter()
            .rev()
            .find_map(|output| match output {
                Output::Transmit(transmit) => Some(transmit.bytes.clone()),
                _ => None,
            });
        open(&last.unwrap(), &self.inbound).unwrap()
    }

    /// Answers a request of hers.
    pub(crate) fn reply(&mut self, asked: &Opened, payloads: &Payloads) {
        let header = Header {
            exchange: asked.header().exchange,
            message_id: asked.header().message_id,
            ..self.header
        };
        let iv = u64::from(asked.header().message_id).to_be_bytes();
        let bytes = seal(&header, payloads, &self.outbound, &iv);
        self.pair.inject(Who::Alice, path(Who::Alice, 500), &bytes);
    }

    /// The same with any answer.
    pub(crate) fn respond(&mut self, response: &AuthResponse) -> Option<Informational> {
        let header = Header {
            exchange: ExchangeType::IKE_AUTH,
            message_id: 1,
            ..self.header
        };
        let payloads = response.emit();
        let bytes = seal(&header, &payloads, &self.outbound, &[0; 8]);
        let answer = transmitted(&self.pair.inject(Who::Alice, path(Who::Alice, 500), &bytes))?;
        let opened = open(&answer, &self.inbound).unwrap();
        Some(Informational::parse(&opened.chain().unwrap()).unwrap())
    }
}

/// A payload of a type nobody knows, with or without the critical bit, as the last of a chain.
pub(crate) fn unknown_payload(critical: bool) -> (PayloadType, Vec<u8>) {
    (
        PayloadType(200),
        vec![0, if critical { 0x80 } else { 0 }, 0, 6, 1, 2],
    )
}

fn send(pair: &mut Pair, bytes: &[u8]) -> Option<Vec<u8>> {
    let now = pair.clock.now() + Duration::from_millis(1);
    pair.clock.advance_to(now);
    let outputs = pair.bob.handle(
        now,
        Input::Datagram {
            path: path(Who::Bob, 500),
            bytes,
        },
    );
    transmitted(&outputs)
}

fn transmitted(outputs: &[Output]) -> Option<Vec<u8>> {
    outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    })
}
