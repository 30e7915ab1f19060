//! What the audience sees: one line for each step, with a tick and its time.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::terminal::Style;
use crate::testbed;

/// Why the demo stopped.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it; may be empty.
    pub(super) remedy: String,
}

impl Trouble {
    /// Something that was to be shown is not so.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: String::new(),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Standard output.
pub(super) struct Screen {
    style: Style,
    animated: bool,
    begun: Instant,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            style: Style::stdout(),
            animated: io::stdout().is_terminal(),
            begun: Instant::now(),
        }
    }

    /// Performs a step: `work` returns what it found, and a word about it for the audience.
    pub(super) fn step<T>(
        &self,
        title: &str,
        work: impl FnOnce() -> Result<(T, String), Trouble>,
    ) -> Result<T, Trouble> {
        if self.animated {
            print!("  {} {title} ...", self.style.busy("·"));
            // A terminal that cannot be written to is no reason to stop.
            let _ = io::stdout().flush();
        }
        let begun = Instant::now();
        let mut outcome = work();
        if testbed::interrupted() {
            outcome = Err(Trouble::new("interrupted"));
        }
        let back = if self.animated { "\r\x1b[K" } else { "" };
        let time = self.style.faint(&format!("({})", seconds(begun.elapsed())));
        match outcome {
            Ok((found, word)) => {
                println!("{back}  {} {title:<TITLE$} {word} {time}", self.style.good("✓"));
                Ok(found)
            }
            Err(trouble) => {
                println!("{back}  {} {title} {time}", self.style.bad("✗"));
                Err(trouble)
            }
        }
    }

    /// A heading.
    pub(super) fn heading(&self, text: &str) {
        println!("\n{}", self.style.strong(text));
    }

    /// Text in full, indented.
    pub(super) fn quote(&self, text: impl fmt::Display) {
        for line in text.to_string().lines() {
            println!("    {line}");
        }
    }

    /// The last line.
    pub(super) fn verdict(&self, text: &str) {
        println!(
            "\n{} {}",
            self.style.good(text),
            self.style.faint(&format!("({})", seconds(self.begun.elapsed())))
        );
    }
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

const TITLE: usize = 48;
