//! Reads typed values out of a TOML table and says what is wrong with those that do not fit, going on with the next.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all kinds of TOML values one is wanted, and the rest is wrong"
)]

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Report};
use super::source::{At, Span};
use super::suggest::nearest;

/// A table being read. [`Section::finish`] reports the keys that nobody asked for.
pub(super) struct Section<'t, 'i> {
    table: &'t DeTable<'i>,
    file: usize,
    /// The table's place, for what is missing in it.
    pub(super) span: Span,
    /// As the operator knows it: `[gateway]`, `[[tunnel]]`, `local`.
    name: &'static str,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    /// Begins to read a table.
    pub(super) fn new(table: &'t DeTable<'i>, span: Span, name: &'static str) -> Self {
        Self {
            table,
            file: span.file,
            span,
            name,
            known: Vec::new(),
        }
    }

    /// The value of a key, whatever it is.
    pub(super) fn value(&mut self, key: &'static str) -> Option<(&'t DeValue<'i>, Span)> {
        self.known.push(key);
        let (_, value) = self.table.iter().find(|(k, _)| k.get_ref() == key)?;
        Some((value.get_ref(), self.place(value)))
    }

    /// The keys that are there, readable or not.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.keys().map(|key| key.get_ref().to_string()).collect()
    }

    /// The place of a key.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.table
            .iter()
            .find(|(k, _)| k.get_ref() == key)
            .map(|(k, _)| Span::new(self.file, k.span()))
    }

    fn place<T>(&self, spanned: &Spanned<T>) -> Span {
        Span::new(self.file, spanned.span())
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str, out: &mut Report) -> Option<At<String>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::String(text) => Some(At {
                value: text.to_string(),
                span,
            }),
            other => wrong_type(key, "a string", other, &span, out),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, out: &mut Report) -> Option<At<bool>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::Boolean(value) => Some(At { value: *value, span }),
            other => wrong_type(key, "true or false", other, &span, out),
        }
    }

    /// A whole number in a range.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        out: &mut Report,
    ) -> Option<At<u32>> {
        let (value, span) = self.value(key)?;
        let DeValue::Integer(integer) = value else {
            return wrong_type(key, "a whole number", value, &span, out);
        };
        match i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|n| u32::try_from(n).ok())
        {
            Some(number) if range.contains(&number) => Some(At { value: number, span }),
            Some(_) | None => {
                let title = format!("`{key}` is out of range");
                let remedy = format!("write a number from {} to {}", range.start(), range.end());
                out.push(Diagnostic::error("out-of-range", title, remedy).at(&span, "not a possible value"));
                None
            }
        }
    }

    /// A time such as `30s`; `off` where it may be switched off gives `None` inside.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        may_be_off: bool,
        out: &mut Report,
    ) -> Option<At<Option<Duration>>> {
        let (value, span) = self.value(key)?;
        let DeValue::String(text) = value else {
            return wrong_type(key, "a string such as \"30s\"", value, &span, out);
        };
        if may_be_off && text == "off" {
            return Some(At { value: None, span });
        }
        if let Some(duration) = parse_duration(text) {
            return Some(At {
                value: Some(duration),
                span,
            });
        }
        let off = if may_be_off { ", or \"off\"" } else { "" };
        let remedy = format!("write a whole number and its unit: \"500ms\", \"30s\", \"5m\" or \"1h\"{off}");
        out.push(
            Diagnostic::error("bad-duration", format!("`{key}` is not a time"), remedy).at(&span, "no time"),
        );
        None
    }

    /// An amount such as `100GB`; `off` gives `None` inside.
    pub(super) fn octets(&mut self, key: &'static str, out: &mut Report) -> Option<At<Option<u64>>> {
        let (value, span) = self.value(key)?;
        let DeValue::String(text) = value else {
            return wrong_type(key, "a string such as \"100GB\"", value, &span, out);
        };
        if text == "off" {
            return Some(At { value: None, span });
        }
        if let Some(octets) = parse_octets(text) {
            return Some(At {
                value: Some(octets),
                span,
            });
        }
        let remedy =
            "write a whole number and its unit: \"500MB\", \"100GB\", \"2TB\" (or MiB, GiB, TiB), or \"off\"";
        out.push(
            Diagnostic::error("bad-amount", format!("`{key}` is not an amount of data"), remedy)
                .at(&span, "no amount"),
        );
        None
    }

    /// A list of strings; a single string stands for a list of one.
    pub(super) fn strings(&mut self, key: &'static str, out: &mut Report) -> Option<At<Vec<At<String>>>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::String(text) => Some(At {
                value: vec![At {
                    value: text.to_string(),
                    span: span.clone(),
                }],
                span,
            }),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    let place = self.place(item);
                    match item.get_ref() {
                        DeValue::String(text) => list.push(At {
                            value: text.to_string(),
                            span: place,
                        }),
                        other => {
                            let _: Option<()> = wrong_type(key, "strings only", other, &place, out);
                        }
                    }
                }
                // A list of nothing but mistakes is not an empty list.
                (items.is_empty() || !list.is_empty()).then_some(At { value: list, span })
            }
            other => wrong_type(key, "a list of strings", other, &span, out),
        }
    }

    /// A table within the table.
    pub(super) fn section(&mut self, key: &'static str, out: &mut Report) -> Option<Section<'t, 'i>> {
        let (value, span) = self.value(key)?;
        match value {
            DeValue::Table(table) => Some(Section::new(table, span, key)),
            other => wrong_type(key, "a table", other, &span, out),
        }
    }

    /// A list of tables, `[[key]]`.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        name: &'static str,
        out: &mut Report,
    ) -> Vec<Section<'t, 'i>> {
        let Some((value, span)) = self.value(key) else {
            return Vec::new();
        };
        match value {
            DeValue::Array(items) => {
                let mut sections = Vec::new();
                for item in items {
                    let place = self.place(item);
                    match item.get_ref() {
                        DeValue::Table(table) => sections.push(Section::new(table, place, name)),
                        other => {
                            let _: Option<()> = wrong_type(key, "a table", other, &place, out);
                        }
                    }
                }
                sections
            }
            DeValue::Table(table) => {
                let remedy = format!("write [[{key}]], with two brackets: there can be several");
                let title = format!("[{key}] must be a list of tables");
                let place = self.key_span(key).unwrap_or(span.clone());
                out.push(Diagnostic::error("wrong-type", title, remedy).at(&place, "one table"));
                // Read on: what is wrong inside is worth knowing too.
                vec![Section::new(table, span, name)]
            }
            other => {
                let _: Option<()> = wrong_type(key, "a list of tables", other, &span, out);
                Vec::new()
            }
        }
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, out: &mut Report) {
        for (key, _) in self
            .table
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()))
        {
            let written = key.get_ref();
            let mut known = self.known.clone();
            known.sort_unstable();
            let list = known.join(", ");
            let remedy = match nearest(written, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("remove it; {} knows: {list}", self.name),
            };
            let title = format!("{} has no key `{written}`", self.name);
            out.push(Diagnostic::error("unknown-key", title, remedy).at(&self.place(key), "unknown key"));
        }
    }
}

/// Reports a value of a type that the key does not take.
pub(super) fn wrong_type<T>(
    key: &str,
    wanted: &str,
    found: &DeValue<'_>,
    span: &Span,
    out: &mut Report,
) -> Option<T> {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let title = format!("`{key}` must be {wanted}");
    let remedy = format!("write {wanted}");
    out.push(Diagnostic::error("wrong-type", title, remedy).at(span, format!("this is {found}")));
    None
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (Duration::from_millis(1)..=LONGEST)
        .contains(&duration)
        .then_some(duration)
}

fn parse_octets(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let octets = match unit.trim_start() {
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(octets).filter(|octets| *octets > 0)
}

/// Nothing here wants more than a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_refuses_what_is_none() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2 h"), Some(Duration::from_secs(7200)));
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "0s",
            "25h",
            "99999999999999999999s",
            "3d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn reads_amounts_and_refuses_what_is_none() {
        assert_eq!(parse_octets("500MB"), Some(500_000_000));
        assert_eq!(parse_octets("4 GiB"), Some(4 << 30));
        assert_eq!(parse_octets("2TB"), Some(2_000_000_000_000));
        for text in [
            "",
            "30",
            "GB",
            "-1GB",
            "1.5GB",
            "0MB",
            "7kB",
            "99999999999999999999MB",
            "99999999TiB",
        ] {
            assert_eq!(parse_octets(text), None, "{text}");
        }
    }
}
