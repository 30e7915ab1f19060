//! CHILD SAs for single resources (RFC 9611) and the queues of both dataplanes.
//!
//! SA_RESOURCE_INFO carries what identifies the resource to its sender and to nobody else (RFC 9611 5.1). Between two xvpn a fifth
//! octet of flags follows the four of the resource's number. [`ANY_PORT`]: ESP may come to the sender from any UDP port. It says so if it
//! sees no NAT before itself: a NAT lets in only what answers to what went out, from port 4500 to port 4500. The other side sends from
//! ports of its own if there is no NAT before it either, which would have to keep a mapping for each. Only a static NAT does not
//! matter, as clouds have it before their machines; but what kind it is cannot be seen from here, so the operator has to say so.
//!
//! [`OWN_QUEUE`]: the sender receives this SA on another queue than some other SA of the same peer. That may be so without the first flag,
//! because what replaces an SA keeps its queue although a NAT may have come between (RFC 4555), and because ESP without UDP needs no ports.
//!
//! A peer that is not an xvpn might take another port for that of a NAT that has changed (RFC 7296 2.23), and send there.

use crate::api::{Encapsulation, Spi};
use crate::config::ConnectionId;
use crate::sa::spis::Spis;
use crate::state::Established;
use crate::wire::payload::{Notify, NotifyType};

/// SA_RESOURCE_INFO of a CHILD SA for one resource, with this SPI of ours.
pub(super) fn notify(
    spis: &Spis,
    established: &Established,
    resource: Option<u32>,
    spi: Spi,
) -> Option<Notify> {
    let mut data = resource?.to_be_bytes().to_vec();
    if established.ike.features.xvpn {
        let any = if takes_any_port(established) { ANY_PORT } else { 0 };
        let mut others = established.children.keys();
        let apart = others.any(|other| !spis.share_a_queue(*other, spi));
        data.push(any | if apart { OWN_QUEUE } else { 0 });
    }
    Some(Notify::with_data(NotifyType::SA_RESOURCE_INFO, data))
}

/// Whether the peer receives the SA on a queue of its own, by what it notifies; and whether we may send on it from other ports than 4500.
pub(super) fn apart(established: &Established, notifies: &[Notify]) -> [bool; 2] {
    let flags = notifies.iter().find_map(|notify| match notify.data.as_slice() {
        [_, _, _, _, flags] if notify.kind == NotifyType::SA_RESOURCE_INFO => Some(*flags),
        _ => None,
    });
    let says = |flag| flags.is_some_and(|flags| flags & flag != 0);
    [says(OWN_QUEUE), says(ANY_PORT) && takes_any_port(established)]
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

/// Flag between two xvpn: ESP may come to the sender from any UDP port.
const ANY_PORT: u8 = 1;
/// Flag between two xvpn: the sender receives the SA on another queue than some other of the same peer.
const OWN_QUEUE: u8 = 2;

/// Whether the peer's ESP reaches us from whatever port.
fn takes_any_port(established: &Established) -> bool {
    let ike = &established.ike;
    let open = !ike.nat.nat_local || established.config.static_nat;
    ike.features.xvpn && ike.encapsulation == Encapsulation::Udp && open
}
