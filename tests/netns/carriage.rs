//! What a tunnel carries, and how: families inside and outside, NAT, native ESP and UDP, several networks.

use std::fs;

use xvpn::testbed::{Kind, make_file, send_file, wait_until};

use crate::harness::pair::{PATIENCE, Pair, Plan, child, tunnel, with_pair};
use crate::harness::runner::{Outcome, check};

fn carries(plan: &Plan) -> Outcome {
    with_pair(plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.wire_is_clean()
    })
}

pub fn carries_both_in_ipv4_through_nat() -> Outcome {
    carries(&Plan::new())
}

pub fn carries_both_in_ipv4_without_nat() -> Outcome {
    carries(&Plan::new().without_nat())
}

pub fn carries_both_in_ipv6() -> Outcome {
    carries(&Plan {
        outer6: true,
        ..Plan::new().without_nat()
    })
}

pub fn responds_from_behind_the_nat() -> Outcome {
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

pub fn sends_native_esp_where_no_nat_is() -> Outcome {
    carries_as(
        &Plan::new().without_nat().both("encapsulation = \"auto\""),
        &Kind::Esp,
        "esp",
    )
}

pub fn sends_native_esp_over_ipv6() -> Outcome {
    let plan = Plan {
        outer6: true,
        ..Plan::new().without_nat()
    };
    carries_as(&plan.both("encapsulation = \"auto\""), &Kind::Esp, "esp")
}

pub fn encapsulates_behind_nat() -> Outcome {
    carries_as(
        &Plan::new().both("encapsulation = \"auto\""),
        &Kind::EspInUdp,
        "udp",
    )
}

pub fn encapsulates_when_forced() -> Outcome {
    carries_as(
        &Plan::new().without_nat().both("encapsulation = \"force\""),
        &Kind::EspInUdp,
        "udp",
    )
}

pub fn files_arrive() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.wire.look_for(SECRET);
        transfer_both_ways(pair, 64 << 20)?;
        check(pair.wire.seen().needles == 0, "plaintext on the public wire")?;
        pair.wire_is_clean()
    })
}

pub fn transfer_both_ways(pair: &Pair<'_>, size: usize) -> Outcome {
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

pub fn several_networks() -> Outcome {
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

pub fn status_agrees() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let (aws, azure) = (child(&pair.aws)?, child(&pair.azure)?);
        check(
            (&aws.spi_in, &aws.spi_out) == (&azure.spi_out, &azure.spi_in),
            "SPIs differ",
        )?;
        check(
            // The default of both: an implicit IV (RFC 8750).
            aws.suite == azure.suite && aws.suite == "aes256gcm16iiv-esn",
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
        let queues = pair.aws.status()?.queue_stages;
        for name in [
            "tun_read",
            "seal",
            "wire_send",
            "wire_receive",
            "open",
            "tun_write",
        ] {
            let stages = queues.iter().flat_map(|queue| &queue.stages);
            let packets: u64 = stages.filter(|s| s.name == name).map(|s| s.packets).sum();
            check(
                packets >= 4,
                format!("{packets} packets went through the stage {name}: {queues:?}"),
            )?;
        }
        let json = pair.aws.xvpn(&["status", "--json"])?;
        serde_json::from_slice::<serde_json::Value>(&json.stdout)?;
        let secret = fs::read_to_string(pair.folder.join("aws/psk"))?;
        let text = String::from_utf8_lossy(&json.stdout).into_owned() + &pair.aws.log();
        check(
            !text.contains(&secret),
            "the pre-shared key is in the status or the log",
        )
    })
}

const SECRET: &[u8] = b"xvpn test: this text must never be seen on the public wire";
