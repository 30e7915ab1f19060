//! Additional key exchanges in proposals (RFC 9370 2.2.1).

use std::collections::BTreeMap;

use super::token::{ProposalError, ProposalErrorKind, Word};
use super::transform::{Additional, AdditionalMethods, KeyExchangeMethod, TransformId};

/// What one side wants for each additional key exchange, most wanted first; `None` is NONE: without is fine, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdditionalChoices(BTreeMap<Additional, Vec<Option<KeyExchangeMethod>>>);

impl AdditionalChoices {
    /// No additional key exchange is wanted.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// One additional key exchange, of this method.
    pub fn first(method: KeyExchangeMethod) -> Self {
        let [first, ..] = Additional::ALL;
        Self::none().with(first, Some(method))
    }

    /// The same with another choice.
    #[must_use]
    pub fn with(mut self, which: Additional, method: Option<KeyExchangeMethod>) -> Self {
        self.0.entry(which).or_default().push(method);
        self
    }

    /// No additional key exchange is wanted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It cannot do without one.
    pub fn is_required(&self) -> bool {
        self.0.values().any(|choices| !choices.contains(&None))
    }

    /// It cannot do without one that withstands a quantum computer.
    pub fn requires_post_quantum(&self) -> bool {
        let strong =
            |choice: &Option<KeyExchangeMethod>| choice.is_some_and(KeyExchangeMethod::is_post_quantum);
        self.0.values().any(|choices| choices.iter().all(strong))
    }

    /// It names one that withstands a quantum computer.
    pub fn names_post_quantum(&self) -> bool {
        self.iter()
            .any(|(_, choice)| choice.is_some_and(KeyExchangeMethod::is_post_quantum))
    }

    /// What is wanted for one of them; what is not mentioned is NONE.
    pub fn of(&self, which: Additional) -> &[Option<KeyExchangeMethod>] {
        self.0.get(&which).map_or(&[None], Vec::as_slice)
    }

    /// Whether this could have been chosen.
    pub(crate) fn admits(&self, chosen: &AdditionalMethods) -> bool {
        let of = |which| chosen.iter().find(|(w, _)| *w == which).map(|(_, method)| method);
        Additional::ALL
            .into_iter()
            .all(|which| self.of(which).contains(&of(which)))
    }

    /// Which of them, and what: in the order of the types.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Additional, Option<KeyExchangeMethod>)> {
        self.0
            .iter()
            .flat_map(|(which, choices)| choices.iter().map(move |choice| (*which, *choice)))
    }

    /// As transforms.
    pub(crate) fn transforms(&self) -> impl Iterator<Item = TransformId> {
        self.iter().map(|(which, method)| which.transform(method))
    }

    pub(super) fn push(
        &mut self,
        which: Additional,
        method: Option<KeyExchangeMethod>,
        word: &Word<'_>,
    ) -> Result<(), ProposalError> {
        super::token::push(self.0.entry(which).or_default(), method, word)
    }

    /// Refuses what can only be a mistake.
    pub(super) fn check(&self, words: &[Word<'_>], first: &[KeyExchangeMethod]) -> Result<(), ProposalError> {
        let fail = |which: Additional, kind| match words.iter().find(|word| word.is_additional(which)) {
            Some(word) => Err(word.error(kind)),
            None => Err(super::token::whole(which.name(), kind)),
        };
        let mut seen: Vec<KeyExchangeMethod> = first.to_vec();
        for (n, (which, choices)) in self.0.iter().enumerate() {
            if first.is_empty() {
                return fail(*which, ProposalErrorKind::AdditionalWithoutFirst);
            }
            if usize::from(which.number()) != n + 1 {
                return fail(*which, ProposalErrorKind::AdditionalGap);
            }
            let methods: Vec<KeyExchangeMethod> = choices.iter().flatten().copied().collect();
            if methods.is_empty() {
                return fail(*which, ProposalErrorKind::AdditionalNothing);
            }
            // RFC 9370 2.2.1: no method takes place twice in one SA.
            if methods.iter().any(|method| seen.contains(method)) {
                return fail(*which, ProposalErrorKind::SameKeyExchange);
            }
            seen.extend(methods);
        }
        Ok(())
    }
}
