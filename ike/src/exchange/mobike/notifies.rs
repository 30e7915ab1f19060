//! The notifies of MOBIKE (RFC 4555 4.2): addresses of both sides, NAT detection, and the prohibition of NATs.

use std::net::{IpAddr, SocketAddr};

use crate::api::{Path, Role};
use crate::exchange::traversal::nat_detection;
use crate::message::InitNotifies;
use crate::sa::ike_sa::IkeSa;
use crate::sa::mobility::MOST_ADDRESSES;
use crate::state::Established;
use crate::wire::payload::{Notify, NotifyType};

/// What IKE_AUTH says of it (RFC 4555 3.1, 3.4, 3.9).
pub(crate) fn announce(ike: &IkeSa, own: &[IpAddr]) -> Vec<Notify> {
    // RFC 4555 3.4: those besides the one that the message comes from.
    let others = own.iter().filter(|own| **own != ike.path.local.ip());
    let mut notifies: Vec<Notify> = others.take(MOST_ADDRESSES).map(additional).collect();
    if ike.role == Role::Initiator {
        notifies.extend(prohibition(ike, ike.path));
    }
    notifies
}

/// The peer's other addresses.
pub(crate) fn addresses(notifies: &[Notify]) -> Vec<IpAddr> {
    let address = |notify: &Notify| match notify.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => {
            <[u8; 4]>::try_from(notify.data.as_slice()).ok().map(IpAddr::from)
        }
        NotifyType::ADDITIONAL_IP6_ADDRESS => <[u8; 16]>::try_from(notify.data.as_slice())
            .ok()
            .map(IpAddr::from),
        NotifyType(_) => None,
    };
    notifies.iter().filter_map(address).take(MOST_ADDRESSES).collect()
}

/// RFC 4555 3.9: the peer forbids NATs, and there is one.
pub(crate) fn finds_forbidden_nat(notifies: &[Notify], path: Path) -> bool {
    let mut claims = notifies
        .iter()
        .filter(|notify| notify.kind == NotifyType::NO_NATS_ALLOWED);
    claims.any(|claim| claim.data != ends(path.remote, path.local))
}

/// NAT_DETECTION_* for this path.
pub(super) fn nat_notifies(established: &Established, path: Path) -> Vec<Notify> {
    if !established.ike.features.nat_traversal {
        return Vec::new();
    }
    let spis = (established.ike.spi_i.0, established.ike.spi_r.0);
    let hashes = nat_detection(spis, path, established.config.encapsulation);
    let source = |hash: &[u8; 20]| Notify::with_data(NotifyType::NAT_DETECTION_SOURCE_IP, hash.to_vec());
    let destination =
        |hash: &[u8; 20]| Notify::with_data(NotifyType::NAT_DETECTION_DESTINATION_IP, hash.to_vec());
    let sources = hashes.nat_detection_source.iter().map(source);
    sources
        .chain(hashes.nat_detection_destination.iter().map(destination))
        .collect()
}

/// NAT_DETECTION_* that came.
pub(super) fn detection(notifies: &[Notify]) -> InitNotifies {
    let all = |wanted: NotifyType| {
        let of_kind = notifies.iter().filter(move |notify| notify.kind == wanted);
        of_kind.filter_map(|notify| <[u8; 20]>::try_from(notify.data.as_slice()).ok())
    };
    InitNotifies {
        nat_detection_source: all(NotifyType::NAT_DETECTION_SOURCE_IP).collect(),
        nat_detection_destination: all(NotifyType::NAT_DETECTION_DESTINATION_IP).collect(),
        ..InitNotifies::default()
    }
}

/// NAT_DETECTION_DESTINATION_IP that came.
pub(super) fn destination(notifies: &[Notify]) -> Option<[u8; 20]> {
    detection(notifies).nat_detection_destination.first().copied()
}

/// RFC 4555 3.6: the whole list, or that there is none.
pub(super) fn own_addresses(established: &Established) -> Vec<Notify> {
    let current = established.ike.path.local.ip();
    let others = established.mobility.own.iter().filter(|own| **own != current);
    let list: Vec<Notify> = others.map(additional).collect();
    if list.is_empty() {
        vec![Notify::new(NotifyType::NO_ADDITIONAL_ADDRESSES)]
    } else {
        list
    }
}

fn additional(address: &IpAddr) -> Notify {
    match address {
        IpAddr::V4(v4) => Notify::with_data(NotifyType::ADDITIONAL_IP4_ADDRESS, v4.octets().to_vec()),
        IpAddr::V6(v6) => Notify::with_data(NotifyType::ADDITIONAL_IP6_ADDRESS, v6.octets().to_vec()),
    }
}

/// RFC 4555 3.9: without NAT traversal the addresses are protected.
pub(super) fn prohibition(ike: &IkeSa, path: Path) -> Option<Notify> {
    let forbids = !ike.features.nat_traversal;
    forbids.then(|| Notify::with_data(NotifyType::NO_NATS_ALLOWED, ends(path.local, path.remote)))
}

/// RFC 4555 4.2.6: source, destination, their ports.
fn ends(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut data = Vec::new();
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(v4) => data.extend(v4.octets()),
            IpAddr::V6(v6) => data.extend(v6.octets()),
        }
    }
    for end in [source, destination] {
        data.extend(end.port().to_be_bytes());
    }
    data
}
