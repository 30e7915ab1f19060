//! Deleting SAs (RFC 7296 1.4.1).
//!
//! ESP SAs are deleted in pairs: each side names those it receives on, the request its own and the response the
//! other halves. Deleting the IKE SA deletes everything, and is answered with nothing.

use super::Cx;
use crate::api::{Event, Spi};
use crate::config::ConnectionId;
use crate::sa::child::{ChildSa, Stage};
use crate::state::Established;

/// The CHILD SAs that the peer means when it names the SPIs it receives on, without those that we are deleting or
/// that are deleted already (RFC 7296 1.4.1, 2.25.1).
pub(crate) fn named(established: &Established, spis: &[u32]) -> Vec<Spi> {
    let stands = |stage: Stage| match stage {
        Stage::Current | Stage::Young | Stage::Redundant | Stage::Doomed => true,
        Stage::Deleting | Stage::Draining => false,
    };
    established
        .children
        .values()
        .filter(|child| stands(child.stage) && spis.contains(&child.outbound_spi().0))
        .map(ChildSa::inbound_spi)
        .collect()
}

/// Removes both halves of CHILD SAs from the dataplane: first what sends, then what receives.
pub(crate) fn remove(cx: &mut Cx<'_>, connection: ConnectionId, children: impl IntoIterator<Item = ChildSa>) {
    for mut child in children {
        let outputs = [
            child.remove_outbound(connection),
            child.remove_inbound(connection),
        ];
        outputs.into_iter().flatten().for_each(|output| cx.output(output));
        cx.spis.release_esp(child.inbound_spi());
        if child.announced {
            cx.event(Event::ChildClosed {
                connection,
                inbound_spi: child.inbound_spi(),
            });
        }
    }
}
