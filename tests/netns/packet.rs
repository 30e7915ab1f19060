//! What becomes of single packets: rubbish, too big ones, marked ones, those that do not belong into the tunnel.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use xvpn::admin::api::Counter;
use xvpn::testbed::{Answer, Gateway, Kind, Ping, ping, set_mtu};

use crate::carriage::transfer_both_ways;
use crate::harness::pair::{PATIENCE, Plan, child, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

pub fn rubbish_changes_nothing() -> Outcome {
    with_pair(&Plan::new().without_nat(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let before = child(&pair.aws)?;
        let target = pair.clouds.aws.public4;
        pair.clouds.internet.run(|| throw_rubbish(target.into()))??;
        pair.pings_pass()?;
        let after = child(&pair.aws)?;
        check(before.spi_in == after.spi_in, "the CHILD SA was replaced")?;
        let status = pair.aws.status()?;
        let counted: u64 = status
            .ignored
            .iter()
            .chain(&status.discards)
            .map(|counter| counter.count)
            .sum();
        check(
            counted >= 1000,
            format!(
                "only {counted} counted: {:?} {:?}",
                status.ignored, status.discards
            ),
        )?;
        queues_say_what_each_refused(&pair.aws)
    })
}

/// What is counted as refused is counted for a queue (here was nothing for control to refuse), and shown under it.
fn queues_say_what_each_refused(gateway: &Gateway<'_>) -> Outcome {
    let status = gateway.status()?;
    let sum = |counters: &[Counter]| counters.iter().map(|counter| counter.count).sum::<u64>();
    let queues: Vec<u64> = status
        .queue_stages
        .iter()
        .map(|queue| sum(&queue.discards))
        .collect();
    println!("  refused by each queue: {queues:?}");
    check(
        sum(&status.discards) > 0
            && queues.iter().sum::<u64>() == sum(&status.discards)
            && status.control_discards.is_empty(),
        format!("{queues:?} of {:?}", status.discards),
    )?;
    let text = gateway.xvpn(&["status", "--queues"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let shown = text.lines().filter(|line| line.starts_with("  refused       "));
    let refusing = queues.iter().filter(|refused| **refused > 0);
    check(shown.count() == refusing.count(), text)
}

fn throw_rubbish(target: std::net::IpAddr) -> Result<(), Failure> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..3000_usize {
        let mut datagram = vec![0; round * 7 % 1400];
        for octet in &mut datagram {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *octet = state.to_le_bytes()[3];
        }
        let port = if round % 2 == 0 { 500 } else { 4500 };
        match round % 4 {
            // A header that looks right, of an IKE_SA_INIT or an IKE_AUTH, with a length that is right or not.
            0 | 1 if datagram.len() > 32 => {
                let at = if port == 4500 { 4 } else { 0 };
                datagram[..at].fill(0);
                datagram[at + 17] = 0x20;
                datagram[at + 18] = 34 + u8::try_from(round % 4).unwrap_or_default();
                datagram[at + 19] = 0x08;
                let length = u32::try_from(datagram.len() - at)?;
                datagram[at + 24..at + 28].copy_from_slice(&length.to_be_bytes());
            }
            _ => {}
        }
        socket.send_to(&datagram, SocketAddr::new(target, port))?;
        if round % 50 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

pub fn clamps_mss() -> Outcome {
    with_pair(&Plan::new().both("path_mtu = 1300"), |pair| {
        pair.clouds.internet.run(|| {
            ["aws", "azure"]
                .into_iter()
                .try_for_each(|wire| set_mtu(wire, 1300))
        })??;
        pair.establish()?;
        for v6 in [false, true] {
            for (from, to) in pair.directions() {
                let listener = to
                    .host
                    .run(|| TcpListener::bind(SocketAddr::new(to.host_address(v6), 0)))??;
                let address = listener.local_addr()?;
                let client = from
                    .host
                    .run(|| TcpStream::connect_timeout(&address, PATIENCE))??;
                let (server, _) = listener.accept()?;
                for socket in [&client, &server] {
                    // What the other end's SYN allows, before any "packet too big" could have told.
                    let mss = socket2::SockRef::from(socket).tcp_mss()?;
                    check(mss < 1240, format!("an MSS of {mss} towards {address}"))?;
                }
            }
        }
        transfer_both_ways(pair, 4 << 20)?;
        pair.wire_is_clean()?;
        let seen = pair.wire.seen();
        let whole =
            seen.count(&Kind::Fragment) == 0 && seen.count(&Kind::PathError) == 0 && seen.largest_esp <= 1300;
        check(
            whole,
            format!("on the wire: {:?}, largest {}", seen.frames, seen.largest_esp),
        )
    })
}

pub fn answers_too_big() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        for v6 in [false, true] {
            let big = Ping {
                size: 1440,
                dont_fragment: true,
                patience: Duration::from_secs(2),
                ..Ping::to(pair.clouds.azure.host_address(v6))
            };
            let Answer::TooBig { mtu } = pair.clouds.aws.host.run(|| ping(big))?? else {
                return Err(Failure(format!(
                    "a packet of more than the tunnel carries passed (IPv6: {v6})"
                )));
            };
            check((1280..1500).contains(&mtu), format!("an MTU of {mtu}"))?;
            let headers = if v6 { 48 } else { 28 };
            let fitting = Ping {
                size: usize::try_from(mtu)? - headers,
                ..big
            };
            let answer = pair.clouds.aws.host.run(|| ping(fitting))??;
            check(
                answer.is_reply(),
                format!("a packet of the MTU told ({mtu}): {answer:?}"),
            )?;
        }
        let seen = pair.wire.seen();
        check(
            seen.count(&Kind::Fragment) == 0,
            format!("fragments on the wire: {:?}", seen.frames),
        )
    })
}

pub fn copies_dscp() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.wire.take();
        // DSCP 46 (EF) with ECT(0), which RFC 6040 copies at ingress.
        let marked = Ping {
            traffic_class: 46 << 2 | 0b10,
            ..Ping::to(pair.clouds.azure.host4)
        };
        let answer = pair.clouds.aws.host.run(|| ping(marked))??;
        check(answer.is_reply(), format!("{answer:?}"))?;
        std::thread::sleep(Duration::from_millis(150));
        let classes = pair.wire.seen().traffic_classes;
        check(
            classes.contains(&(46 << 2 | 0b10)),
            format!("on the outer headers: {classes:02x?}"),
        )
    })
}

pub fn outside_the_selectors() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.local = vec!["10.1.0.0/29".into()];
    plan.azure.remote = vec!["10.1.0.0/29".into()];
    with_pair(&plan, |pair| {
        pair.establish()?;
        // The host has 10.1.0.10, which 10.1.0.0/29 does not include.
        pair.ping_is_refused(false)?;
        let seen = pair.wire.seen();
        check(
            seen.count(&Kind::EspInUdp) == 0,
            format!("it was sent: {:?}", seen.frames),
        )?;
        pair.wire_is_clean()
    })
}
