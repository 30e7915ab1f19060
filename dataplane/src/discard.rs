//! Why a packet went no further.

/// One reason, one counter, one line of documentation.
macro_rules! discards {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet went no further: one variant, one counter, one metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Discard { $($(#[doc = $doc])+ $variant,)+ }

        impl Discard {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name of its counter.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One line for the operator.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

discards! {
    /// Not an IP packet, or one whose lengths contradict each other.
    MalformedInner = "malformed_inner",
    /// No SA of the tunnel takes this packet: the tunnel is down or the packet matches no selector.
    NoOutboundSa = "no_outbound_sa",
    /// It made its tunnel be negotiated (`start = "on-demand"`); its sender sends it again.
    Trapped = "trapped",
    /// Longer than the tunnel takes, and not allowed to be fragmented; the sender was told.
    TooBig = "too_big",
    /// The sequence numbers of the SA are used up.
    SequenceExhausted = "sequence_exhausted",
    /// No room around the packet for ESP.
    NoRoom = "no_room",
    /// A datagram too short to be ESP or IKE.
    TruncatedOuter = "truncated_outer",
    /// A NAT keepalive (RFC 3948 2.3).
    NatKeepalive = "nat_keepalive",
    /// An SPI below 256, which no SA has (RFC 4303 2.1).
    ReservedSpi = "reserved_spi",
    /// An SPI that no SA has.
    UnknownSpi = "unknown_spi",
    /// A sequence number that was accepted before, or zero.
    Replayed = "replayed",
    /// A sequence number older than the replay window.
    OutsideWindow = "outside_window",
    /// The integrity check failed.
    BadIcv = "bad_icv",
    /// Authentic, but padded wrongly (RFC 4303 2.4).
    BadPadding = "bad_padding",
    /// A dummy packet for traffic flow confidentiality (RFC 4303 2.6).
    DummyPacket = "dummy_packet",
    /// A next header other than IPv4 or IPv6: only tunnel mode is spoken.
    NextHeader = "next_header",
    /// An AGGFRAG payload that is too short or of an unknown sub-type (RFC 9347 6.1).
    AggfragHeader = "aggfrag_header",
    /// Within an AGGFRAG payload something that is neither an IP packet nor padding.
    AggfragBlock = "aggfrag_block",
    /// The rest of an inner packet is not as long as its beginning said.
    AggfragOffset = "aggfrag_offset",
    /// A piece of an inner packet was lost on the way, and so the packet is.
    AggfragIncomplete = "aggfrag_incomplete",
    /// An AGGFRAG payload that came after it was given up.
    AggfragLate = "aggfrag_late",
    /// More inner packets at once than a window of AGGFRAG payloads has of such as are usual.
    AggfragMany = "aggfrag_many",
    /// More than leaves at a constant rate.
    BacklogFull = "backlog_full",
    /// The inner packet does not match the selectors of the SA that carried it (RFC 4301 5.2).
    InboundSelector = "inbound_selector",
    /// CE outside and not ECN-capable inside (RFC 6040 4.2).
    EcnDrop = "ecn_drop",
    /// The socket's queue was full or it refused the packet.
    WireRefused = "wire_refused",
    /// Longer than the path takes, found on sending; the path MTU was lowered.
    PathTooBig = "path_too_big",
    /// Read from the TUN, but longer than 9,216 octets (raise no interface's MTU beyond that), or contradicted by its offload header.
    TunUnusable = "tun_unusable",
    /// The TUN did not take the packet: the interface is down or deleted.
    TunRefused = "tun_refused",
    /// Longer than the buffer it was received into.
    ReceivedTooLong = "received_too_long",
    /// Handed up faster than control takes it.
    PuntFull = "punt_full",
    /// An SA could not be installed: its keys do not fit its algorithms, or its tunnel is not open.
    UnusableSa = "unusable_sa",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_a_sentence() {
        let mut names: Vec<_> = Discard::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Discard::COUNT);
        assert!(Discard::ALL.iter().all(|reason| reason.doc().ends_with('.')));
    }
}
