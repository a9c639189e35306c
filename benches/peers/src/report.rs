//! A table of a race: medians over its rounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use anyhow::{Context, Result};

use crate::line::Line;

const OURS: &str = "ingrain";
pub const MACHINE: &str = "machine";

/// What of a line a row shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Figure {
    Rate,
    Time,
    Lost,
    WriterRate,
    Settling,
    Disk,
    Peak,
    Memory,
}

impl Figure {
    fn of(self, line: &Line) -> Option<f64> {
        match self {
            Self::Rate => line.ops_per_second,
            Self::Time => line.seconds,
            Self::Lost => Some(line.written?.saturating_sub(line.found?) as f64),
            Self::WriterRate => line.writer_ops_per_second,
            Self::Settling => line.settle_seconds,
            Self::Disk => line.disk_bytes.map(|bytes| bytes as f64),
            Self::Peak => line.anon_peak_bytes.map(|bytes| bytes as f64),
            Self::Memory => line.anon_bytes.map(|bytes| bytes as f64),
        }
    }

    fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::WriterRate)
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate | Self::WriterRate => count(value),
            Self::Time | Self::Settling => format!("{} ms", digits(value * 1e3)),
            Self::Lost => count(value),
            Self::Disk | Self::Peak | Self::Memory => format!("{} MB", digits(value / 1e6)),
        }
    }
}

/// The rows of a phase. Settling is not compared: what is left to it differs.
fn figures(phase: &str) -> &'static [(Figure, &'static str)] {
    use Figure::{Disk, Lost, Memory, Peak, Rate, Settling, Time, WriterRate};
    match phase {
        "load" => &[
            (Rate, "load, batches of 1,000, until settled, records/s"),
            (Disk, "– disk"),
            (Peak, "– peak of anonymous memory"),
        ],
        "get" => &[(Rate, "get, snapshot held"), (Peak, "– peak of anonymous memory")],
        "get_each" => &[(Rate, "get, snapshot for each")],
        "scan" => &[(Rate, "scan in key order, records/s")],
        "get_fresh" => &[(Rate, "get of what was just overwritten")],
        "get_commit" => {
            &[(Rate, "get beside durable commits"), (WriterRate, "– commits/s of the writer")]
        }
        "get_load" => {
            &[(Rate, "get beside batches of 1,000"), (WriterRate, "– records/s of the writer")]
        }
        "commit" => &[(Rate, "durable commit of one record")],
        "overwrite" => &[
            (Rate, "overwrite all, batches of 1,000, until settled, records/s"),
            (Disk, "– disk"),
            (Peak, "– peak of anonymous memory"),
        ],
        "delete" => &[
            (Rate, "delete up to 100,000, batches of 1,000, records/s"),
            (Settling, "– and settling"),
        ],
        "close" => &[(Time, "close")],
        "reopen_warm" => &[(Time, "reopen until the first get, warm")],
        "reopen_cold" => {
            &[(Time, "reopen until the first get, cold"), (Memory, "– anonymous memory")]
        }
        "recover" => &[
            (Time, "open after SIGKILL in mid-load until the first get"),
            (Memory, "– anonymous memory"),
            (Lost, "– records lost"),
        ],
        _ => &[],
    }
}

/// Whether a peer can be the best in a phase. One that lost records when it was
/// killed has less to recover, and sled's flush syncs less than the others
/// (`sled.rs`).
fn fair(phase: &str, peer: &str, rounds: Option<&Rounds<'_>>) -> bool {
    match phase {
        "commit" | "get_commit" => peer != "sled",
        "recover" => {
            let lost = |line: &&Line| Figure::Lost.of(line) > Some(0.0);
            !rounds.is_some_and(|rounds| rounds.iter().any(lost))
        }
        _ => true,
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", digits(v / 1e6)),
        v if v >= 1e3 => format!("{} k", digits(v / 1e3)),
        v => format!("{v:.0}"),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Lines of one peer and phase, of all rounds.
type Rounds<'l> = Vec<&'l Line>;

fn median_of(lines: &Rounds<'_>, figure: impl Fn(&Line) -> Option<f64>) -> Option<f64> {
    median(lines.iter().filter_map(|line| figure(line)).collect())
}

/// The tables of a file of lines, one for each size of the store.
pub fn report(path: &Path, markdown: bool) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("the line {line}")))
        .collect::<Result<Vec<Line>>>()?;
    let sizes: BTreeSet<_> = lines.iter().map(|line| (line.records, line.value)).collect();
    let mut out = String::new();
    for (records, value) in sizes {
        let lines: Rounds<'_> =
            lines.iter().filter(|l| (l.records, l.value) == (records, value)).collect();
        let rounds: BTreeSet<_> = lines.iter().map(|line| line.round).collect();
        writeln!(
            out,
            "{records} records of {value} bytes, rounds: {}. Rates with p50/p99 in µs. The best \
             peer of durable commits is never sled, which syncs less, and that of openings after \
             SIGKILL never one that lost records.\n",
            rounds.len(),
        )?;
        out += &render(&peers_table(&lines), markdown);
        let machine = machine_table(&lines);
        if machine.len() > 1 {
            writeln!(out)?;
            out += &render(&machine, markdown);
        }
        for line in lines.iter().filter(|line| line.error.is_some()) {
            let error = line.error.as_deref().unwrap_or_default();
            writeln!(out, "\n{}, {}, round {}: {error}", line.peer, line.phase, line.round)?;
        }
        writeln!(out)?;
    }
    Ok(out)
}

fn peers_table(lines: &Rounds<'_>) -> Vec<Vec<String>> {
    let mut peers = BTreeSet::new();
    let mut phases: Vec<(&str, u32)> = Vec::new();
    let mut by: BTreeMap<(&str, u32, &str), Rounds<'_>> = BTreeMap::new();
    let measured = |line: &&&Line| line.peer != MACHINE && line.error.is_none();
    for line in lines.iter().filter(measured) {
        peers.insert(line.peer.as_str());
        let phase = (line.phase.as_str(), line.threads);
        if !phases.contains(&phase) {
            phases.push(phase);
        }
        by.entry((phase.0, phase.1, &line.peer)).or_default().push(line);
    }
    // A peer that failed a phase first must not move it behind the others.
    phases.sort_by_key(|(phase, threads)| (order(phase), *threads));
    let mut head = vec![String::new()];
    head.extend(peers.iter().filter(|peer| **peer != OURS).map(|peer| (*peer).to_owned()));
    head.extend(["best peer", OURS, "ratio, above 1: ingrain is better"].map(str::to_owned));
    let mut table = vec![head];
    for (phase, threads) in phases {
        for (figure, name) in figures(phase) {
            if *figure == Figure::Peak && threads > 1 {
                continue;
            }
            let mut name = (*name).to_owned();
            if matches!(phase, "get" | "get_each" | "get_fresh" | "commit")
                && *figure == Figure::Rate
            {
                let _ = write!(name, ", {threads} thread{}", if threads == 1 { "" } else { "s" });
            }
            let (mut row, mut ours) = (vec![name], None);
            let mut values = BTreeMap::new();
            for peer in &peers {
                let rounds = by.get(&(phase, threads, *peer));
                let value = rounds.and_then(|rounds| median_of(rounds, |line| figure.of(line)));
                let mut cell = value.map_or_else(|| "–".to_owned(), |value| figure.show(value));
                let batches = matches!(phase, "load" | "overwrite" | "delete");
                if let Some(rounds) = rounds
                    && *figure == Figure::Rate
                    && !batches
                {
                    let at = |of: fn(&Line) -> Option<f64>| median_of(rounds, of).map(digits);
                    if let Some((p50, p99)) = at(|l| l.p50_us).zip(at(|l| l.p99_us)) {
                        let _ = write!(cell, " ({p50}/{p99})");
                    }
                }
                if *peer == OURS {
                    ours = Some((value, cell));
                } else {
                    row.push(cell);
                    let value = value.filter(|_| fair(phase, peer, rounds));
                    values.extend(value.map(|value| (*peer, value)));
                }
            }
            let compare = |a: &(&&str, &f64), b: &(&&str, &f64)| a.1.total_cmp(b.1);
            let best = if figure.more_is_better() {
                values.iter().max_by(compare)
            } else {
                values.iter().min_by(compare)
            };
            let compared = !matches!(figure, Figure::Settling | Figure::Lost);
            let best = best.filter(|_| compared);
            row.push(best.map_or_else(
                || "–".to_owned(),
                |(peer, value)| format!("{peer} {}", figure.show(*value)),
            ));
            let (ours, cell) = ours.unwrap_or((None, "–".to_owned()));
            row.push(cell);
            row.push(ours.zip(best).map_or_else(String::new, |(ours, (_, best))| {
                let ratio = if figure.more_is_better() { ours / best } else { best / ours };
                format!("{ratio:.2}")
            }));
            table.push(row);
        }
    }
    table
}

/// The place of a phase among the others.
fn order(phase: &str) -> usize {
    const ORDER: [&str; 14] = [
        "load",
        "get",
        "get_each",
        "scan",
        "get_fresh",
        "get_commit",
        "get_load",
        "commit",
        "overwrite",
        "delete",
        "close",
        "reopen_warm",
        "reopen_cold",
        "recover",
    ];
    ORDER.iter().position(|known| *known == phase).unwrap_or(ORDER.len())
}

fn machine_table(lines: &Rounds<'_>) -> Vec<Vec<String>> {
    const NAMES: [(&str, &str); 6] = [
        ("append_300_growing", "300 B + fdatasync, file growing"),
        ("append_300_written", "– into blocks written before"),
        ("append_64k_growing", "64 KiB + fdatasync, file growing"),
        ("append_64k_written", "– into blocks written before"),
        ("write_and_sync", "512 MiB written and synced"),
        ("memcpy", "memcpy"),
    ];
    let mut table = vec![vec!["the machine".to_owned(), "figure".to_owned()]];
    for (phase, name) in NAMES {
        let of_phase = |line: &&&Line| line.peer == MACHINE && line.phase == phase;
        let rounds: Rounds<'_> = lines.iter().filter(of_phase).copied().collect();
        let at = |of: fn(&Line) -> Option<f64>| median_of(&rounds, of);
        let figure = if let Some(bytes) = at(|line| line.bytes_per_second) {
            format!("{} MB/s", digits(bytes / 1e6))
        } else if let Some(rate) = at(|line| line.ops_per_second) {
            let us = |value: Option<f64>| value.map_or_else(String::new, digits);
            let (p50, p99) = (us(at(|line| line.p50_us)), us(at(|line| line.p99_us)));
            format!("{}/s ({p50}/{p99})", count(rate))
        } else {
            continue;
        };
        table.push(vec![name.to_owned(), figure]);
    }
    table
}

/// As a table of Markdown, or for a terminal the same in columns of even width.
fn render(table: &[Vec<String>], markdown: bool) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|c| if markdown { 0 } else { width(c) }).collect();
    let mut out = String::new();
    for (n, row) in table.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        if markdown {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
            if n == 0 {
                let _ = writeln!(out, "|{}", "---|".repeat(columns));
            }
        } else {
            let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        }
    }
    out
}
