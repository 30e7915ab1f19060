//! IKE and ESP over TCP where UDP does not pass (RFC 9329).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use xvpn::testbed::{Barrier, Kind, lift_barrier, set_barrier, wait_until};

use crate::carriage::transfer_both_ways;
use crate::harness::pair::{PATIENCE, Pair, Plan, child, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check};
use crate::lanes::flows_during;
use crate::single::{begin, hold, sealing_on_both};

/// Both sides with this transport; azure listens.
fn plan(transport: &str) -> Plan {
    let mut plan = Plan::new().both(&format!("transport = \"{transport}\""));
    plan.azure.gateway.push_str("tcp_port = 4500\n");
    plan
}

fn barrier(pair: &Pair<'_>, barrier: Barrier) -> Outcome {
    Ok(pair.clouds.internet.run(|| set_barrier(barrier))??)
}

fn lift(pair: &Pair<'_>, barrier: Barrier) -> Outcome {
    Ok(pair.clouds.internet.run(|| lift_barrier(barrier))??)
}

/// Everything is in TCP, and the status of both sides says so.
fn is_in_tcp(pair: &Pair<'_>) -> Outcome {
    pair.wire_is_clean()?;
    let seen = pair.wire.seen();
    let udp = seen.count(&Kind::EspInUdp) + seen.count(&Kind::Esp);
    check(
        udp == 0 && seen.count(&Kind::Tcp) > 0,
        format!("on the wire: {:?}", seen.frames),
    )?;
    for gateway in [&pair.aws, &pair.azure] {
        let encapsulation = child(gateway)?.encapsulation;
        check(encapsulation == "tcp", format!("the status says {encapsulation}"))?;
    }
    Ok(())
}

fn carries(plan: &Plan) -> Outcome {
    with_pair(plan, |pair| {
        barrier(pair, Barrier::Udp)?;
        pair.establish()?;
        pair.pings_pass()?;
        is_in_tcp(pair)
    })
}

pub fn carries_in_ipv4_through_nat() -> Outcome {
    carries(&plan("tcp"))
}

pub fn carries_in_ipv6() -> Outcome {
    carries(&Plan {
        outer6: true,
        ..plan("tcp").without_nat()
    })
}

pub fn falls_back_where_udp_does_not_pass() -> Outcome {
    with_pair(&plan("auto"), |pair| {
        barrier(pair, Barrier::Udp)?;
        pair.establish()?;
        pair.pings_pass()?;
        is_in_tcp(pair)?;
        transfer_both_ways(pair, 16 << 20)?;
        is_in_tcp(pair)
    })
}

pub fn prefers_udp_where_it_passes() -> Outcome {
    with_pair(&plan("auto"), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.wire_carries(&Kind::EspInUdp)?;
        let seen = pair.wire.seen();
        check(
            seen.count(&Kind::Tcp) == 0,
            format!("TCP was tried: {:?}", seen.frames),
        )
    })
}

pub fn survives_new_keys_and_a_cut() -> Outcome {
    with_pair(&plan("tcp"), |pair| {
        pair.establish()?;
        for gateway in [&pair.aws, &pair.azure] {
            renew(pair, gateway, false)?;
            renew(pair, gateway, true)?;
        }
        let before = spis(pair)?;
        let local = |pair: &Pair<'_>| Ok::<_, Failure>(tunnel(&pair.azure)?.ike.map(|ike| ike.remote));
        let peer = local(pair)?;
        barrier(pair, Barrier::ResetTcp)?;
        // Something has to be sent for a connection to be reset.
        pair.ping_is_refused(false)?;
        std::thread::sleep(Duration::from_secs(1));
        lift(pair, Barrier::ResetTcp)?;
        pair.pings_pass()?;
        check(spis(pair)? == before, "the tunnel was negotiated anew")?;
        check(local(pair)? != peer, "the connection was never cut")?;
        transfer_both_ways(pair, 1 << 20)?;
        is_in_tcp(pair)
    })
}

/// Flows both ways that two queues seal, through one connection: each stays in order.
pub fn flows_stay_in_order() -> Outcome {
    let mut plan = plan("tcp").without_nat().both("spread = \"on\"");
    for side in [&mut plan.aws, &mut plan.azure] {
        side.gateway.push_str("queues = 2\n");
    }
    with_pair(&plan, |pair| {
        begin(pair)?;
        sealing_on_both(pair, || flows_during(pair, hold))?;
        is_in_tcp(pair)?;
        pair.pings_pass()
    })
}

/// A client that is not ours: octets as RFC 9329 2 and 3 print them, in pieces as TCP may deliver them.
pub fn speaks_the_format_to_a_client_that_is_not_ours() -> Outcome {
    with_pair(&plan("tcp").without_nat(), |pair| {
        pair.start()?;
        // The prefix; then the length of the frame with itself, the non-ESP marker, an IKE header of version 1 (Main Mode), and a
        // payload that nobody reads, for an answer is never longer than what it answers.
        let mut request = b"IKETCP\
            \x00\x56\x00\x00\x00\x00\
            initiato\0\0\0\0\0\0\0\0\x01\x10\x02\x00\0\0\0\0\0\0\0\x50"
            .to_vec();
        request.resize(6 + 0x56, 0);
        // INVALID_MAJOR_VERSION in a response of version 2, framed likewise, without a prefix (RFC 9329 4: the originator's alone).
        let expected = b"\x00\x2a\x00\x00\x00\x00\
            initiato\0\0\0\0\0\0\0\0\x29\x20\x02\x20\0\0\0\0\0\0\0\x24\
            \0\0\0\x08\0\0\0\x05";
        let mut client = connect(pair)?;
        for piece in request.chunks(5) {
            client.write_all(piece)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut answer = [0; 42];
        client.read_exact(&mut answer)?;
        check(&answer == expected, format!("the answer: {answer:02x?}"))?;

        // Who does not begin with the prefix gets nothing but the end of the connection.
        let mut stranger = connect(pair)?;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let end = stranger.read(&mut answer);
        let ended = match &end {
            Ok(octets) => *octets == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        check(ended, format!("without the prefix: {end:?}"))?;
        pair.up()?;
        pair.pings_pass()
    })
}

/// From the aws gateway's machine to the TCP port of the azure gateway.
fn connect(pair: &Pair<'_>) -> Result<TcpStream, Failure> {
    let address = SocketAddr::new(pair.clouds.azure.public_address(false), 4500);
    let stream = pair
        .clouds
        .aws
        .gateway
        .run(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Replaces an SA, and looks whether the tunnel still carries.
fn renew(pair: &Pair<'_>, gateway: &xvpn::testbed::Gateway<'_>, ike: bool) -> Outcome {
    let before = spis(pair)?;
    let arguments: &[&str] = if ike { &["rekey", "--ike"] } else { &["rekey"] };
    let output = gateway.xvpn(arguments)?;
    check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    let renewed = || {
        spis(pair).is_ok_and(|after| {
            if ike {
                after.0 != before.0
            } else {
                after.1 != before.1
            }
        })
    };
    // The CHILD SA before this one receives for some seconds more.
    check(
        wait_until(PATIENCE * 2, renewed),
        format!("no new keys (IKE: {ike})"),
    )?;
    pair.pings_pass()
}

/// What names the IKE SA, and the CHILD SA.
fn spis(pair: &Pair<'_>) -> Result<(String, String), Failure> {
    let ike = tunnel(&pair.aws)?.ike.ok_or("no IKE SA")?.spi_i;
    Ok((ike, child(&pair.aws)?.spi_in))
}
