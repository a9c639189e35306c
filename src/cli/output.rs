//! Standard output: JSON lines, or text and tables.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, BufWriter, StdoutLock, Write},
    time::Duration,
};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::{CliError, Result};

pub(crate) struct Output {
    json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout().lock()) }
    }

    /// Whether to print JSON and nothing else.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON document on a line of its own.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        let line = value.to_string();
        // JSON does not escape DEL and the control characters after it, which a
        // terminal obeys.
        let line = spelled(&line, char::is_control, |c| format!("\\u{:04x}", u32::from(c)));
        writeln!(self.out, "{line}").map_err(failed)
    }

    /// A line of text.
    pub(crate) fn text(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.out, "{}", shown(&text.to_string())).map_err(failed)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<()> {
        // Without the padding at the end of the lines.
        for line in table.lines() {
            writeln!(self.out, "{}", shown(line.trim_end())).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

/// Text with control characters escaped, so that stored text cannot move the
/// cursor of a terminal or change its title.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    let moves = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    spelled(text, moves, |c| c.escape_default().to_string())
}

fn spelled(text: &str, is: impl Fn(char) -> bool, spell: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&is) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        if is(c) {
            safe.push_str(&spell(c));
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

fn failed(error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CliError::OutputClosed
    } else {
        CliError::message(format!("write to standard output: {error}"))
    }
}

/// The only line of a table is under the heads of its columns.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// An empty table with these column heads, as wide as the terminal at most.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = fitted(STYLE);
    table.set_header(heads);
    table
}

/// A table of names and values.
pub(crate) fn facts() -> Table {
    fitted(presets::NOTHING)
}

fn fitted(style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    // Some terminals do not know how wide they are and say 0.
    if table.width().is_some_and(|width| width >= 40) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// A progress bar on standard error, in bytes.
pub(crate) fn bytes_bar(bytes: u64) -> ProgressBar {
    bar(bytes, "{bar:32} {bytes}/{total_bytes} {elapsed} {msg}")
}

/// A progress bar on standard error, in items.
pub(crate) fn count_bar(count: u64) -> ProgressBar {
    bar(count, "{bar:32} {human_pos}/{human_len} {elapsed} {msg}")
}

/// A spinner on standard error, for a total of bytes that is not known.
pub(crate) fn spinner() -> ProgressBar {
    bar(0, "{spinner} {bytes} written {elapsed}")
}

fn bar(length: u64, template: &str) -> ProgressBar {
    // Draws nothing if standard error is not a terminal.
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// A number with thousands separators.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`grouped`], for a `usize`.
pub(crate) fn count(number: usize) -> String {
    grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A duration as text.
pub(crate) fn took(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1_000.0 {
        format!("{micros:.1} µs")
    } else if micros < 1_000_000.0 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

/// The beginning of a text, on one line.
pub(crate) fn brief(text: &str, characters: usize) -> String {
    let text = text.replace(char::is_control, " ");
    if text.chars().count() <= characters {
        return text;
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A duration in microseconds, as JSON.
pub(crate) fn micros(time: Duration) -> Value {
    // A single measurement is not more precise than a tenth.
    Value::from((time.as_secs_f64() * 1e7).round() / 10.0)
}
