//! CHILD SAs for single resources (RFC 9611) and the queues of both dataplanes.
//!
//! SA_RESOURCE_INFO carries what identifies the resource to its sender and to nobody else (RFC 9611 5.1). Between two xvpn a fifth
//! octet follows the four of the resource's number: 1 if ESP may come to the sender from any UDP port. It says so if it sees no
//! NAT before itself: a NAT lets in only what answers to what went out, from port 4500 to port 4500. The other side sends from
//! ports of its own if there is no NAT before it either, which would have to keep a mapping for each. Only a static NAT does not
//! matter, as clouds have it before their machines; but what kind it is cannot be seen from here, so the operator has to say so.
//!
//! A peer that is not an xvpn might take another port for that of a NAT that has changed (RFC 7296 2.23), and send there.

use crate::api::{Encapsulation, Spi};
use crate::config::ConnectionId;
use crate::state::Established;
use crate::wire::payload::{Notify, NotifyType};

/// SA_RESOURCE_INFO of a CHILD SA for one resource.
pub(super) fn notify(established: &Established, resource: Option<u32>) -> Option<Notify> {
    let mut data = resource?.to_be_bytes().to_vec();
    if established.ike.features.xvpn {
        data.push(u8::from(takes_any_port(established)));
    }
    Some(Notify::with_data(NotifyType::SA_RESOURCE_INFO, data))
}

/// Whether the peer receives the SA apart from others by its UDP port, by what it notifies; and whether we may then send from other
/// ports than 4500.
pub(super) fn apart(established: &Established, notifies: &[Notify]) -> [bool; 2] {
    let says = |notify: &Notify| {
        notify.kind == NotifyType::SA_RESOURCE_INFO && matches!(notify.data.as_slice(), [_, _, _, _, 1])
    };
    let apart = notifies.iter().any(says);
    [apart, apart && takes_any_port(established)]
}

/// The queue that shall receive the first CHILD SA of a connection is that of this number.
///
/// The dataplane sends for a tunnel whose flows it does not spread on the queue of the connection's own number, so receiving is the
/// next one's: with one SA and two queues, each has one direction.
pub(super) fn first(connection: ConnectionId) -> u32 {
    connection.0.wrapping_add(1)
}

/// The queue that shall receive a new CHILD SA is that of this number.
///
/// What replaces another takes its queue, so that no packet on the new one overtakes one on the old. A resource has its own queue
/// where its packets can be told from others before they are opened: by a UDP port of their own, or by IP protocol 50. All others
/// of a peer share a queue, because the kernel may join their datagrams to one piece. Whether the peer sends from ports of its own is not
/// known when the SPI is chosen; if it does not, it sends on the SA for any resource only ([`apart`]).
pub(super) fn spi_like(established: &Established, resource: Option<u32>, replaced: Option<Spi>) -> u32 {
    if let Some(old) = replaced {
        return old.0;
    }
    let apart = match established.ike.encapsulation {
        Encapsulation::Udp => takes_any_port(established),
        Encapsulation::None => true,
        Encapsulation::Tcp => false,
    };
    let others = || established.children.keys().next().map(|spi| spi.0);
    let own = resource.filter(|_| apart).or_else(others);
    own.unwrap_or_else(|| first(established.config.id))
}

/// Whether the peer's ESP reaches us from whatever port.
fn takes_any_port(established: &Established) -> bool {
    let ike = &established.ike;
    let open = !ike.nat.nat_local || established.config.static_nat;
    ike.features.xvpn && ike.encapsulation == Encapsulation::Udp && open
}
