//! Gateways that change their addresses under traffic (RFC 4555).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use xvpn::testbed::{Cloud, Gateway, change_address, wait_until};

use crate::harness::pair::{Pair, Plan, child, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// The gateway that began the tunnel gets another address.
pub fn follows_the_initiator() -> Outcome {
    with_pair(
        &Plan::new().without_nat().both("encapsulation = \"auto\""),
        |pair| {
            let to = Ipv4Addr::new(203, 0, 113, 77);
            pair.establish()?;
            follows(pair, &pair.clouds.aws, &pair.aws, to)
        },
    )
}

/// The one that answered gets another.
pub fn follows_the_responder() -> Outcome {
    with_pair(&Plan::new().without_nat(), |pair| {
        let to = Ipv4Addr::new(198, 51, 100, 77);
        pair.establish()?;
        follows(pair, &pair.clouds.azure, &pair.azure, to)
    })
}

fn follows(pair: &Pair<'_>, cloud: &Cloud, mover: &Gateway<'_>, to: Ipv4Addr) -> Outcome {
    pair.pings_pass()?;
    let before = (child(&pair.aws)?.spi_in, child(&pair.azure)?.spi_in);
    let (over, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    let (over, arrived) = (&over, &arrived);
    let address = SocketAddr::new(pair.clouds.azure.host_address(false), 7008);
    let receiver = pair.clouds.azure.host.run(|| UdpSocket::bind(address))??;
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    let sender = pair.clouds.aws.host.run(|| UdpSocket::bind("0.0.0.0:0"))??;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut octets = [0; 16];
            while !over.load(Ordering::Relaxed) {
                if receiver.recv(&mut octets).is_ok() {
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Between two addresses there is a moment without a way.
                let _ = sender.send_to(&[7; 16], address);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let result = (|| {
            check(
                wait_until(Duration::from_secs(3), || arrived.load(Ordering::Relaxed) > 50),
                "no traffic before the change",
            )?;
            change(cloud, to)?;
            let there = || outer(mover).is_ok_and(|local| local == IpAddr::from(to));
            check(
                wait_until(Duration::from_secs(5), there),
                "the gateway did not move",
            )?;
            let at = arrived.load(Ordering::Relaxed);
            let flows = || arrived.load(Ordering::Relaxed) > at + 200;
            check(
                wait_until(Duration::from_secs(5), flows),
                "no traffic after the change",
            )
        })();
        over.store(true, Ordering::Relaxed);
        result
    })?;
    pair.pings_pass()?;
    let after = (child(&pair.aws)?.spi_in, child(&pair.azure)?.spi_in);
    check(before == after, "the tunnel was negotiated anew")?;
    pair.wire_is_clean()
}

fn change(cloud: &Cloud, to: Ipv4Addr) -> Outcome {
    let network = IpNet::new_assert(to.into(), 24);
    let router = match network.network() {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() | 1).into(),
        IpAddr::V6(first) => IpAddr::V6(first),
    };
    Ok(cloud.gateway.run(|| change_address("wan", network, router))??)
}

fn outer(gateway: &Gateway<'_>) -> Result<IpAddr, Failure> {
    let ike = tunnel(gateway)?.ike.ok_or_else(|| "no IKE SA".to_owned())?;
    Ok(ike.local.ip())
}
