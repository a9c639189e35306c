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
    quiet: bool,
    /// Where summaries go when a file of the user's goes to standard output.
    summaries: Summaries,
    out: BufWriter<StdoutLock<'static>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Summaries {
    Stdout,
    Stderr,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let out = BufWriter::new(io::stdout().lock());
        Self { json, quiet, summaries: Summaries::Stdout, out }
    }

    /// Whether to print JSON and nothing else.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Standard output is a file that the user asked for: what is printed from
    /// now on goes to standard error.
    pub(crate) fn gives_stdout_away(&mut self) {
        self.summaries = Summaries::Stderr;
    }

    /// Prints what a command did: nothing if `--quiet` was given.
    pub(crate) fn summary(
        &mut self,
        json: impl FnOnce() -> Value,
        text: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.json {
            return self.json(&json());
        }
        if self.quiet { Ok(()) } else { text(self) }
    }

    /// Says on standard error what is worth knowing, but no trouble.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.say("note", &text.to_string());
        }
    }

    /// Says on standard error what may be trouble.
    pub(crate) fn warn(&self, text: impl Display) {
        self.say("warning", &text.to_string());
    }

    /// JSON beside the results, such as where to go on: on standard error.
    pub(crate) fn aside(&self, value: &Value) {
        // If this fails, there is no place left to say so.
        let _ = writeln!(io::stderr().lock(), "{}", escaped(value));
    }

    fn say(&self, what: &str, text: &str) {
        // If this fails, there is no place left to say so.
        let _ = if self.json {
            let line = escaped(&serde_json::json!({ what: text }));
            writeln!(io::stderr().lock(), "{line}")
        } else {
            writeln!(io::stderr().lock(), "{what}: {}", shown(text))
        };
    }

    fn line(&mut self, line: &str) -> Result<()> {
        match self.summaries {
            Summaries::Stdout => writeln!(self.out, "{line}"),
            Summaries::Stderr => writeln!(io::stderr().lock(), "{line}"),
        }
        .map_err(failed)
    }

    /// Bytes as they are: of the program itself, not of a store.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }

    /// A JSON document on a line of its own.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        self.line(&escaped(value))
    }

    /// A line of text.
    pub(crate) fn text(&mut self, text: impl Display) -> Result<()> {
        self.line(&shown(&text.to_string()))
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<()> {
        // Without the padding at the end of the lines.
        table.lines().try_for_each(|line| self.line(&shown(line.trim_end())))
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

/// JSON on one line. JSON itself does not escape DEL and the control characters
/// after it, which a terminal obeys.
pub(crate) fn escaped(value: &Value) -> String {
    let line = value.to_string();
    spelled(&line, char::is_control, |c| format!("\\u{:04x}", u32::from(c))).into_owned()
}

/// Stored text in a cell of a table: on one line, and in the order in which it
/// is stored. Control characters are escaped, and so are line breaks and the
/// marks that change the direction of writing.
pub(crate) fn cell(text: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    spelled(text, moves, |c| c.escape_default().to_string()).into_owned()
}

/// A number with so many digits after the point, and without the sign of a zero.
pub(crate) fn fixed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        _ => text,
    }
}

/// The number without the sign of a zero.
pub(crate) fn unsigned_zero(number: f64) -> f64 {
    if number == 0.0 { 0.0 } else { number }
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

impl Output {
    /// A progress bar on standard error, in bytes.
    pub(crate) fn bytes_bar(&self, bytes: u64) -> ProgressBar {
        self.bar(bytes, "{bar:32} {bytes}/{total_bytes} {elapsed} {msg}")
    }

    /// A progress bar on standard error, in items.
    pub(crate) fn count_bar(&self, count: u64) -> ProgressBar {
        self.bar(count, "{bar:32} {human_pos}/{human_len} {elapsed} {msg}")
    }

    /// A spinner on standard error, for a total of bytes that is not known.
    pub(crate) fn spinner(&self) -> ProgressBar {
        self.bar(0, "{spinner} {bytes} written {elapsed}")
    }

    fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        // Draws nothing if standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
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

/// The beginning of a text, as a [`cell`].
pub(crate) fn brief(text: &str, characters: usize) -> String {
    // Escapes make a text longer, so no more of it than this is needed.
    let start: String = text.chars().take(characters.saturating_add(1)).collect();
    let text = cell(&start);
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
