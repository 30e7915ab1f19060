//! A flood of first messages from everywhere (RFC 7296 2.6, RFC 8019).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn::admin::api::TunnelState;
use xvpn::testbed::{Namespace, own_network, wait_until};
use xvpn_ike::message::{InitNotifies, InitRequest, build_plain};
use xvpn_ike::negotiate::offer::ike_offer;
use xvpn_ike::negotiate::proposal;
use xvpn_ike::negotiate::transform::KeyExchangeMethod;
use xvpn_ike::wire::payload::{KeyExchange, Nonce};
use xvpn_ike::wire::{ExchangeType, Flags, Header, IkeSpi};

use super::steady::rekey;
use super::stream::{drops, nothing_lost, since, streaming};
use crate::harness::pair::{PATIENCE, Plan, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// While 50,000 IKE_SA_INIT requests a second arrive from addresses all over the world: traffic flows, keys are replaced, and
/// a peer connects anew.
pub fn disturbs_nobody() -> Outcome {
    let mut plan = Plan::new();
    // Somebody must be expected from anywhere, or strangers were not even heard.
    plan.azure.tunnel.push_str(ROAMING);
    with_pair(&plan, |pair| {
        pair.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "20"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        pair.ping_passes(false)?;
        let target = SocketAddr::new(pair.clouds.azure.public_address(false), 500);
        let over = AtomicBool::new(false);
        let over = &over;
        let before = drops(pair, false)?;
        let (flooded, done) = thread::scope(|scope| {
            let internet = &pair.clouds.internet;
            let flood = scope.spawn(move || flood(internet, target, over));
            let done = (|| {
                let (tally, ()) =
                    streaming(&pair.clouds.aws, &pair.clouds.azure, 2000, || rekey(pair, 30, 3))?;
                let dropped = since(&before, &drops(pair, false)?);
                let down = pair.aws.xvpn(&["down"])?;
                check(down.status.success(), String::from_utf8_lossy(&down.stderr))?;
                let begin = Instant::now();
                let up = pair.aws.xvpn(&["up", "--timeout", "80"])?;
                check(
                    up.status.success(),
                    format!("under the flood: {}", String::from_utf8_lossy(&up.stderr)),
                )?;
                let there = || {
                    pair.azure.status().is_ok_and(|status| {
                        let mut tunnels = status.tunnels.iter();
                        tunnels.any(|tunnel| tunnel.state == TunnelState::Established)
                    })
                };
                check(wait_until(PATIENCE, there), "the azure side is not established")?;
                pair.ping_passes(false)?;
                Ok::<_, Failure>((tally, dropped, begin.elapsed()))
            })();
            over.store(true, Ordering::Relaxed);
            let flooded = flood.join().map_err(|_| Failure("the flood broke".into()));
            (flooded, done)
        });
        let (sent, took) = flooded??;
        let (tally, dropped, connected) = done?;
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let ignored = pair.azure.status()?.ignored;
        println!(
            "  the flood: {sent} requests, {} a second; ignored by the gateway: {ignored:?}",
            sent * 1000 / millis
        );
        println!("  under it a peer connected anew within {connected:.1?}");
        nothing_lost(&tally, &dropped)
    })
}

/// Sends until it is over: how many, and how long.
fn flood(internet: &Namespace, target: SocketAddr, over: &AtomicBool) -> Result<(u64, Duration), Failure> {
    let sockets = internet.run(|| {
        own_network(ipnet::Ipv4Net::new(Ipv4Addr::new(198, 18, 0, 0), 15)?.into())
            .map_err(|error| Failure(error.to_string()))?;
        (0..SOURCES)
            .map(|number| {
                let spread = number * 257 % 0x20000;
                let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + spread);
                let socket = UdpSocket::bind((address, 500))?;
                socket.connect(target)?;
                Ok(socket)
            })
            .collect::<Result<Vec<_>, Failure>>()
    })??;
    let mut message = first_message();
    let begin = Instant::now();
    let (mut sent, mut last, mut credit) = (0u64, begin, 0u64);
    let mut sources = sockets.iter().cycle();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
        let now = Instant::now();
        let micros = u64::try_from((now - last).as_micros()).unwrap_or_default();
        last = now;
        credit = (credit + micros * FLOOD).min(FLOOD * 100_000);
        while credit >= 1_000_000 {
            credit -= 1_000_000;
            sent += 1;
            message[..8].copy_from_slice(&sent.to_be_bytes());
            // ICMP and full queues are no concern of a flood.
            drop(sources.next().map(|socket| socket.send(&message)));
        }
    }
    Ok((sent, begin.elapsed()))
}

/// What an honest initiator would send.
fn first_message() -> Vec<u8> {
    let request = InitRequest {
        cookie: None,
        puzzle_solution: None,
        sa: ike_offer(&proposal::default_ike(), None),
        ke: KeyExchange {
            method: KeyExchangeMethod::Curve25519.id(),
            data: vec![9; 32],
        },
        nonce: Nonce(vec![7; 32]),
        notifies: InitNotifies::default(),
        vendor_ids: Vec::new(),
    };
    let header = Header {
        initiator_spi: IkeSpi(1),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags {
            initiator: true,
            version: false,
            response: false,
        },
        message_id: 0,
    };
    build_plain(&header, &request.emit())
}

/// Requests per second.
const FLOOD: u64 = 50_000;
/// Addresses they come from.
const SOURCES: u32 = 500;
const ROAMING: &str = r#"
[[tunnel]]
name = "roaming"
local = { id = "azure.example", networks = ["10.2.0.0/24"] }
remote = { id = "roaming.example", address = "any", networks = ["10.77.0.0/24"] }
psk = { file = "FOLDER/psk" }
"#;
