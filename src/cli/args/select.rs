//! The arguments that say which nodes, and of the commands `query`, `count` and `kinds`.

use std::path::PathBuf;

use clap::Args;
use ingrain::{
    index::{Field, IndexPart},
    search::{Condition, Filter},
};

use super::STORE_VARIABLE;
use crate::help;

/// The conditions that nodes have to meet.
#[derive(Debug, Args)]
pub(crate) struct Conditions {
    /// Only nodes that meet this condition; if given more than once, all of them
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    pub(crate) all: Vec<Condition>,
}

impl Conditions {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The filter of the conditions, and of a kind.
    pub(crate) fn filter(&self, kind: Option<&str>) -> Filter<'static> {
        let filter = kind.map_or_else(Filter::new, |kind| Filter::new().kind(kind));
        self.all.iter().cloned().fold(filter, Filter::and)
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    text.parse().map_err(|error: ingrain::Error| error.to_string())
}

/// A field with its direction.
pub(super) fn field(text: &str) -> Result<IndexPart, String> {
    let (name, descending) = match text.strip_suffix(":desc") {
        Some(name) => (name, true),
        None => (text.strip_suffix(":asc").unwrap_or(text), false),
    };
    let field: Field = name.parse().map_err(|error: ingrain::Error| {
        format!("{error}; it is the name of a field, with :desc after it for descending order")
    })?;
    let part = IndexPart::from(field);
    Ok(if descending { part.desc() } else { part })
}

#[derive(Debug, Args)]
#[command(after_help = help::select::QUERY)]
pub(crate) struct QueryArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Only nodes of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Order by this field, with :desc by its largest value first; the first one given matters most
    #[arg(long = "order", value_name = "FIELD", value_parser = field)]
    pub(crate) order: Vec<IndexPart>,
    /// Most nodes to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Show how the nodes would be found, instead of the nodes
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::select::COUNT)]
pub(crate) struct CountArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Only nodes of this kind
    #[arg(value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
}

#[derive(Debug, Args)]
#[command(after_help = help::select::KINDS)]
pub(crate) struct KindsArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Also the kinds that no node and no edge has any more, until a checkpoint forgets them
    #[arg(long)]
    pub(crate) all: bool,
}
