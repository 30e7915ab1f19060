//! The inner packet's header.

/// The version nibble.
pub fn version(packet: &[u8]) -> Option<u8> {
    packet.first().map(|octet| octet >> 4)
}
