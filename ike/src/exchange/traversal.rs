//! NAT traversal in the exchanges: what is notified, what follows from it (RFC 7296 2.23, RFC 3948).

use std::net::SocketAddr;

use crate::api::{Encapsulation, PORT_IKE, PORT_NAT_T, Path};
use crate::config::EncapsulationPolicy;
use crate::message::InitNotifies;
use crate::negotiate::nat::{NatStatus, detect, detection_hash};

/// The contents of both NAT_DETECTION notifies. To force encapsulation, our source is not what the peer will see: it
/// finds a NAT before us that is not there (RFC 7296 2.23 allows for it; every implementation falls for it).
pub(crate) fn nat_detection(spis: (u64, u64), path: Path, policy: EncapsulationPolicy) -> InitNotifies {
    let source = match policy {
        EncapsulationPolicy::Auto => path.detected_local(),
        // RFC 9329 6.5: over TCP there is nothing to force.
        EncapsulationPolicy::Force if path.is_tcp() => path.detected_local(),
        EncapsulationPolicy::Force => SocketAddr::new(path.local.ip(), 0),
    };
    InitNotifies {
        nat_detection_source: vec![detection_hash(spis.0, spis.1, source)],
        nat_detection_destination: vec![detection_hash(spis.0, spis.1, path.remote)],
        ..InitNotifies::default()
    }
}

/// What the peer's notifies say; `None` if it does not speak NAT traversal.
pub(crate) fn detected(spis: (u64, u64), path: Path, notifies: &InitNotifies) -> Option<NatStatus> {
    let sources = notifies.nat_detection_source.iter().map(<[u8; 20]>::as_slice);
    let destination = notifies
        .nat_detection_destination
        .first()
        .map(<[u8; 20]>::as_slice);
    detect(spis, (path.detected_local(), path.remote), sources, destination)
}

/// Into UDP if there is a NAT or we want it so, and the peer knows how. RFC 9329 5, 6.5: where IKE goes by TCP, ESP does too,
/// with or without a NAT.
pub(crate) fn encapsulation(
    path: Path,
    traversal: Option<NatStatus>,
    policy: EncapsulationPolicy,
) -> Encapsulation {
    if path.is_tcp() {
        return Encapsulation::Tcp;
    }
    match (traversal, policy) {
        (Some(nat), EncapsulationPolicy::Auto) if nat.any() => Encapsulation::Udp,
        (Some(_), EncapsulationPolicy::Force) => Encapsulation::Udp,
        (Some(_) | None, EncapsulationPolicy::Auto) | (None, EncapsulationPolicy::Force) => {
            Encapsulation::None
        }
    }
}

/// RFC 7296 2.23: with a NAT everything after IKE_SA_INIT goes from port 4500 to port 4500. A TCP connection stays.
pub(crate) fn float(path: Path) -> Path {
    if path.is_tcp() {
        return path;
    }
    let port = |end: SocketAddr| {
        SocketAddr::new(
            end.ip(),
            if end.port() == PORT_IKE {
                PORT_NAT_T
            } else {
                end.port()
            },
        )
    };
    Path {
        local: port(path.local),
        remote: port(path.remote),
    }
}
