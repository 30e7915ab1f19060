//! One packet: octets with headroom and tailroom, and what is known about its journey.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::BytesMut;

use crate::api::{Encapsulation, Path, TunnelId};

/// A packet and its [`Meta`].
///
/// ```text
///   0          HEADROOM                                  capacity - TAILROOM   capacity
///   |   head     |  start .. octets .. end  |   free           |     tail        |
/// ```
///
/// One that was [`landed`](Self::landed) has neither headroom nor tailroom: it lies where the kernel wrote it, between others.
///
/// Concurrency: owned by one queue thread at a time; moved, never shared.
pub struct Packet {
    /// Its own, or a part of a place where several landed, which is free when all parts of it are gone. One type for both: a look at
    /// which it is would be taken several times for each packet.
    storage: BytesMut,
    own: bool,
    start: usize,
    end: usize,
    /// Where from and where to.
    pub meta: Meta,
}

/// What goes with the octets of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The tunnel whose TUN it came from or goes to; on the wire side, whose SA carries it.
    pub tunnel: TunnelId,
    /// On the wire side: our address and port, the peer's, and the encapsulation, received or to be used.
    pub path: Path,
    /// On the wire side: the outer TOS or traffic class octet (DSCP and ECN), received or to be set.
    pub tos: u8,
    /// On the wire side, to be sent: set DF in the outer IPv4 header.
    pub dont_fragment: bool,
    /// On the wire side, to be sent: from the queue's own UDP port, if it has one, not from that of the path.
    pub own_port: bool,
}

impl Default for Meta {
    fn default() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            tunnel: TunnelId(0),
            path: Path {
                local: nowhere,
                remote: nowhere,
                encapsulation: Encapsulation::Udp,
            },
            tos: 0,
            dont_fragment: true,
            own_port: false,
        }
    }
}

impl Packet {
    /// An empty packet. Allocates; on the packet path take one from a [`Pool`](super::Pool).
    pub fn new() -> Self {
        Self {
            storage: own_storage(),
            own: true,
            start: HEADROOM,
            end: HEADROOM,
            meta: Meta::default(),
        }
    }

    /// What has landed in a part of a place, to be worked on where it lies.
    pub fn landed(octets: BytesMut, meta: Meta) -> Self {
        let end = octets.len();
        Self {
            storage: octets,
            own: false,
            start: 0,
            end,
            meta,
        }
    }

    /// Whether it lies in a place of its own, which is worth to be kept.
    pub fn owns_storage(&self) -> bool {
        self.own
    }

    /// Empties it and forgets the meta. The old octets stay in the storage until overwritten. What has [`landed`](Self::landed)
    /// gets a storage of its own, which allocates.
    pub fn reset(&mut self) {
        if !self.own {
            (self.storage, self.own) = (own_storage(), true);
        }
        self.start = HEADROOM;
        self.end = HEADROOM;
        self.meta = Meta::default();
    }

    /// The [`MAX_LEN`] octets after the headroom, to receive into; [`commit`](Self::commit) afterwards.
    ///
    /// The slice holds old octets of earlier packets.
    pub fn room(&mut self) -> &mut [u8] {
        if !self.own {
            self.reset();
        }
        &mut self.storage[HEADROOM..HEADROOM + MAX_LEN]
    }

    /// The first `len` octets (at most [`MAX_LEN`]) of [`room`](Self::room) are the packet now.
    pub fn commit(&mut self, len: usize) {
        if !self.own {
            self.reset();
        }
        self.start = HEADROOM;
        self.end = HEADROOM + len.min(MAX_LEN);
    }

    /// Copies octets in, replacing what was there. At most [`MAX_LEN`]; the rest is cut.
    pub fn set(&mut self, octets: &[u8]) {
        let len = octets.len().min(MAX_LEN);
        self.room()[..len].copy_from_slice(&octets[..len]);
        self.commit(len);
    }

    /// Octets in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The octets, to change in place.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Takes `count` octets of headroom into the packet and gives them to be written. `None` if there is not enough.
    pub fn grow_front(&mut self, count: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_sub(count)?;
        self.start = start;
        Some(&mut self.storage[start..start + count])
    }

    /// Takes `count` octets after the end into the packet and gives them to be written. `None` if there is not enough.
    pub fn grow_back(&mut self, count: usize) -> Option<&mut [u8]> {
        let end = self
            .end
            .checked_add(count)
            .filter(|end| *end <= self.storage.len())?;
        let old = std::mem::replace(&mut self.end, end);
        Some(&mut self.storage[old..end])
    }

    /// Drops the first `count` octets; all of them if there are fewer.
    pub fn trim_front(&mut self, count: usize) {
        self.start += count.min(self.len());
    }

    /// Keeps the first `len` octets; no effect if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.start + len.min(self.len());
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Packet {
    /// Without the octets: they may be an operator's plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.len())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

fn own_storage() -> BytesMut {
    BytesMut::zeroed(HEADROOM + MAX_LEN + TAILROOM)
}

/// Octets before a received packet: ESP header and the longest IV (8 + 16), a vnet header, and an outer header to spare.
pub const HEADROOM: usize = 64;

/// The longest packet received: a 9001-octet cloud jumbo frame with room to spare.
pub const MAX_LEN: usize = 9216;

/// Octets after a packet of full length: padding to a block (15), trailer (2) and the longest ICV (32).
pub const TAILROOM: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_at_both_ends() {
        let mut packet = Packet::new();
        packet.set(b"inner");
        packet.grow_front(2).unwrap().copy_from_slice(b"<<");
        packet.grow_back(2).unwrap().copy_from_slice(b">>");
        assert_eq!(packet.octets(), b"<<inner>>");
        packet.trim_front(2);
        packet.truncate(5);
        assert_eq!(packet.octets(), b"inner");
    }

    #[test]
    fn what_has_landed_is_worked_on_where_it_lies_and_touches_no_neighbour() {
        let mut place = BytesMut::from(&b"onetwothree"[..]);
        let mut packets = [3, 3, 5].map(|length| Packet::landed(place.split_to(length), Meta::default()));
        packets[1].octets_mut().make_ascii_uppercase();
        packets[1].trim_front(1);
        assert!(packets[1].grow_front(2).is_none() && packets[1].grow_back(1).is_none());
        assert_eq!(packets[1].grow_front(1).unwrap(), b"T");
        assert_eq!(
            packets.each_ref().map(Packet::octets),
            [&b"one"[..], b"TWO", b"three"]
        );
        // To be filled anew it needs a storage of its own.
        packets[2].set(b"something longer than what was there");
        assert_eq!(packets[2].octets(), b"something longer than what was there");
        assert!(packets[2].owns_storage() && !packets[0].owns_storage());
    }

    #[test]
    fn refuses_more_room_than_there_is() {
        let mut packet = Packet::new();
        packet.set(&[0; MAX_LEN + 5]);
        assert_eq!(packet.len(), MAX_LEN);
        assert!(packet.grow_front(HEADROOM + 1).is_none());
        assert!(packet.grow_back(TAILROOM + 1).is_none());
        assert!(packet.grow_back(usize::MAX).is_none());
        assert!(packet.grow_front(HEADROOM).is_some());
        assert!(packet.grow_back(TAILROOM).is_some());
        packet.trim_front(usize::MAX);
        assert!(packet.is_empty());
    }
}
