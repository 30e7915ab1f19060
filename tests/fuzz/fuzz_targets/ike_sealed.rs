//! A peer that has the keys and no manners: after IKE_SA_INIT with Bob (a half-open SA), with an additional key exchange to come
//! (IKE_INTERMEDIATE), or after IKE_AUTH, it seals arbitrary chains of payloads, whole (SK) or as fragments with arbitrary numbers (SKF).
//!
//! The first octet chooses the stage; then records: kind, flags, length, body.
#![no_main]
#[allow(dead_code, clippy::all)]
#[path = "../../../ike/tests/conversation/by_hand.rs"]
mod by_hand;

use std::time::Duration;

use by_hand::ByHand;
use libfuzzer_sys::fuzz_target;
use xvpn_ike::api::Output;
use xvpn_ike::testing::{Faults, Pair, Who, config};
use xvpn_ike::wire::{ExchangeType, PayloadType};

const EXCHANGES: [ExchangeType; 6] = [
    ExchangeType::IKE_AUTH,
    ExchangeType::CREATE_CHILD_SA,
    ExchangeType::INFORMATIONAL,
    ExchangeType::IKE_INTERMEDIATE,
    ExchangeType::IKE_FOLLOWUP_KE,
    ExchangeType(99),
];

fn stage(which: u8) -> ByHand {
    let hybrid = || "aes256gcm16-prfsha256-x25519-ke1_mlkem768".parse().into_iter().collect::<Vec<_>>();
    match which % 4 {
        0 => ByHand::init_saying(Pair::new(11, Faults::NONE), 0, &config(Who::Alice).ike_proposals, true),
        1 => {
            let bob = xvpn_ike::config::ConnectionConfig { ike_proposals: hybrid(), ..config(Who::Bob) };
            ByHand::init_saying(Pair::configured(config(Who::Alice), bob), 0, &hybrid(), true)
        }
        2 => ByHand::established(),
        _ => {
            let mobile = |who| xvpn_ike::config::ConnectionConfig { mobike: true, ..config(who) };
            let pair = Pair::configured(mobile(Who::Alice), mobile(Who::Bob));
            let mut peer = ByHand::init_saying(pair, 0, &config(Who::Alice).ike_proposals, true);
            let message = peer.auth_request();
            peer.ask(ExchangeType::IKE_AUTH, &message.emit());
            peer
        }
    }
}

fuzz_target!(|script: &[u8]| {
    let Some((&which, mut rest)) = script.split_first() else { return };
    if rest.len() > 8192 {
        return;
    }
    let mut peer = stage(which);
    while let Some((&[kind, exchange, first, length], more)) = rest.split_first_chunk::<4>() {
        let (body, more) = more.split_at(usize::from(length).min(more.len()));
        rest = more;
        let exchange = EXCHANGES[usize::from(exchange) % EXCHANGES.len()];
        let bytes = match kind % 4 {
            0 | 1 => peer.sealed_raw(exchange, PayloadType(first), body),
            2 => {
                let Some((&[number, total], content)) = body.split_first_chunk::<2>() else { continue };
                peer.header.exchange = exchange;
                peer.fragment((number.into(), total.into()), (PayloadType(first), content), &[])
            }
            _ => {
                peer.pair.run_for(Duration::from_millis(u64::from(length) * 100));
                continue;
            }
        };
        let outputs = peer.give(&bytes);
        let sent = outputs.iter().filter(|output| matches!(output, Output::Transmit(_))).count();
        assert!(sent <= 64, "one datagram made {sent}");
        // Whatever was answered was taken: the next request.
        if sent > 0 && kind & 4 == 0 {
            peer.header.message_id = peer.header.message_id.wrapping_add(1);
        }
    }
    // Nobody talked itself in: only what is installed at these stages may be.
    let (inbound, outbound) = (peer.pair.bob.inbound.len(), peer.pair.bob.outbound.len());
    assert!(which % 4 > 1 || (inbound == 0 && outbound == 0), "an SA without a proof");
    assert!(inbound <= 64 && outbound <= 64);
});
