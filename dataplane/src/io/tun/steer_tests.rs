//! The program, run by a small machine of this file's own against literal packets.

use super::*;

/// What the kernel would do, by Documentation/bpf/standardization/instruction-set.rst; panics at what it would refuse.
fn run(packet: &[u8]) -> u32 {
    let program = program();
    let mut registers = [0u64; 10];
    let mut at = 0usize;
    for _ in 0..200 {
        let Instruction {
            code,
            registers: pair,
            offset,
            immediate,
        } = program[at];
        let (to, from) = (usize::from(pair & 0x0f), usize::from(pair >> 4));
        at += 1;
        let right = if code & FROM_REGISTER == 0 {
            immediate.cast_unsigned()
        } else {
            low(registers[from])
        };
        let left = low(registers[to]);
        match code {
            0xbf => registers[to] = registers[from],
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => {
                let base = if code & 0xe0 == 0x40 { registers[from] } else { 0 };
                let start = usize::try_from(base).unwrap() + usize::try_from(immediate).unwrap();
                let len = match code & 0x18 {
                    0x00 => 4,
                    0x08 => 2,
                    _ => 1,
                };
                match packet.get(start..start + len) {
                    Some(octets) => {
                        registers[0] = octets
                            .iter()
                            .fold(0, |number, octet| number << 8 | u64::from(*octet))
                    }
                    None => return 0,
                }
                // The kernel may use them.
                registers[1..6].fill(0xdead);
            }
            0x0c => registers[to] = left.wrapping_add(right).into(),
            0x24 => registers[to] = left.wrapping_mul(right).into(),
            0x54 => registers[to] = (left & right).into(),
            0x64 => registers[to] = (left << right).into(),
            0x74 => registers[to] = (left >> right).into(),
            0xac => registers[to] = (left ^ right).into(),
            0xb4 | 0xbc => registers[to] = right.into(),
            0x05 => at += usize::try_from(offset).unwrap(),
            0x15 if registers[to] == u64::from(right) => at += usize::try_from(offset).unwrap(),
            0x55 if registers[to] != u64::from(right) => at += usize::try_from(offset).unwrap(),
            0x15 | 0x55 => {}
            0x95 => return low(registers[0]),
            _ => panic!("instruction {code:#x}"),
        }
    }
    panic!("the program does not end")
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap()
}

/// What is meant, in another language.
fn meant(addresses: u32, ports: u32) -> u32 {
    let mut hash = addresses.wrapping_mul(0x9e37_79b1).wrapping_add(ports);
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

fn ipv4(protocol: u8, fragment: [u8; 2], ends: [(u8, u16); 2]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0];
    ends.iter().for_each(|(host, _)| packet.extend([10, 0, 0, *host]));
    ends.iter()
        .for_each(|(_, port)| packet.extend(port.to_be_bytes()));
    packet
}

fn ipv6(next: u8, ends: [(u8, u16); 2]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, next, 64];
    for (host, _) in ends {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    ends.iter()
        .for_each(|(_, port)| packet.extend(port.to_be_bytes()));
    packet
}

const WHOLE: [u8; 2] = [0x40, 0];

#[test]
fn both_directions_of_a_flow_have_one_number_of_addresses_and_ports() {
    let (one, other) = ((1, 1000), (2, 443));
    for protocol in [6, 17] {
        let expected = meant(2 * 0x0a00_0000 + 3, 1443);
        assert_eq!(run(&ipv4(protocol, WHOLE, [one, other])), expected);
        assert_eq!(run(&ipv4(protocol, WHOLE, [other, one])), expected);
        let expected = meant(0xfd00_0000_u32.wrapping_mul(2).wrapping_add(3), 1443);
        assert_eq!(run(&ipv6(protocol, [one, other])), expected);
        assert_eq!(run(&ipv6(protocol, [other, one])), expected);
    }
}

#[test]
fn ports_stand_behind_options() {
    let plain = ipv4(17, WHOLE, [(1, 1000), (2, 443)]);
    let mut options = plain.clone();
    options[0] = 0x46;
    options.splice(20..20, [1, 1, 1, 0]);
    assert_eq!(run(&options), run(&plain));
}

#[test]
fn pieces_of_one_packet_stay_together() {
    let ends = [(1, 1000), (2, 443)];
    let expected = meant(2 * 0x0a00_0000 + 3, 0);
    // The first, a middle one, the last; what lies where the ports were is data.
    for (fragment, ports) in [([0x20, 0], [1000, 443]), ([0x20, 9], [7, 7]), ([0, 18], [8, 8])] {
        let ends = [(1, ports[0]), (2, ports[1])];
        assert_eq!(run(&ipv4(17, fragment, ends)), expected);
    }
    assert_eq!(run(&ipv6(44, ends)), meant(0xfa00_0003, 0), "an extension header");
    assert_eq!(run(&ipv4(1, WHOLE, ends)), expected, "no ports");
}

#[test]
fn what_is_no_packet_goes_to_the_first_queue() {
    let whole = ipv4(6, WHOLE, [(1, 1000), (2, 443)]);
    assert_eq!(run(&[]), 0);
    assert_eq!(run(&whole[..23]), 0);
    assert_eq!(run(&ipv6(6, [(1, 1), (2, 2)])[..43]), 0);
    let mut neither = whole;
    neither[0] = 0x55;
    assert_eq!(run(&neither), 0);
}

#[test]
fn flows_spread_evenly() {
    for queues in [2, 3, 8] {
        let mut flows = vec![0; queues];
        for port in 0..1024 {
            let hash = run(&ipv4(17, WHOLE, [(1, 40_000 + port), (2, 443)]));
            // The kernel keeps 16 bits of it.
            flows[usize::try_from(hash & 0xffff).unwrap() % queues] += 1;
        }
        let fair = 1024 / queues;
        assert!(
            flows
                .iter()
                .all(|count| (fair * 3 / 4..fair * 5 / 4).contains(count)),
            "{flows:?}"
        );
    }
}
