//! Additional key exchanges: up to seven after the first (RFC 9370).

use super::{KeyExchangeMethod, TransformId, TransformType};

/// One of the seven, in the order in which they take place (transform types 6 to 12, RFC 9370 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Additional(u8);

impl Additional {
    /// All of them.
    pub const ALL: [Self; 7] = [Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7)];

    /// 1 to 7.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The one of a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1..=7 => Some(Self(number)),
            _ => None,
        }
    }

    /// What an operator calls it.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1 => "ke1",
            2 => "ke2",
            3 => "ke3",
            4 => "ke4",
            5 => "ke5",
            6 => "ke6",
            _ => "ke7",
        }
    }

    /// The transform: a method, or NONE.
    pub const fn transform(self, method: Option<KeyExchangeMethod>) -> TransformId {
        let id = match method {
            Some(method) => method.id(),
            None => 0,
        };
        TransformId::new(TransformType::AdditionalKeyExchange(self), id)
    }

    /// The keyword, such as `ke1_mlkem768` or `ke1_none`.
    pub fn keyword(self, method: Option<KeyExchangeMethod>) -> String {
        format!(
            "{}_{}",
            self.name(),
            method.map_or("none", KeyExchangeMethod::name)
        )
    }
}

/// The additional key exchanges that both sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdditionalMethods([Option<KeyExchangeMethod>; 7]);

impl AdditionalMethods {
    /// No additional key exchange.
    pub const NONE: Self = Self([None; 7]);

    /// With one more.
    #[must_use]
    pub fn with(mut self, which: Additional, method: KeyExchangeMethod) -> Self {
        if let Some(slot) = self.0.get_mut(usize::from(which.0 - 1)) {
            *slot = Some(method);
        }
        self
    }

    /// In the order in which they take place; those that are NONE are skipped (RFC 9370 2.2.2).
    pub fn iter(&self) -> impl Iterator<Item = (Additional, KeyExchangeMethod)> {
        Additional::ALL
            .into_iter()
            .zip(self.0)
            .filter_map(|(which, method)| Some((which, method?)))
    }

    /// The methods alone.
    pub fn methods(&self) -> impl Iterator<Item = KeyExchangeMethod> {
        self.0.into_iter().flatten()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.methods().next().is_none()
    }
}
