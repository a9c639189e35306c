//! What an import did, and what it says.

use std::path::Path;

use ingrain::exchange::json::object;
use serde_json::Value as Json;

use crate::{
    error::{CliError, Result},
    output::{self, Output},
    store::Store,
};

/// Lines.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) nodes: u64,
    pub(crate) edges: u64,
}

/// What an import did.
pub(crate) struct Report {
    pub(crate) acked: Counts,
    pub(crate) written: Counts,
    pub(crate) bad: u64,
    /// The spaces and indexes that it created, in words.
    pub(crate) spaces: Vec<(String, String)>,
    pub(crate) indexes: Vec<String>,
    /// Whether the store was found to equal the export.
    pub(crate) equal: bool,
    /// Whether the command can skip bad lines.
    pub(crate) offers_skip: bool,
}

/// Closes the store. That everything is imported is true even if the checkpoint
/// that closing makes fails.
pub(crate) fn end(store: &Store, report: &Report, output: &Output) -> Result<()> {
    store.done(output);
    store.close().map_err(|error| report.after(error.into()))
}

impl Report {
    /// The error, with what was imported before it and how to go on.
    pub(crate) fn after(&self, error: CliError) -> CliError {
        let Counts { nodes, edges } = self.acked;
        if nodes == 0 && edges == 0 {
            return CliError::After {
                error: error.into(),
                kept: "nothing was imported".to_owned(),
            };
        }
        let lines = |count: u64, what: &str| match count {
            1 => format!("1 line of {what}"),
            count => format!("{} lines of {what}", output::grouped(count)),
        };
        let correct = match error {
            CliError::Line { .. } if !self.offers_skip => "correct the line, and then ",
            CliError::Line { .. } => {
                "correct the line, or skip bad lines with --skip-bad, and then "
            }
            _ => "",
        };
        let names = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!(", with the new {what} {}", names.join(", ")),
        };
        let spaces: Vec<String> = self.spaces.iter().map(|(name, _)| name.clone()).collect();
        let created = names("spaces", &spaces) + &names("indexes", &self.indexes);
        let kept = format!(
            "kept: {} and {} are in the store{created}; {correct}run the same command again: what the store \
             has is not written again",
            lines(nodes, "nodes"),
            lines(edges, "edges"),
        );
        CliError::After { error: error.into(), kept }
    }

    pub(crate) fn summary(&self, store: &Path, seconds: f64, output: &mut Output) -> Result<()> {
        let Self { acked, written, bad, .. } = self;
        output.summary(
            || {
                let spaces = self.spaces.iter().map(|(name, _)| name.clone());
                object([
                    ("done", Json::from(true)),
                    ("acked_nodes", acked.nodes.into()),
                    ("acked_edges", acked.edges.into()),
                    ("nodes", acked.nodes.into()),
                    ("edges", acked.edges.into()),
                    ("written_nodes", written.nodes.into()),
                    ("written_edges", written.edges.into()),
                    ("bad_lines", (*bad).into()),
                    ("created_spaces", spaces.collect()),
                    ("created_indexes", self.indexes.clone().into()),
                    ("equal", self.equal.into()),
                    ("seconds", seconds.into()),
                ])
            },
            |output| {
                let mut table = output::table(&["", "lines", "written", "unchanged"]);
                for (name, acked, written) in
                    [("nodes", acked.nodes, written.nodes), ("edges", acked.edges, written.edges)]
                {
                    table.add_row([
                        name.to_owned(),
                        output::grouped(acked),
                        output::grouped(written),
                        output::grouped(acked.saturating_sub(written)),
                    ]);
                }
                output.table(&table)?;
                for (name, definition) in &self.spaces {
                    output.text(format_args!("created space {name:?}: {definition}"))?;
                }
                for name in &self.indexes {
                    output.text(format_args!("created index {name:?}"))?;
                }
                if self.equal {
                    output.text("the store equals the one that was exported")?;
                }
                output.text(format_args!(
                    "imported into {} in {seconds:.2} s, {} bad lines",
                    store.display(),
                    output::grouped(*bad)
                ))
            },
        )
    }
}

/// Ignores that standard output is closed: the import continues.
pub(crate) fn ignore_closed(result: Result<()>) -> Result<()> {
    match result {
        Err(CliError::OutputClosed) => Ok(()),
        other => other,
    }
}
