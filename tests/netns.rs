//! Two real daemons with real TUNs and sockets in network namespaces.

mod harness;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use harness::pair::{PATIENCE, Pair, Plan, child, tunnel, with_pair};
use harness::runner::{self, Failure, Job, Outcome, check};
use xvpn::admin::api::TunnelState;
use xvpn::testbed::{Answer, Kind, Ping, end_orphan, make_file, ping, send_file, set_mtu, wait_until};

fn main() -> ExitCode {
    runner::main("XVPN_REQUIRE_NETNS", 2, || Ok(tests()))
}

type Test = fn() -> Outcome;

fn tests() -> Vec<Job> {
    let tests: [(&str, Test); 26] = [
        (
            "carries_ipv4_and_ipv6_in_ipv4_through_nat",
            carries_both_in_ipv4_through_nat,
        ),
        (
            "carries_ipv4_and_ipv6_in_ipv4_without_nat",
            carries_both_in_ipv4_without_nat,
        ),
        ("carries_ipv4_and_ipv6_in_ipv6", carries_both_in_ipv6),
        (
            "the_side_behind_the_nat_can_be_the_responder",
            responds_from_behind_the_nat,
        ),
        (
            "sends_native_esp_where_no_nat_is",
            sends_native_esp_where_no_nat_is,
        ),
        ("sends_native_esp_over_ipv6", sends_native_esp_over_ipv6),
        (
            "encapsulates_behind_nat_with_encapsulation_auto",
            encapsulates_behind_nat,
        ),
        ("encapsulates_without_nat_when_forced", encapsulates_when_forced),
        ("a_file_arrives_with_the_same_hash_both_ways", files_arrive),
        ("says_on_both_sides_that_the_keys_differ", says_that_keys_differ),
        (
            "says_on_both_sides_that_no_proposal_is_common",
            says_that_no_proposal_is_common,
        ),
        (
            "says_on_both_sides_that_the_networks_do_not_meet",
            says_that_networks_do_not_meet,
        ),
        (
            "says_that_an_unreachable_peer_does_not_answer",
            says_that_nobody_answers,
        ),
        ("down_keeps_the_routes_and_refuses_packets", down_refuses_packets),
        ("up_after_down_carries_traffic_again", comes_back_after_down),
        ("sigterm_ends_in_time_and_tells_the_peer", sigterm_tells_the_peer),
        ("leaves_the_host_as_it_was", leaves_the_host_as_it_was),
        (
            "cleans_up_after_a_crash_and_connects_again",
            recovers_from_a_crash,
        ),
        ("rubbish_on_both_ports_changes_nothing", rubbish_changes_nothing),
        ("tcp_passes_a_narrow_path_because_the_mss_is_clamped", clamps_mss),
        ("a_too_big_packet_is_answered_with_frag_needed", answers_too_big),
        ("copies_dscp_to_the_outer_header", copies_dscp),
        ("several_networks_share_one_child_sa", several_networks),
        ("packets_outside_the_selectors_do_not_pass", outside_the_selectors),
        ("up_starts_the_gateway_if_none_runs", up_starts_the_gateway),
        ("status_tells_both_sides_of_the_same_tunnel", status_agrees),
    ];
    tests
        .iter()
        .map(|(name, test)| Job::single(name, *test))
        .collect()
}

fn carries(plan: &Plan) -> Outcome {
    with_pair(plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.wire_is_clean()
    })
}

fn carries_both_in_ipv4_through_nat() -> Outcome {
    carries(&Plan::new())
}

fn carries_both_in_ipv4_without_nat() -> Outcome {
    carries(&Plan::new().without_nat())
}

fn carries_both_in_ipv6() -> Outcome {
    carries(&Plan {
        outer6: true,
        ..Plan::new().without_nat()
    })
}

fn responds_from_behind_the_nat() -> Outcome {
    // Without a forced NAT, what is found is what is there.
    let mut plan = Plan::new().both("encapsulation = \"auto\"");
    plan.azure.tunnel = plan.aws.tunnel.clone();
    with_pair(&plan, |pair| {
        pair.start()?;
        let output = pair.azure.xvpn(&["up", "--timeout", "20"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        pair.pings_pass()?;
        let ike = tunnel(&pair.aws)?.ike.ok_or("no IKE SA")?;
        check(
            ike.role == "responder" && ike.nat_local && !ike.nat_remote,
            format!("{ike:?}"),
        )
    })
}

fn carries_as(plan: &Plan, kind: &Kind, word: &str) -> Outcome {
    with_pair(plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.wire_carries(kind)?;
        for gateway in [&pair.aws, &pair.azure] {
            let encapsulation = child(gateway)?.encapsulation;
            check(encapsulation == word, format!("status says {encapsulation}"))?;
        }
        Ok(())
    })
}

fn sends_native_esp_where_no_nat_is() -> Outcome {
    carries_as(
        &Plan::new().without_nat().both("encapsulation = \"auto\""),
        &Kind::Esp,
        "esp",
    )
}

fn sends_native_esp_over_ipv6() -> Outcome {
    let plan = Plan {
        outer6: true,
        ..Plan::new().without_nat()
    };
    carries_as(&plan.both("encapsulation = \"auto\""), &Kind::Esp, "esp")
}

fn encapsulates_behind_nat() -> Outcome {
    carries_as(
        &Plan::new().both("encapsulation = \"auto\""),
        &Kind::EspInUdp,
        "udp",
    )
}

fn encapsulates_when_forced() -> Outcome {
    carries_as(
        &Plan::new().without_nat().both("encapsulation = \"force\""),
        &Kind::EspInUdp,
        "udp",
    )
}

fn files_arrive() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.wire.look_for(SECRET);
        transfer_both_ways(pair, 64 << 20)?;
        check(pair.wire.seen().needles == 0, "plaintext on the public wire")?;
        pair.wire_is_clean()
    })
}

fn transfer_both_ways(pair: &Pair<'_>, size: usize) -> Outcome {
    let file = pair.folder.join("file");
    let digest = make_file(&file, size, SECRET)?;
    for (v6, (from, to)) in [false, true].into_iter().zip(pair.directions()) {
        let transfer = send_file(&file, &from.host, &to.host, to.host_address(v6))?;
        check(
            transfer.digest == Some(digest),
            format!("another file arrived: {transfer:?}"),
        )?;
    }
    Ok(())
}

fn refused(plan: &Plan, here: &str, there: &str) -> Outcome {
    with_pair(plan, |pair| {
        pair.start()?;
        let said = pair.up_in_vain()?;
        check(
            said.contains(here) && said.contains("remedy"),
            format!("xvpn up said: {said}"),
        )?;
        let heard = wait_until(PATIENCE, || pair.azure.log().contains(there));
        check(heard, format!("the other side does not say `{there}`"))?;
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()
    })
}

fn says_that_keys_differ() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.psk = "another key that is long enough, too";
    refused(&plan, "the shared secrets differ", "the shared secrets differ")
}

fn says_that_no_proposal_is_common() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel += "ike_proposals = [\"aes256gcm16-prfsha256-x25519\"]\n";
    plan.azure.tunnel += "ike_proposals = [\"aes128-sha256-modp2048\"]\n";
    refused(
        &plan,
        "accepts none of our IKE proposals",
        "no common IKE proposal",
    )
}

fn says_that_networks_do_not_meet() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.local = vec!["10.77.0.0/24".into()];
    refused(&plan, "the peer refused our networks", "networks do not overlap")
}

fn says_that_nobody_answers() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.aws.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "3"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        check(
            !output.status.success() && said.contains("UDP 500"),
            format!("xvpn up said: {said}"),
        )?;
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()
    })
}

fn down_refuses_packets() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        check(
            pair.azure.wait_for(TunnelState::Listening, PATIENCE),
            "the peer was not told",
        )?;
        pair.wire.take();
        for v6 in [false, true] {
            pair.ping_is_refused(v6)?;
        }
        pair.wire_is_clean()?;
        let seen = pair.wire.seen();
        check(
            seen.count(&Kind::EspInUdp) == 0,
            format!("ESP after down: {:?}", seen.frames),
        )
    })
}

fn comes_back_after_down() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        pair.up()?;
        pair.pings_pass()
    })
}

fn sigterm_tells_the_peer() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        let ended = pair.aws.stop(Duration::from_secs(2))?;
        check(ended.status.success(), format!("ended with {}", ended.status))?;
        check(
            pair.azure
                .wait_for(TunnelState::Listening, Duration::from_secs(2)),
            "the peer was not told",
        )?;
        check(
            tunnel(&pair.azure)?.children.is_empty(),
            "the peer still has a CHILD SA",
        )
    })
}

fn leaves_the_host_as_it_was() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        let before = pair.inventories()?;
        pair.establish()?;
        pair.pings_pass()?;
        check(
            pair.inventories()? != before,
            "no interface, no route: this test would pass without a tunnel",
        )?;
        pair.ends_cleanly(&before)
    })
}

fn recovers_from_a_crash() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        let before = pair.inventories()?;
        pair.establish()?;
        pair.pings_pass()?;
        pair.aws.crash()?;
        pair.wire.take();
        // Between a crash and the restart nothing leaks, either.
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()?;
        pair.aws.start()?;
        pair.up()?;
        pair.pings_pass()?;
        pair.ends_cleanly(&before)
    })
}

fn rubbish_changes_nothing() -> Outcome {
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
        )
    })
}

/// Some thousand datagrams that nobody should obey: noise, truncated and padded headers, false lengths.
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

fn clamps_mss() -> Outcome {
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

fn answers_too_big() -> Outcome {
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

fn copies_dscp() -> Outcome {
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

fn several_networks() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.local.push("10.11.0.0/24".into());
    plan.azure.remote.push("10.11.0.0/24".into());
    with_pair(&plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let child = child(&pair.aws)?;
        check(
            child.local.len() == 3 && child.remote.len() == 2,
            format!("{:?} {:?}", child.local, child.remote),
        )
    })
}

fn outside_the_selectors() -> Outcome {
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

fn up_starts_the_gateway() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.azure.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "20"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let pid = pair.aws.status()?.pid;
        let result = (|| {
            check(
                output.status.success() && said.contains("started one"),
                format!("xvpn up said: {said}"),
            )?;
            pair.pings_pass()
        })();
        let ended = end_orphan(pid, libc::SIGTERM, Duration::from_secs(3));
        check(ended, "the gateway in the background does not end on SIGTERM")?;
        result
    })
}

fn status_agrees() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let (aws, azure) = (child(&pair.aws)?, child(&pair.azure)?);
        check(
            (&aws.spi_in, &aws.spi_out) == (&azure.spi_out, &azure.spi_in),
            "SPIs differ",
        )?;
        check(
            aws.suite == azure.suite,
            format!("{} and {}", aws.suite, azure.suite),
        )?;
        check(
            (&aws.local, &aws.remote) == (&azure.remote, &azure.local),
            "selectors differ",
        )?;
        let counted = wait_until(PATIENCE, || {
            child(&pair.aws).is_ok_and(|child| child.packets_in >= 4 && child.packets_out >= 4)
        });
        check(counted, "the packets are not counted")?;
        let json = pair.aws.xvpn(&["status", "--json"])?;
        serde_json::from_slice::<serde_json::Value>(&json.stdout)?;
        let secret = fs::read_to_string(pair.folder.join("aws/psk"))?;
        let text = String::from_utf8_lossy(&json.stdout).into_owned() + &pair.aws.log();
        check(!text.contains(&secret), "the pre-shared key is in the status or the log")
    })
}

const SECRET: &[u8] = b"xvpn test: this text must never be seen on the public wire";
