//! One message as it travels: in one datagram, or in several (RFC 7383).

/// The datagrams of one message, in their order. Never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagrams(Vec<Vec<u8>>);

impl Datagrams {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<u8>> for Datagrams {
    fn from(whole: Vec<u8>) -> Self {
        Self(vec![whole])
    }
}

impl From<Vec<Vec<u8>>> for Datagrams {
    fn from(fragments: Vec<Vec<u8>>) -> Self {
        Self(fragments)
    }
}

impl IntoIterator for Datagrams {
    type Item = Vec<u8>;
    type IntoIter = std::vec::IntoIter<Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
