//! Where another gateway is: the data of REDIRECT and REDIRECTED_FROM (RFC 5685 9.2, 9.3).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | GW Ident Type |  GW Ident Len |                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               ~
//! ~                   New Responder GW Identity                   ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                   Nonce Data (REDIRECT only)                  ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{Body, Nonce, Notify, NotifyType};
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::{Writer, saturating_u8};

/// A gateway, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayIdentity {
    /// At this address.
    Ip(IpAddr),
    /// At the address that this name has.
    Fqdn(Fqdn),
}

/// A DNS name: labels of letters, digits, `-` and `_`, 253 octets at most. Whatever the network says, nothing else gets to a
/// resolver or into a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn(String);

/// Neither an address nor a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an IP address nor a DNS name")]
pub struct NoGateway;

/// Another gateway, and in IKE_SA_INIT the proof that whoever says so has seen our request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where to go.
    pub to: GatewayIdentity,
    /// Ni of the IKE_SA_INIT request that is answered; empty in protected messages.
    pub nonce: Vec<u8>,
}

impl Fqdn {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fqdn {
    type Err = NoGateway;

    fn from_str(text: &str) -> Result<Self, NoGateway> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        // A resolver would take a last label of digits for a piece of an address.
        let numeric = |label: &str| label.chars().all(|c| c.is_ascii_digit());
        let fits = text.len() <= 253
            && text.split('.').all(is_label)
            && !text.rsplit('.').next().is_some_and(numeric);
        fits.then(|| Self(text.to_owned())).ok_or(NoGateway)
    }
}

impl FromStr for GatewayIdentity {
    type Err = NoGateway;

    fn from_str(text: &str) -> Result<Self, NoGateway> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => text.parse().map(Self::Fqdn),
        }
    }
}

impl fmt::Display for GatewayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Fqdn(name) => f.write_str(name.as_str()),
        }
    }
}

impl GatewayIdentity {
    /// A gateway can be there: not on the host that is told so, not everywhere and not nowhere.
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Fqdn(_) => true,
            Self::Ip(IpAddr::V4(address)) => {
                let excluded = address.is_unspecified()
                    || address.is_loopback()
                    || address.is_multicast()
                    || address.is_broadcast();
                !excluded
            }
            // A link-local address means nothing without its interface.
            Self::Ip(IpAddr::V6(address)) => {
                let excluded = address.is_unspecified()
                    || address.is_loopback()
                    || address.is_multicast()
                    || address.is_unicast_link_local()
                    || address.to_ipv4_mapped().is_some();
                !excluded
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.u8("the gateway's identity type")?;
        let length = usize::from(reader.u8("the length of the gateway's identity")?);
        let refused = reader.fault(Fault::Value {
            what: "the gateway's identity type and length",
            value: u64::from(kind),
        });
        let octets = reader.take(length, "the gateway's identity")?;
        let identity = match kind {
            IPV4 => <[u8; 4]>::try_from(octets)
                .ok()
                .map(Ipv4Addr::from)
                .map(IpAddr::V4),
            IPV6 => <[u8; 16]>::try_from(octets)
                .ok()
                .map(Ipv6Addr::from)
                .map(IpAddr::V6),
            FQDN => {
                let name = std::str::from_utf8(octets)
                    .ok()
                    .and_then(|text| text.parse().ok());
                return name.map(Self::Fqdn).ok_or(refused);
            }
            _ => None,
        };
        identity.map(Self::Ip).ok_or(refused)
    }

    fn write(&self, out: &mut Writer) {
        let (kind, octets) = match self {
            Self::Ip(IpAddr::V4(address)) => (IPV4, address.octets().to_vec()),
            Self::Ip(IpAddr::V6(address)) => (IPV6, address.octets().to_vec()),
            Self::Fqdn(name) => (FQDN, name.as_str().as_bytes().to_vec()),
        };
        out.u8(kind);
        out.u8(saturating_u8(octets.len()));
        out.bytes(&octets);
    }

    /// REDIRECTED_FROM: the gateway that sent us here.
    pub fn redirected_from(address: IpAddr) -> Notify {
        let mut data = Writer::new();
        Self::Ip(address).write(&mut data);
        Notify::with_data(NotifyType::REDIRECTED_FROM, data.into_bytes())
    }
}

impl Redirect {
    /// The notify.
    pub fn notify(&self) -> Notify {
        Notify::with_data(NotifyType::REDIRECT, self.to_bytes())
    }
}

impl Body for Redirect {
    fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let to = GatewayIdentity::read(&mut reader)?;
        let nonce = reader.rest().to_vec();
        if !nonce.is_empty() && !(Nonce::MIN..=Nonce::MAX).contains(&nonce.len()) {
            return Err(Reader::new(data).fault(Fault::Length {
                what: "nonce data of length",
                length: nonce.len(),
            }));
        }
        Ok(Self { to, nonce })
    }

    fn emit(&self, out: &mut Writer) {
        self.to.write(out);
        out.bytes(&self.nonce);
    }
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;
const FQDN: u8 = 3;
