//! What is wrong with a configuration: where, why, and what to do about it.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably not as meant.
    Warning,
}

/// One problem.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Its short name for search and tests, such as `host-bits`.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub title: String,
    /// Where, and what to write at the caret. `None` if there is no such place.
    pub place: Option<(Span, String)>,
    /// Another place that belongs to it.
    pub other: Option<(Span, String)>,
    /// Why it is wrong.
    pub cause: Option<String>,
    /// What to do. Never empty.
    pub remedy: String,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, title: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            title: title.into(),
            place: None,
            other: None,
            cause: None,
            remedy: remedy.into(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, title: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, title, remedy)
        }
    }

    /// Puts the caret.
    #[must_use]
    pub fn at(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.place = Some((span.clone(), label.into()));
        self
    }

    /// Shows another place.
    #[must_use]
    pub fn and(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.other = Some((span.clone(), label.into()));
        self
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

/// All that was found, with the files it was found in.
#[derive(Default)]
pub struct Report {
    /// The problems; errors and warnings mixed until [`Report::sort`].
    pub diagnostics: Vec<Diagnostic>,
    /// The files.
    pub sources: Sources,
}

impl Report {
    /// Adds a problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// Puts the problems in the order of the files and lines; those without a place come first.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by(|a, b| {
            a.place
                .as_ref()
                .map(|p| &p.0)
                .cmp(&b.place.as_ref().map(|p| &p.0))
        });
    }

    /// All problems for people, with a summary line. Empty if there are none.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&self.render_one(diagnostic, colour));
            out.push_str("\n\n");
        }
        if !self.diagnostics.is_empty() {
            out.push_str(&self.summary());
            out.push('\n');
        }
        out
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (errors, 0) => plural(errors, "error"),
            (0, warnings) => plural(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        }
    }

    fn render_one(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.title.as_str()).id(diagnostic.code));
        let same_file = |a: &Span, b: &Span| a.file == b.file;
        if let Some((span, label)) = &diagnostic.place {
            let mut snippets = Vec::new();
            if let Some(mut snippet) = self.snippet(span, label, AnnotationKind::Primary) {
                if let Some((other, other_label)) =
                    diagnostic.other.as_ref().filter(|(o, _)| same_file(o, span))
                {
                    snippet = snippet.annotation(
                        AnnotationKind::Context
                            .span(other.range())
                            .label(other_label.as_str()),
                    );
                }
                snippets.push(snippet);
            }
            if let Some((other, label)) = diagnostic.other.as_ref().filter(|(o, _)| !same_file(o, span)) {
                snippets.extend(self.snippet(other, label, AnnotationKind::Context));
            }
            group = group.elements(snippets);
        }
        if let Some(cause) = &diagnostic.cause {
            group = group.element(Level::NOTE.with_name("cause").message(cause.as_str()));
        }
        group = group.element(
            Level::HELP
                .with_name("remedy")
                .message(diagnostic.remedy.as_str()),
        );
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.term_width(WIDTH).render(&[group])
    }

    fn snippet<'a>(
        &'a self,
        span: &Span,
        label: &'a str,
        kind: AnnotationKind,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let source = self.sources.get(span)?;
        let text = source.covered();
        let clamp = |at: usize| {
            (at.min(text.len())..=text.len())
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0)
        };
        let (start, end) = (clamp(span.start), clamp(span.end.max(span.start)));
        let annotation = kind.span(start..end);
        let annotation = if label.is_empty() {
            annotation
        } else {
            annotation.label(label)
        };
        Some(
            Snippet::source(text)
                .path(source.path.display().to_string())
                .annotation(annotation),
        )
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// Wide enough that a caret's line is never cut in practice.
const WIDTH: usize = 160;
