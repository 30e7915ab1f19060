//! Fragments of IPv4 packets before ESP (RFC 791 3.2; RFC 4301 8.2: allowed where DF is clear).
//!
//! Fragmenting inside rather than outside keeps every ESP packet whole: clouds and NATs drop outer fragments.

use super::Header;
use super::checksum;
use super::header::{V4_MF, V4_OFFSET};
use crate::buffer::{Packet, Pool};

/// Cuts `packet` into fragments of at most `mtu` octets and gives them to `each`, first to last.
///
/// `None`, and nothing given: it is not IPv4, or `mtu` leaves no room for data.
pub fn fragment(
    packet: &Packet,
    header: &Header,
    mtu: u16,
    pool: &mut Pool,
    mut each: impl FnMut(Packet),
) -> Option<()> {
    let octets = packet.octets().get(..header.total_len)?;
    if header.is_ipv6() {
        return None;
    }
    let (first_header, data) = octets.split_at_checked(header.payload)?;
    let flags = u16::from_be_bytes(*octets.get(6..)?.first_chunk()?);
    let step = usize::from(mtu).checked_sub(first_header.len())? & !7;
    if step == 0 {
        return None;
    }
    let (mut later_header, later_len) = later_header(first_header)?;
    let mut offset = usize::from(flags & V4_OFFSET);
    let pieces = data.chunks(step);
    let last = pieces.len().checked_sub(1)?;
    if offset + data.len().div_ceil(8) > usize::from(V4_OFFSET) {
        return None;
    }
    for (index, piece) in pieces.enumerate() {
        let mut out = pool.take();
        out.meta = packet.meta;
        let ip = if index == 0 {
            first_header
        } else {
            later_header.get_mut(..later_len)?
        };
        out.commit(ip.len() + piece.len());
        let (head, body) = out.octets_mut().split_at_mut_checked(ip.len())?;
        head.copy_from_slice(ip);
        body.copy_from_slice(piece);
        // The last piece of a fragment is a last fragment only if the fragment was.
        let more = if index < last { V4_MF } else { flags & V4_MF };
        finish(head, ip.len() + piece.len(), more | u16::try_from(offset).ok()?)?;
        offset += step / 8;
        each(out);
    }
    Some(())
}

/// Writes length, flags, offset and checksum.
fn finish(head: &mut [u8], total: usize, flags: u16) -> Option<()> {
    head.get_mut(2..4)?
        .copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
    head.get_mut(6..8)?.copy_from_slice(&flags.to_be_bytes());
    head.get_mut(10..12)?.fill(0);
    let sum = checksum::finish(checksum::add(0, head));
    head.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// The header of the fragments after the first: only options whose copied flag is set (RFC 791 3.1).
fn later_header(first: &[u8]) -> Option<([u8; 60], usize)> {
    let (fixed, options) = first.split_at_checked(20)?;
    let mut header = [0; 60];
    header[..20].copy_from_slice(fixed);
    let (mut at, mut len) = (0, 20);
    while let Some(&kind) = options.get(at) {
        let size = match kind {
            0 => break,
            1 => 1,
            _ => usize::from(*options.get(at + 1)?).max(2),
        };
        let option = options.get(at..at + size)?;
        if kind & COPIED != 0 {
            header.get_mut(len..len + size)?.copy_from_slice(option);
            len += size;
        }
        at += size;
    }
    // End-of-options is 0, as the rest of the array.
    let len = len.next_multiple_of(4);
    header[0] = 0x40 | u8::try_from(len / 4).ok()?;
    Some((header, len))
}

const COPIED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize, flags: u16, options: &[u8]) -> Packet {
        let header = 20 + options.len();
        let total = u16::try_from(len).unwrap().to_be_bytes();
        let flags = flags.to_be_bytes();
        let version = 0x40 | u8::try_from(header / 4).unwrap();
        let mut octets = vec![
            version, 0, total[0], total[1], 9, 9, flags[0], flags[1], 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        octets.extend(options);
        octets.extend((header..len).map(|at| u8::try_from(at % 251).unwrap()));
        let mut packet = Packet::new();
        packet.set(&octets);
        packet
    }

    fn cut(packet: &Packet, mtu: u16) -> Option<Vec<Packet>> {
        let header = Header::parse(packet.octets()).unwrap();
        let mut out = Vec::new();
        fragment(packet, &header, mtu, &mut Pool::default(), |piece| {
            out.push(piece)
        })
        .map(|()| out)
    }

    /// Puts fragments together again: data, and whether the last one says there is more.
    fn reassemble(pieces: &[Packet], mtu: usize) -> (Vec<u8>, usize, bool) {
        let (mut data, mut start, mut more) = (Vec::new(), None, true);
        for piece in pieces {
            let octets = piece.octets();
            assert!(octets.len() <= mtu);
            let header = Header::parse(octets).unwrap();
            assert_eq!(header.total_len, octets.len());
            assert_eq!(checksum::finish(checksum::add(0, &octets[..header.payload])), 0);
            let flags = u16::from_be_bytes([octets[6], octets[7]]);
            let offset = usize::from(flags & V4_OFFSET) * 8;
            let first = *start.get_or_insert(offset);
            assert_eq!(offset, first + data.len(), "no gap, no overlap");
            assert!(more);
            more = flags & V4_MF != 0;
            data.extend(&octets[header.payload..]);
        }
        (data, start.unwrap(), more)
    }

    #[test]
    fn the_fragments_put_together_are_the_packet() {
        for (len, mtu) in [(1500, 1438), (1439, 1438), (3000, 576), (9000, 1438)] {
            let whole = packet(len, 0, &[]);
            let pieces = cut(&whole, mtu).unwrap();
            let (data, start, more) = reassemble(&pieces, usize::from(mtu));
            assert_eq!((data.as_slice(), start, more), (&whole.octets()[20..], 0, false));
        }
    }

    #[test]
    fn a_fragment_of_a_fragment_keeps_its_place() {
        let whole = packet(1500, V4_MF | 100, &[]);
        let (data, start, more) = reassemble(&cut(&whole, 700).unwrap(), 700);
        assert_eq!((data.as_slice(), start, more), (&whole.octets()[20..], 800, true));
    }

    #[test]
    fn only_copied_options_follow() {
        // Router alert is copied, a no-op and a record route are not.
        let options = [1, 7, 3, 4, 0x94, 4, 0, 0];
        let pieces = cut(&packet(1500, 0, &options), 1000).unwrap();
        assert_eq!(pieces[0].octets()[20..28], options);
        assert_eq!(pieces[1].octets()[0], 0x46);
        assert_eq!(pieces[1].octets()[20..24], [0x94, 4, 0, 0]);
    }

    #[test]
    fn refuses_what_cannot_be_cut() {
        assert!(cut(&packet(1500, 0, &[]), 27).is_none());
        assert!(cut(&packet(1500, V4_OFFSET, &[]), 1000).is_none());
        assert!(
            cut(&packet(1500, 0, &[2, 9, 0, 0]), 1000).is_none(),
            "an option that leaves the header"
        );
    }
}
