//! What an interface does with packets larger than its MTU (linux/ethtool.h).

use std::io;
use std::net::UdpSocket;

use super::sys;

/// Turns a feature of an interface of the calling thread's namespace on or off, by the kernel's name of it (those
/// that `ethtool -k` lists). A feature that this kernel does not have is none to switch off.
pub fn set_feature(interface: &str, feature: &str, on: bool) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let names = feature_names(&socket, interface)?;
    let Some(bit) = names.iter().position(|name| name == feature) else {
        return if on {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("this kernel has no {feature}"),
            ))
        } else {
            Ok(())
        };
    };
    // struct ethtool_sfeatures: for each 32 features, which are meant and which of them are wanted.
    let words = names.len().div_ceil(32);
    let mut request = vec![0; 2 + 2 * words];
    request[0] = ETHTOOL_SFEATURES;
    request[1] = u32::try_from(words).unwrap_or_default();
    request[2 + bit / 32 * 2] = 1 << (bit % 32);
    request[3 + bit / 32 * 2] = u32::from(on) << (bit % 32);
    sys::ethtool(&socket, interface, &mut request)
}

/// Whether super-packets may leave by an interface of the calling thread's namespace.
pub fn set_segmentation(interface: &str, on: bool) -> io::Result<()> {
    SEGMENTATION
        .iter()
        .try_for_each(|feature| set_feature(interface, feature, on))
}

fn feature_names(socket: &UdpSocket, interface: &str) -> io::Result<Vec<String>> {
    // struct ethtool_sset_info: which sets of strings (a 64-bit mask), and how many strings each has.
    let mut question = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
    let mask = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
    for (word, octets) in question[2..4].iter_mut().zip(mask.chunks(4)) {
        *word = octets.try_into().map_or(0, u32::from_ne_bytes);
    }
    sys::ethtool(socket, interface, &mut question)?;
    let count = question[4];
    // struct ethtool_gstrings: strings of 32 octets.
    let mut answer = vec![0; 3 + count as usize * STRING_WORDS];
    answer[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    sys::ethtool(socket, interface, &mut answer)?;
    let strings = answer[3..].chunks(STRING_WORDS).map(|words| {
        let octets: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let text = octets.split(|octet| *octet == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    });
    Ok(strings.collect())
}

/// The kernel's names (net/ethtool/common.c). The last is not among what `gso off` switches off.
const SEGMENTATION: [&str; 6] = [
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-generic-segmentation",
    "tx-udp-segmentation",
];
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const STRING_WORDS: usize = 8;
