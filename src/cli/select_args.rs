//! The arguments of commands that select nodes by conditions.

use std::path::PathBuf;

use clap::Args;
use ingrain::{
    index::{Field, IndexPart},
    search::{Condition, Filter},
};

use crate::{args::STORE_VARIABLE, help};

/// Conditions that nodes have to meet.
#[derive(Debug, Args)]
pub(crate) struct WhereArgs {
    /// Only nodes that meet this condition, such as 'topic = "rust" and created >= 2026-01-01';
    /// all of several
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    pub(crate) conditions: Vec<Condition>,
}

impl WhereArgs {
    /// The filter of all conditions.
    pub(crate) fn filter(&self) -> Filter<'static> {
        filter_of(&self.conditions)
    }
}

pub(crate) fn filter_of(conditions: &[Condition]) -> Filter<'static> {
    conditions.iter().cloned().fold(Filter::new(), Filter::and)
}

pub(crate) fn condition(text: &str) -> Result<Condition, String> {
    text.parse().map_err(|error: ingrain::Error| error.to_string())
}

/// A field as an argument names it.
pub(crate) fn index_part(text: &str) -> Result<IndexPart, String> {
    let (name, descending) = match text.strip_suffix(":desc") {
        Some(name) => (name, true),
        None => (text.strip_suffix(":asc").unwrap_or(text), false),
    };
    let field: Field = name.parse().map_err(|error: ingrain::Error| error.to_string())?;
    let part = IndexPart::from(field);
    Ok(if descending { part.desc() } else { part })
}

#[derive(Debug, Args)]
#[command(after_help = help::QUERY)]
pub(crate) struct QueryArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) filter: WhereArgs,
    /// Order by this field, with :desc from the largest value on; then by the next of several
    #[arg(long = "order", value_name = "FIELD", value_parser = index_part)]
    pub(crate) order: Vec<IndexPart>,
    /// Most nodes to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Show how the nodes would be found, and not the nodes
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::COUNT)]
pub(crate) struct CountArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Only nodes of this kind
    #[arg(value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) filter: WhereArgs,
}
