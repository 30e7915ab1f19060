//! Distinguished names: written as OpenSSL and strongSwan write them (`C=CH, O=Example, CN=gw`, the outermost first),
//! compared as RFC 5280 7.1 wants it.

use std::fmt::{self, Write as _};

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::SetOfVec;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

/// A subject or an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName(RdnSequence);

/// An operator's text, or octets, are not a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnError {
    /// The text.
    #[error("`{0}` is not an attribute such as CN=gw.example")]
    Attribute(String),
    /// The octets.
    #[error("not a distinguished name in DER")]
    Der,
}

impl DistinguishedName {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, DnError> {
        RdnSequence::from_der(der).map(Self).map_err(|_| DnError::Der)
    }

    /// Reads text: attributes behind commas (or slashes, as old OpenSSL writes them), the outermost first. A comma
    /// within a value stands behind a backslash.
    pub fn from_text(text: &str) -> Result<Self, DnError> {
        let mut sequence = RdnSequence::default();
        for attribute in attributes(text) {
            let attribute = attribute.trim();
            let wrong = || DnError::Attribute(attribute.to_owned());
            let (key, value) = attribute.split_once('=').ok_or_else(wrong)?;
            let (key, value) = (key.trim(), value.trim());
            // OpenSSL's word for it.
            let key = if key.eq_ignore_ascii_case("emailAddress") || key.eq_ignore_ascii_case("E") {
                "1.2.840.113549.1.9.1"
            } else {
                key
            };
            if value.is_empty() {
                return Err(wrong());
            }
            let parsed: AttributeTypeAndValue = format!("{key}={value}").parse().map_err(|_| wrong())?;
            let set = SetOfVec::try_from(vec![parsed]).map_err(|_| wrong())?;
            sequence.push(RelativeDistinguishedName::from(set));
        }
        if sequence.is_empty() {
            return Err(DnError::Attribute(text.to_owned()));
        }
        Ok(Self(sequence))
    }

    /// As DER, for the wire.
    pub fn to_der(&self) -> Result<Vec<u8>, DnError> {
        self.0.to_der().map_err(|_| DnError::Der)
    }

    /// The same attributes in the same order, their texts compared without regard to case, to the number of spaces and
    /// to how they are encoded (RFC 5280 7.1, RFC 4518 in what matters here).
    pub fn matches(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(other.0.iter()).all(|(a, b)| same_rdn(a, b))
    }

    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&Name> for DistinguishedName {
    fn from(name: &Name) -> Self {
        Self(name.as_ref().clone())
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = self.0.iter().flat_map(RelativeDistinguishedName::iter);
        let texts: Vec<String> = attributes.map(ToString::to_string).collect();
        show(f, &texts.join(", "))
    }
}

/// Writes what a stranger wrote: it must not write into a log what it likes, or as much as it likes.
pub(crate) fn show(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars().take(LONGEST) {
        if c.is_control() || is_invisible(c) {
            write!(f, "{}", c.escape_unicode())?;
        } else {
            f.write_char(c)?;
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        f.write_str("…")?;
    }
    Ok(())
}

/// The pieces between commas that are not escaped; a text that begins with a slash has slashes between.
fn attributes(text: &str) -> Vec<&str> {
    let (text, separator) = match text.strip_prefix('/') {
        Some(rest) => (rest, '/'),
        None => (text, ','),
    };
    let mut escaped = false;
    let pieces = text.split(|c| {
        let splits = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    });
    pieces.collect()
}

fn same_rdn(a: &RelativeDistinguishedName, b: &RelativeDistinguishedName) -> bool {
    a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same_attribute(a, b))
}

fn same_attribute(a: &AttributeTypeAndValue, b: &AttributeTypeAndValue) -> bool {
    if a.oid != b.oid {
        return false;
    }
    match (folded(a), folded(b)) {
        (Some(a), Some(b)) => a == b,
        (Some(_), None) | (None, Some(_)) => false,
        (None, None) => a.value == b.value,
    }
}

/// The text of an attribute without what does not count.
fn folded(attribute: &AttributeTypeAndValue) -> Option<String> {
    let text = match attribute.value.decode_as::<DirectoryString>() {
        Ok(text) => text.value().into_owned(),
        Err(_) => {
            let ia5 = attribute
                .value
                .decode_as::<x509_cert::der::asn1::Ia5StringRef<'_>>()
                .ok()?;
            ia5.as_str().to_owned()
        }
    };
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    Some(words.join(" "))
}

/// What turns the direction of the text around, or cannot be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Characters of a name that are shown.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> DistinguishedName {
        DistinguishedName::from_text(text).unwrap()
    }

    #[test]
    fn writes_what_it_reads() {
        for text in [
            "C=CH, O=Example\\, Inc., CN=gw.example",
            "CN=gw",
            "DC=org, DC=example, UID=7",
        ] {
            assert_eq!(dn(text).to_string(), text);
            let der = dn(text).to_der().unwrap();
            assert_eq!(DistinguishedName::from_der(&der).unwrap(), dn(text));
        }
        assert_eq!(dn("/C=CH/O=Example/CN=gw"), dn("C=CH,O=Example,CN=gw"));
        assert!(
            dn("CN=gw, emailAddress=ops@example.org")
                .to_string()
                .contains("ops@example.org")
        );
    }

    #[test]
    fn matches_without_regard_to_case_spaces_and_encoding() {
        assert!(dn("C=CH, O=Big  Corp").matches(&dn("C=ch, O=big corp")));
        // PrintableString and UTF8String of the same text.
        let printable = [
            0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x13, 0x02, b'G', b'w',
        ];
        assert!(
            DistinguishedName::from_der(&printable)
                .unwrap()
                .matches(&dn("CN=gw"))
        );
        assert!(!dn("O=a, CN=gw").matches(&dn("CN=gw, O=a")));
        assert!(!dn("CN=gw").matches(&dn("O=gw")));
        assert!(!dn("CN=gw").matches(&dn("CN=gw, O=a")));
    }

    #[test]
    fn shows_no_control_characters_and_not_too_much() {
        let name = dn("CN=a\u{85}b\u{202e}c");
        assert_eq!(name.to_string(), "CN=a\\u{85}b\\u{202e}c");
        let long = dn(&format!("CN={}", "x".repeat(5000))).to_string();
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

    #[test]
    fn refuses_what_is_no_name() {
        for text in ["", "gw", "CN=", "NOSUCH=x", "C=CH,,CN=x", "=x"] {
            assert!(DistinguishedName::from_text(text).is_err(), "{text}");
        }
        assert_eq!(DistinguishedName::from_der(&[0x30, 5, 1]), Err(DnError::Der));
    }
}
