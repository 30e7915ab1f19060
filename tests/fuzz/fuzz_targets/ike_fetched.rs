//! What the network answers when it is asked for the status of a certificate: a responder for our own, and one for a peer's whose
//! message waits meanwhile. Records: which fetch, then its answer; an empty answer is a failure, 255 lets time pass.
#![no_main]
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xvpn_ike::api::{Command, Fetch, FetchId, Input, Output};
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::signature::RsaPadding;
use xvpn_ike::auth::x509::revocation::{Policy, Rules};
use xvpn_ike::auth::x509::{Anchor, CertificateDer};
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::crypto::sign::{KeyFormat, SigningKey};
use xvpn_ike::testing::{Pair, Who, config};

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../ike/tests/vectors/revocation/", $name)).as_slice()
    };
}

/// Alice and Bob have the same certificate, of alice.example: enough for one side to ask about.
fn with_certificate(who: Who) -> ConnectionConfig {
    let key = SigningKey::from_der(KeyFormat::Pkcs8, file!("good.key")).expect("a key");
    let anchor = Anchor::from_der(file!("ca.cert")).expect("an authority");
    ConnectionConfig {
        local_auth: match who {
            Who::Alice => LocalAuth::Certificate {
                chain: [CertificateDer::from(file!("good.cert"))].into(),
                key: key.into(),
                padding: RsaPadding::default(),
            },
            Who::Bob => config(Who::Bob).local_auth,
        },
        remote_auth: match who {
            Who::Alice => config(Who::Alice).remote_auth,
            Who::Bob => RemoteAuth::Certificate { anchors: [anchor].into() },
        },
        revocation: Rules { policy: Policy::Require, crls: Vec::new() },
        ..config(who)
    }
}

fn fetches(pair: &Pair) -> Vec<(Who, FetchId)> {
    let of = |who, outputs: &[Output]| -> Vec<(Who, FetchId)> {
        let fetch = |output: &Output| match output {
            Output::Fetch(Fetch { id, .. }) => Some((who, *id)),
            _ => None,
        };
        outputs.iter().filter_map(fetch).collect()
    };
    [of(Who::Alice, &pair.alice.outputs), of(Who::Bob, &pair.bob.outputs)].concat()
}

fuzz_target!(|script: &[u8]| {
    if script.len() > 200_000 {
        return;
    }
    let now: u64 = include_str!("../../../ike/tests/vectors/revocation/now").trim().parse().expect("seconds");
    let mut pair = Pair::configured(with_certificate(Who::Alice), with_certificate(Who::Bob));
    for who in [Who::Alice, Who::Bob] {
        pair.input(who, Input::WallClock(Duration::from_secs(now + 24 * 3600)));
        pair.command(who, Command::Configure(Box::new(with_certificate(who))));
    }
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(100));
    let mut rest = script;
    while let Some((&[which, high, low], more)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(more.len());
        let (body, more) = more.split_at(length);
        rest = more;
        if which == 255 {
            pair.run_for(Duration::from_millis(u64::from(low) * 100));
            continue;
        }
        let asked = fetches(&pair);
        // One that was never asked, too.
        let (who, id) = match asked.get(usize::from(which) % (asked.len() + 1)) {
            Some(asked) => *asked,
            None => (Who::Bob, FetchId(u64::from(which) * 1000)),
        };
        let result = if body.is_empty() { Err("no answer") } else { Ok(body) };
        pair.input(who, Input::Fetched { id, result });
        pair.run_for(Duration::from_millis(50));
    }
    pair.run_for(Duration::from_secs(30));
    // Nobody who is not known to be good gets in: an answer with the nonce of a request cannot be in a script.
    assert!(!pair.agree() || script.len() > 300, "believed without proof");
});
