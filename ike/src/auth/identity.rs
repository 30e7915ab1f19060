//! Identities: the Identification payload's contents and the operator's spelling of them (RFC 7296 3.5).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::x509::{DistinguishedName, show};

/// Who someone says to be. Equality is exact; to compare a peer with the configuration use [`Identity::matches`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN: a name, never resolved.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Rfc822(String),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// ID_DER_ASN1_DN: a distinguished name, in the octets it was written with.
    DerAsn1Dn(Vec<u8>),
}

/// An operator's text is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing there.
    #[error("an identity must not be empty")]
    Empty,
    /// Neither an address nor a name nor a mail address nor a `keyid:`.
    #[error(
        "`{0}` is not an identity: write an IP address, a name (gw.example.org), a mail address (user@example.org), a distinguished name (C=CH, O=Example, CN=gw) or keyid:TEXT"
    )]
    Malformed(String),
    /// After `keyid:0x` or `asn1dn:0x`.
    #[error("`{0}` is not an even number of hexadecimal digits")]
    Hex(String),
}

/// The contents of a received Identification payload are not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityWireError {
    /// An ID Type that we do not speak.
    #[error("ID type {0} is not supported")]
    UnknownType(u8),
    /// The data does not fit the ID Type.
    #[error("the data of an identity of type {0} is malformed")]
    Malformed(u8),
}

const ID_IPV4_ADDR: u8 = 1;
const ID_FQDN: u8 = 2;
const ID_RFC822_ADDR: u8 = 3;
const ID_IPV6_ADDR: u8 = 5;
const ID_DER_ASN1_DN: u8 = 9;
const ID_KEY_ID: u8 = 11;

impl Identity {
    /// ID Type and Identification Data (RFC 7296 3.5).
    pub fn to_wire(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Ipv4(a) => (ID_IPV4_ADDR, a.octets().to_vec()),
            Self::Ipv6(a) => (ID_IPV6_ADDR, a.octets().to_vec()),
            Self::Fqdn(name) => (ID_FQDN, name.as_bytes().to_vec()),
            Self::Rfc822(mail) => (ID_RFC822_ADDR, mail.as_bytes().to_vec()),
            Self::KeyId(octets) => (ID_KEY_ID, octets.clone()),
            Self::DerAsn1Dn(der) => (ID_DER_ASN1_DN, der.clone()),
        }
    }

    /// Reads ID Type and Identification Data as they were received.
    pub fn from_wire(id_type: u8, data: &[u8]) -> Result<Self, IdentityWireError> {
        let malformed = IdentityWireError::Malformed(id_type);
        match id_type {
            ID_IPV4_ADDR => <[u8; 4]>::try_from(data)
                .map(|a| Self::Ipv4(a.into()))
                .map_err(|_| malformed),
            ID_IPV6_ADDR => <[u8; 16]>::try_from(data)
                .map(|a| Self::Ipv6(a.into()))
                .map_err(|_| malformed),
            ID_FQDN => printable(data).map(Self::Fqdn).ok_or(malformed),
            ID_RFC822_ADDR => printable(data).map(Self::Rfc822).ok_or(malformed),
            ID_KEY_ID if !data.is_empty() => Ok(Self::KeyId(data.to_vec())),
            ID_DER_ASN1_DN if !data.is_empty() => Ok(Self::DerAsn1Dn(data.to_vec())),
            ID_KEY_ID | ID_DER_ASN1_DN => Err(malformed),
            _ => Err(IdentityWireError::UnknownType(id_type)),
        }
    }

    /// The payload's body as we send it, which is also what AUTH covers (RFC 7296 2.15: RestOfInitIDPayload).
    /// For a peer's identity take the octets received instead: RESERVED need not be zero.
    pub fn rest_of_id(&self) -> Vec<u8> {
        let (id_type, data) = self.to_wire();
        let mut body = vec![id_type, 0, 0, 0];
        body.extend_from_slice(&data);
        body
    }

    /// Is this the same party? Names, mail addresses and the texts of distinguished
    /// names are compared without regard to case.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fqdn(a), Self::Fqdn(b)) | (Self::Rfc822(a), Self::Rfc822(b)) => a.eq_ignore_ascii_case(b),
            (Self::DerAsn1Dn(a), Self::DerAsn1Dn(b)) if a != b => {
                match (DistinguishedName::from_der(a), DistinguishedName::from_der(b)) {
                    (Ok(a), Ok(b)) => a.matches(&b),
                    (Err(_), _) | (_, Err(_)) => false,
                }
            }
            (Self::Ipv4(_) | Self::Ipv6(_) | Self::KeyId(_) | Self::DerAsn1Dn(_), _)
            | (Self::Fqdn(_) | Self::Rfc822(_), _) => self == other,
        }
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::Ipv4(a),
            IpAddr::V6(a) => Self::Ipv6(a),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() {
            return Err(IdentityError::Empty);
        }
        if let Some(rest) = text.strip_prefix("keyid:") {
            return match rest.strip_prefix("0x") {
                Some(digits) => hex(digits).map(Self::KeyId),
                None if rest.is_empty() => Err(IdentityError::Empty),
                None => Ok(Self::KeyId(rest.as_bytes().to_vec())),
            };
        }
        if let Some(digits) = text.strip_prefix("asn1dn:0x") {
            return hex(digits).map(Self::DerAsn1Dn);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let malformed = || IdentityError::Malformed(text.to_owned());
        // A mail address may have the sign too, but not before anything that is a kind of attribute.
        if text.contains('=')
            && let Ok(name) = DistinguishedName::from_text(text)
        {
            return name.to_der().map(Self::DerAsn1Dn).map_err(|_| malformed());
        }
        // Openswan writes a name as `@name`, to say that it is not to be resolved.
        let (user, host) = match text.split_once('@') {
            Some(("", host)) => (None, host),
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        let name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let mailbox = |c: char| !c.is_whitespace() && !c.is_control();
        if host.is_empty() || !host.chars().all(name) || looks_like_an_address(host) {
            return Err(malformed());
        }
        match user {
            None => Ok(Self::Fqdn(host.to_owned())),
            Some(user) if user.chars().all(mailbox) => Ok(Self::Rfc822(text.to_owned())),
            Some(_) => Err(malformed()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(a) => write!(f, "{a}"),
            Self::Ipv6(a) => write!(f, "{a}"),
            Self::Fqdn(text) | Self::Rfc822(text) => show(f, text),
            Self::KeyId(octets) => match printable(octets) {
                Some(text) if !text.starts_with("0x") => show(f, &format!("keyid:{text}")),
                Some(_) | None => show(f, &in_hex("keyid:0x", octets)),
            },
            Self::DerAsn1Dn(der) => match distinguished(der) {
                Some(text) => f.write_str(&text),
                None => show(f, &in_hex("asn1dn:0x", der)),
            },
        }
    }
}

/// Text that may go into a log: a peer must not be able to write control characters there.
fn printable(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// A distinguished name in words, if there are any and they may go into a log.
fn distinguished(der: &[u8]) -> Option<String> {
    let text = DistinguishedName::from_der(der).ok()?.to_string();
    printable(text.as_bytes())
}

/// `10.0.0.300` is a mistyped address rather than a name.
fn looks_like_an_address(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn hex(digits: &str) -> Result<Vec<u8>, IdentityError> {
    let malformed = || IdentityError::Hex(digits.to_owned());
    let nibbles: Option<Vec<u8>> = digits
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let nibbles = nibbles.ok_or_else(malformed)?;
    if nibbles.is_empty() || nibbles.len() % 2 != 0 {
        return Err(malformed());
    }
    Ok(nibbles
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |octet, nibble| (octet << 4) | nibble))
        .collect())
}

fn in_hex(prefix: &str, octets: &[u8]) -> String {
    let digits = octets.iter().map(|octet| format!("{octet:02x}"));
    std::iter::once(prefix.to_owned()).chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling_and_writes_it_back() {
        for text in [
            "192.0.2.1",
            "2001:db8::1",
            "gw.example.org",
            "ops@example.org",
            "keyid:branch 7",
            "keyid:0x00ff",
            "asn1dn:0x3000",
            "C=CH, O=Example, CN=gw",
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
            let (id_type, data) = identity.to_wire();
            assert_eq!(Identity::from_wire(id_type, &data), Ok(identity));
        }
    }

    #[test]
    fn reads_the_openswan_spelling_of_a_name() {
        assert_eq!("@west".parse(), Ok(Identity::Fqdn("west".into())));
    }

    #[test]
    fn refuses_text_that_is_no_identity() {
        for text in [
            "",
            "10.0.0.300",
            "a b",
            "@",
            "user@",
            "keyid:",
            "keyid:0x123",
            "keyid:0xé",
            "%any",
            "NOSUCH=x",
            "CN=",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_name_that_would_forge_log_lines() {
        assert_eq!(
            Identity::from_wire(2, b"gw\nroot"),
            Err(IdentityWireError::Malformed(2))
        );
        assert_eq!(
            Identity::from_wire(1, &[1, 2, 3]),
            Err(IdentityWireError::Malformed(1))
        );
        assert_eq!(
            Identity::from_wire(201, b"x"),
            Err(IdentityWireError::UnknownType(201))
        );
    }

    #[test]
    fn shows_no_more_of_a_stranger_than_fits_into_a_line() {
        for (id_type, octet) in [(2, b'x'), (3, b'x'), (11, b'x'), (11, 0), (9, 0)] {
            let long = Identity::from_wire(id_type, &vec![octet; 30_000]).unwrap();
            assert_eq!(long.to_string().chars().count(), 257, "{id_type}");
        }
        let turned = Identity::from_wire(2, "gw\u{202e}x".as_bytes()).unwrap();
        assert_eq!(turned.to_string(), "gw\\u{202e}x");
    }

    #[test]
    fn matches_names_without_regard_to_case_but_never_across_types() {
        let a: Identity = "GW.example.org".parse().unwrap();
        let b: Identity = "gw.EXAMPLE.org".parse().unwrap();
        assert!(a.matches(&b));
        assert!(!a.matches(&Identity::KeyId(b"gw.example.org".to_vec())));
    }

    #[test]
    fn the_body_of_the_payload_has_three_reserved_octets() {
        assert_eq!(
            "1.2.3.4".parse::<Identity>().unwrap().rest_of_id(),
            [1, 0, 0, 0, 1, 2, 3, 4]
        );
    }
}
