//! Exported keys on their way to whoever asked for them: the one secret that the control socket ever carries.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A row of one of Wireshark's tables, with the keys of one SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Which table.
    pub table: KeyTable,
    /// The row, without its end of line. A comment (`#`) if Wireshark has no name for the algorithm.
    pub row: Row,
}

/// Wireshark's tables, called by the files of a profile that hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyTable {
    /// Keys of IKE SAs.
    #[serde(rename = "ikev2_decryption_table")]
    Ike,
    /// Keys of ESP SAs.
    #[serde(rename = "esp_sa")]
    Esp,
}

impl KeyTable {
    /// The file's name.
    pub fn file(self) -> &'static str {
        match self {
            Self::Ike => "ikev2_decryption_table",
            Self::Esp => "esp_sa",
        }
    }
}

/// The text of a row. Zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Row(Zeroizing<String>);

impl Row {
    /// Takes a row.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The row, for the file only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row(..)")
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_never_printed() {
        let row = KeyRow {
            table: KeyTable::Esp,
            row: Row::new("0123456789abcdef".into()),
        };
        assert_eq!(format!("{row:?}"), "KeyRow { table: Esp, row: Row(..) }");
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"table":"esp_sa","row":"0123456789abcdef"}"#);
        assert_eq!(serde_json::from_str::<KeyRow>(&json).unwrap(), row);
    }
}
