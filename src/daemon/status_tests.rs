//! A tunnel's state as its operator sees it.

use xvpn_ike::api::{CloseReason, Path, Role, SoftLimit, Step};
use xvpn_ike::auth::verified::Means;
use xvpn_ike::crypto::sign::SignatureAlgorithm;
use xvpn_ike::error::{Cause, Exchange, Failure};
use xvpn_ike::negotiate::transform::KeyExchangeMethod;

use super::*;
use crate::config::{self, Purpose};

const ID: ConnectionId = ConnectionId(0);

fn tunnel(start: &str) -> Tunnel {
    tunnel_with(start, "")
}

fn tunnel_with(start: &str, keys: &str) -> Tunnel {
    let dir = std::env::temp_dir().join(format!(
        "xvpn-status-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("xvpn.toml");
    let text = format!(
        r#"
        [[tunnel]]
        name = "azure"
        local = {{ id = "aws.example", networks = ["10.1.0.0/16"] }}
        remote = {{ id = "azure.example", address = "198.51.100.7", networks = ["10.2.0.0/16"] }}
        psk = "2Zx4ovRQnB4RXSYtqBE5sRLkX2a8Fh8ZbRb9dOQk3wY="
        start = "{start}"
        {keys}
        "#
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let loaded =
        config::load(&file, Purpose::Run).unwrap_or_else(|report| panic!("{}", report.render(false)));
    std::fs::remove_dir_all(dir).unwrap();
    let config = loaded.config.tunnels.into_iter().next().unwrap();
    Tunnel::new(config, 1406, Instant::now())
}

fn path() -> Path {
    Path {
        local: "192.0.2.1:4500".parse().unwrap(),
        remote: "198.51.100.7:4500".parse().unwrap(),
    }
}

fn progress() -> Event {
    Event::Progress {
        connection: ID,
        step: Step::InitResponse,
        path: path(),
    }
}

fn ike() -> Event {
    let ike = IkeFacts {
        role: Role::Initiator,
        spi_i: 1,
        spi_r: 2,
        suite: "aes256gcm16-prfsha256-x25519".into(),
        key_exchange: KeyExchangeMethod::Curve25519,
        remote_identity: "azure.example".parse().unwrap(),
        path: path(),
        nat_local: false,
        nat_remote: true,
        redirectable: false,
        local_auth: Some(Means::Psk),
        remote_auth: Some(Means::Certificate(SignatureAlgorithm::Ed25519)),
        ppk: false,
    };
    Event::IkeEstablished { connection: ID, ike }
}

fn child() -> Event {
    let net = |text: &str| vec![text.parse::<ipnet::IpNet>().unwrap().into()];
    let child = ChildFacts {
        name: "net".into(),
        resource: None,
        inbound_spi: Spi(0x1111_2222),
        outbound_spi: Spi(0x3333_4444),
        suite: "aes256gcm16-esn".into(),
        local: net("10.1.0.0/16"),
        remote: net("10.2.0.0/16"),
        encapsulation: Encapsulation::Udp,
        aggfrag: None,
        soft: SoftLimit {
            at: Instant::now() + Duration::from_secs(3000),
            bytes: Some(1000),
            packets: None,
        },
    };
    Event::ChildEstablished {
        connection: ID,
        child,
    }
}

fn closed(reason: CloseReason) -> Event {
    Event::IkeClosed {
        connection: ID,
        reason,
    }
}

fn failed() -> Event {
    let cause = Cause::NoResponse { tries: 8 };
    let failure = Failure::new(Exchange::IkeSaInit, cause);
    Event::Failed {
        connection: Some(ID),
        path: path(),
        failure,
        retry_in: Some(Duration::from_secs(4)),
    }
}

#[test]
fn a_tunnel_comes_up_is_lost_fails_and_comes_up_again() {
    let (mut tunnel, now) = (tunnel("up"), Instant::now());
    assert_eq!(tunnel.state(), TunnelState::Connecting);
    for event in [progress(), ike()] {
        assert_eq!(
            tunnel.on_event(&event, now).unwrap().state,
            TunnelState::Connecting
        );
    }
    let up = tunnel.on_event(&child(), now).unwrap();
    assert_eq!(up.state, TunnelState::Established);
    assert!(
        up.message.contains("10.1.0.0/16 <-> 10.2.0.0/16"),
        "{}",
        up.message
    );

    tunnel.on_event(&closed(CloseReason::Unreachable), now).unwrap();
    assert_eq!(
        (tunnel.state(), tunnel.has_sa()),
        (TunnelState::Connecting, false)
    );
    let progress = tunnel.on_event(&failed(), now).unwrap();
    assert_eq!(progress.state, TunnelState::Failed);
    let failure = progress.failure.unwrap();
    assert!(!failure.permanent && !failure.remedy.is_empty(), "{failure:?}");
    assert_eq!(
        tunnel
            .report(now + Duration::from_secs(1))
            .failure
            .unwrap()
            .retry_in_ms,
        Some(3000)
    );

    tunnel.on_event(&ike(), now);
    tunnel.on_event(&child(), now);
    assert!(
        tunnel.report(now).failure.is_none(),
        "what is over is not reported"
    );
}

#[test]
fn down_means_closing_until_the_peer_knows() {
    let (mut tunnel, now) = (tunnel("up"), Instant::now());
    tunnel.on_event(&ike(), now);
    tunnel.on_event(&child(), now);
    assert_eq!(tunnel.want(false, now).unwrap().state, TunnelState::Closing);
    assert!(
        tunnel
            .on_event(
                &Event::ChildClosed {
                    connection: ID,
                    inbound_spi: Spi(0x1111_2222)
                },
                now
            )
            .is_none()
    );
    let gone = tunnel.on_event(&closed(CloseReason::Operator), now).unwrap();
    assert_eq!((gone.state, tunnel.barred), (TunnelState::Down, true));
    assert_eq!(tunnel.want(true, now).unwrap().state, TunnelState::Connecting);
}

#[test]
fn a_listening_tunnel_never_begins_and_shows_the_peer_who_does() {
    let (mut tunnel, now) = (tunnel("listen"), Instant::now());
    assert!(tunnel.passive() && tunnel.wanted);
    assert_eq!(tunnel.state(), TunnelState::Listening);
    tunnel.on_event(&ike(), now);
    tunnel.on_event(&child(), now);
    tunnel.on_event(&closed(CloseReason::Peer), now);
    assert_eq!(tunnel.state(), TunnelState::Listening);
}

#[test]
fn a_failed_second_negotiation_takes_nothing_from_one_that_stands() {
    let (mut tunnel, now) = (tunnel("manual"), Instant::now());
    assert_eq!(tunnel.state(), TunnelState::Down);
    tunnel.on_event(&ike(), now);
    tunnel.on_event(&child(), now);
    assert_eq!(
        tunnel.on_event(&failed(), now).unwrap().state,
        TunnelState::Established
    );
}

#[test]
fn a_peer_that_refuses_a_constant_rate_is_told_of_when_the_tunnel_comes_up() {
    let (mut plain, now) = (tunnel("up"), Instant::now());
    let mut constant = tunnel_with("up", "iptfs = \"constant\"\niptfs_rate = 500");
    let said = |tunnel: &mut Tunnel| {
        let Event::ChildEstablished {
            connection,
            child: mut facts,
        } = child()
        else {
            panic!("another event");
        };
        facts.name.clone_from(&tunnel.config.children[0].name);
        let named = Event::ChildEstablished {
            connection,
            child: facts,
        };
        tunnel.on_event(&named, now).unwrap().message
    };
    assert!(!said(&mut plain).contains("iptfs"));
    assert!(said(&mut constant).contains("the peer refuses `iptfs`"));
}

#[test]
fn a_peer_that_takes_whole_packets_only_is_warned_of_where_ipv6_may_not_fit() {
    let warned = |keys: &str, reassembles, remote: &str| {
        let tunnel = tunnel_with("up", &format!("iptfs = \"constant\"\niptfs_rate = 500\n{keys}"));
        let Event::ChildEstablished { mut child, .. } = child() else {
            panic!("that is what it is");
        };
        child.aggfrag = Some(xvpn_ike::config::Aggfrag { reassembles });
        child.remote = vec![remote.parse::<ipnet::IpNet>().unwrap().into()];
        let ours = tunnel.config.children[0].iptfs;
        words::too_short_for_ipv6(&child, ours, tunnel.config.path_mtu)
    };
    for keys in ["iptfs_size = 1200", "path_mtu = 1390"] {
        let warning = warned(keys, false, "fd02::/64").unwrap();
        assert!(
            warning.contains("dropped") && warning.contains("1400"),
            "{warning}"
        );
        // It puts them together, or there are none.
        assert_eq!(warned(keys, true, "fd02::/64"), None);
        assert_eq!(warned(keys, false, "10.2.0.0/16"), None);
    }
    assert_eq!(warned("iptfs_size = 1400", false, "fd02::/64"), None);
}
