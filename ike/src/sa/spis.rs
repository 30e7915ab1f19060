//! Every SPI this endpoint receives on, and whose it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Random, Spi};
use crate::config::ConnectionId;
use crate::wire::IkeSpi;

/// Whose an IKE SPI of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An SA whose peer is not authenticated yet: no connection has it.
    HalfOpen,
    /// An SA of a connection.
    Connection(ConnectionId),
}

/// An IKE_SA_INIT request that made an SA here: the initiator's SPI, and a digest of the message and of where it came from.
/// The same octets from there never make a second one (RFC 7296 2.1: retransmissions are recognised by the whole message).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FirstMessage(pub(crate) IkeSpi, pub(crate) [u8; 32]);

/// The SPIs in use.
#[derive(Debug, Default)]
pub(crate) struct Spis {
    ike: BTreeMap<IkeSpi, Owner>,
    first_messages: BTreeMap<FirstMessage, IkeSpi>,
    esp: BTreeSet<Spi>,
    /// Queues of the dataplane; 0 is not known, and one.
    queues: u32,
    /// The last port of a TCP connection of ours, counted from the first that may be taken.
    tcp: Option<u16>,
}

impl Spis {
    /// Whose this SPI is.
    pub(crate) fn owner(&self, spi: IkeSpi) -> Option<Owner> {
        self.ike.get(&spi).copied()
    }

    /// A new SPI for an IKE SA: unpredictable, unique here, not zero (RFC 7296 2.6).
    pub(crate) fn allocate_ike(&mut self, owner: Owner, random: &mut dyn Random) -> IkeSpi {
        loop {
            let mut octets = [0; 8];
            random.fill(&mut octets);
            let spi = IkeSpi(u64::from_be_bytes(octets));
            if !spi.is_zero() && !self.ike.contains_key(&spi) {
                self.ike.insert(spi, owner);
                return spi;
            }
        }
    }

    /// The SA was authenticated: it has a connection now.
    pub(crate) fn adopt(&mut self, spi: IkeSpi, connection: ConnectionId) {
        self.ike.insert(spi, Owner::Connection(connection));
    }

    /// The IKE SA is gone, and its first message may come again.
    pub(crate) fn release_ike(&mut self, spi: IkeSpi, first: Option<FirstMessage>) {
        self.ike.remove(&spi);
        if let Some(first) = first {
            self.first_messages.remove(&first);
        }
    }

    /// The SA that this IKE_SA_INIT request made.
    pub(crate) fn made_by(&self, first: FirstMessage) -> Option<IkeSpi> {
        self.first_messages.get(&first).copied()
    }

    /// Whether an IKE_SA_INIT request with this initiator's SPI made an SA: if not, nobody needs to compute a digest.
    pub(crate) fn knows_initiator(&self, spi_i: IkeSpi) -> bool {
        let all = FirstMessage(spi_i, [0; 32])..=FirstMessage(spi_i, [0xff; 32]);
        self.first_messages.range(all).next().is_some()
    }

    /// Notes which IKE_SA_INIT request made an SA.
    pub(crate) fn remember(&mut self, first: FirstMessage, spi: IkeSpi) {
        self.first_messages.insert(first, spi);
    }

    /// A local port for a TCP connection of ours: not that of any other in a long time, for IKE SAs share no connection
    /// (RFC 9329 6.1), and not where anybody would look first (RFC 6056).
    pub(crate) fn allocate_tcp(&mut self, random: &mut dyn Random) -> u16 {
        let last = self.tcp.unwrap_or_else(|| {
            let mut octets = [0; 2];
            random.fill(&mut octets);
            u16::from_be_bytes(octets)
        });
        let next = last.wrapping_add(1) % (u16::MAX - FIRST_TCP);
        self.tcp = Some(next);
        FIRST_TCP + next
    }

    /// The dataplane has so many queues.
    pub(crate) fn set_queues(&mut self, queues: u32) {
        self.queues = queues;
    }

    /// A new inbound SPI for a CHILD SA: unpredictable, unique here, above 255 (RFC 4303 2.1), and the same as
    /// `like` modulo the number of queues, which says which of them receives it.
    pub(crate) fn allocate_esp(&mut self, random: &mut dyn Random, like: u32) -> Spi {
        let queues = self.queues.max(1);
        loop {
            let mut octets = [0; 4];
            random.fill(&mut octets);
            let drawn = u32::from_be_bytes(octets);
            let turned = (drawn - drawn % queues).checked_add(like % queues);
            let spi = Spi(turned.unwrap_or(drawn));
            if spi.0 > 255 && self.esp.insert(spi) {
                return spi;
            }
        }
    }

    /// Whether the queue that receives them is the same.
    pub(crate) fn share_a_queue(&self, one: Spi, other: Spi) -> bool {
        let queues = self.queues.max(1);
        one.0 % queues == other.0 % queues
    }

    /// How many of both kinds.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.ike.len(), self.esp.len())
    }

    /// Those of connections: of IKE SAs, of CHILD SAs.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of_connections(&self) -> (BTreeSet<IkeSpi>, &BTreeSet<Spi>) {
        let ike = self.ike.iter().filter(|(_, owner)| match owner {
            Owner::Connection(_) => true,
            Owner::HalfOpen => false,
        });
        (ike.map(|(spi, _)| *spi).collect(), &self.esp)
    }

    /// The CHILD SA is gone, or never came to be.
    pub(crate) fn release_esp(&mut self, spi: Spi) {
        self.esp.remove(&spi);
    }
}

/// RFC 6335 6: from here on ports are for whoever wants one.
const FIRST_TCP: u16 = 49_152;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up, octet by octet.
    struct Script(std::vec::IntoIter<u8>);

    impl Random for Script {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill_with(|| self.0.next().unwrap());
        }
    }

    #[test]
    fn never_gives_out_a_reserved_or_a_used_esp_spi() {
        let mut random = Script(vec![0, 0, 0, 255, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1].into_iter());
        let mut spis = Spis::default();
        assert_eq!(spis.allocate_esp(&mut random, 0), Spi(256));
        assert_eq!(spis.allocate_esp(&mut random, 0), Spi(257));
    }

    #[test]
    fn gives_out_an_esp_spi_of_the_queue_that_is_asked_for() {
        let mut random = Script(vec![0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 1, 2].into_iter());
        let mut spis = Spis::default();
        spis.set_queues(3);
        assert_eq!(
            spis.allocate_esp(&mut random, 0),
            Spi(0xffff_ffff),
            "3 divides it"
        );
        assert_eq!(
            spis.allocate_esp(&mut random, 5),
            Spi(257),
            "as 5 is 2 modulo 3, so is 257"
        );
        assert_eq!(spis.allocate_esp(&mut random, 1), Spi(259), "258 was drawn");
    }

    #[test]
    fn never_gives_out_the_ike_spi_zero() {
        let mut random = Script([vec![0; 8], vec![9; 8]].concat().into_iter());
        let spi = Spis::default().allocate_ike(Owner::HalfOpen, &mut random);
        assert_eq!(spi.to_bytes(), [9; 8]);
    }
}
