//! An endpoint in the middle of a negotiation, given arbitrary datagrams, mutations of genuine ones, and time.
//!
//! The script's first octet says how far Alice and Bob got before, and whether their first key exchange goes on in IKE_INTERMEDIATE
//! (RFC 9242) and in fragments (RFC 7383); then records: 0 = an arbitrary datagram to Bob,
//! 1 = a genuine datagram from the tape with octets changed, 2 = a genuine one again, 3 = time passes. At the end, with
//! the network calm, what was established must still agree, and a connection that shall be up must come up.
#![no_main]
use std::time::Duration;
use libfuzzer_sys::fuzz_target;
use xvpn_ike::api::Path;
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::testing::{ALICE, BOB, EVE, Faults, Pair, Who, config, ip};

fuzz_target!(|script: &[u8]| {
    let Some((&stage, mut rest)) = script.split_first() else { return };
    if rest.len() > 4096 {
        return;
    }
    let of = |who| match stage & 0x40 {
        0 => config(who),
        _ => ConnectionConfig {
            ike_proposals: "aes256gcm16-prfsha256-x25519-ke1_mlkem768".parse().into_iter().collect(),
            fragment_size: 576,
            ..config(who)
        },
    };
    let endpoint = EndpointConfig::default();
    let mut pair = Pair::with(u64::from(stage), Faults::NONE, endpoint, of(Who::Alice), of(Who::Bob));
    pair.up(Who::Alice);
    let end = pair.clock.now() + Duration::from_secs(1);
    // With fragments a message is several steps.
    let steps = if stage & 0x40 == 0 { stage % 8 } else { stage % 32 };
    for _ in 0..steps {
        pair.step(end);
    }
    let tape = |pair: &Pair| pair.net.tape.iter().map(|d| (d.path, d.bytes.clone())).collect::<Vec<_>>();
    while let Some((&kind, more)) = rest.split_first() {
        let Some((&length, more)) = more.split_first() else { break };
        let cut = usize::from(length).min(more.len());
        let (body, more) = more.split_at(cut);
        rest = more;
        let genuine = tape(&pair);
        match kind % 4 {
            0 => {
                let from = if kind & 4 == 0 { ALICE } else { EVE };
                let at = |address| (ip(address), 500).into();
                pair.inject(Who::Bob, Path { local: at(BOB), remote: at(from) }, body);
            }
            1 | 2 => {
                let Some((&which, changes)) = body.split_first() else { continue };
                let Some((path, mut bytes)) = genuine.get(usize::from(which) % genuine.len().max(1)).cloned() else { continue };
                if kind % 4 == 1 {
                    let changed = changes.chunks_exact(2).filter(|c| c[1] != 0).count();
                    for change in changes.chunks_exact(2) {
                        let at = usize::from(change[0]) % bytes.len();
                        bytes[at] ^= change[1];
                    }
                    if changed == 0 {
                        continue;
                    }
                }
                let who = if path.local.ip().to_string() == BOB { Who::Bob } else { Who::Alice };
                pair.inject(who, path, &bytes);
            }
            _ => pair.run_for(Duration::from_millis(u64::from(length) * 16)),
        }
    }
    let calm = pair.run_until(Duration::from_secs(600), |pair| pair.has_settled());
    assert!(calm, "the connection never came up, or the sides do not agree");
});
