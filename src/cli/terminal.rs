//! Colour where a person looks, and none elsewhere.

use std::io::{IsTerminal, stderr, stdout};

/// Whether and how to colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// For standard output.
    pub(super) fn stdout() -> Self {
        Self {
            colour: stdout().is_terminal() && wanted(),
        }
    }

    /// For standard error.
    pub(super) fn stderr() -> Self {
        Self {
            colour: stderr().is_terminal() && wanted(),
        }
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { colour: false }
    }

    /// Is there colour?
    pub(super) fn is_coloured(self) -> bool {
        self.colour
    }

    /// As it should be.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// As it should not be.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// On its way.
    pub(super) fn busy(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Of lesser interest.
    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// A heading.
    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// <https://no-color.org>
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
