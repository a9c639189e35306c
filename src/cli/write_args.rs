//! The arguments of commands that write single nodes and edges.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use ingrain::{
    Attributes, Expiry, Timestamp, Value,
    exchange::lines::{CONTENT_FIELDS, NodeLine, from_hex},
};

use crate::{args::STORE_VARIABLE, help};

/// A name and a value, from NAME=TEXT or NAME:=JSON.
fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is neither NAME=TEXT nor NAME:=JSON")?;
    let Some(name) = name.strip_suffix(':') else {
        return named(name, Value::from(value));
    };
    // As a line of an import has it: numbers are kept exactly, or refused.
    let quoted = serde_json::Value::from(name);
    let line = format!("{{\"id\":\"id\",\"$attributes\":{{{quoted}:{value}}}}}");
    let line = NodeLine::decode(line.as_bytes(), &CONTENT_FIELDS)
        .map_err(|damage| format!("{value} is no JSON value that can be kept: {}", damage.what))?;
    let mut attributes: Attributes = line.attributes;
    attributes.remove("id");
    match (attributes.pop_first(), attributes.is_empty()) {
        (Some((found, value)), true) if found == name => named(name, value),
        _ => Err(format!("{value} is not one JSON value")),
    }
}

fn named(name: &str, value: Value) -> Result<(String, Value), String> {
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value)) }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    Timestamp::parse(text).or_else(|error| day().map_err(|_| error.to_string()))
}

/// A time, or never.
fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" { Ok(Expiry::Never) } else { time(text).map(Expiry::At) }
}

/// The name of a vector space and a vector.
fn vector(text: &str) -> Result<(String, Vec<f32>), String> {
    let (name, numbers) = text.split_once('=').ok_or("it is not SPACE=[NUMBER, ..]")?;
    let numbers: Vec<f32> = serde_json::from_str(numbers)
        .map_err(|error| format!("{numbers} is not a JSON array of numbers: {error}"))?;
    Ok((name.to_owned(), numbers))
}

/// The name of an index and a key.
fn key(text: &str) -> Result<(String, Vec<u8>), String> {
    let (name, key) = text.split_once('=').ok_or("it is not INDEX=KEY")?;
    let bytes = from_hex(key)
        .ok_or_else(|| format!("{key:?} is not a key: an even number of hexadecimal digits"))?;
    Ok((name.to_owned(), bytes))
}

fn increment(text: &str) -> Result<(String, Value), String> {
    match attribute(&text.replacen('=', ":=", usize::from(!text.contains(":="))))? {
        (name, by @ (Value::Int(_) | Value::Float(_))) => Ok((name, by)),
        (_, value) => Err(format!("{value} is not a number")),
    }
}

/// Fields of a node.
#[derive(Debug, Args)]
pub(crate) struct FieldArgs {
    /// The content: text
    #[arg(long, value_name = "TEXT")]
    pub(crate) content: Option<String>,
    /// The content: the bytes of a file, or of standard input as -
    #[arg(long, value_name = "FILE", conflicts_with = "content")]
    pub(crate) content_file: Option<PathBuf>,
    /// An attribute: NAME=TEXT for text, NAME:=JSON for any other value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = attribute)]
    pub(crate) attributes: Vec<(String, Value)>,
    /// The strength
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) strength: Option<f32>,
    /// The confidence, from 0 to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) confidence: Option<f32>,
    /// When it expires: a time, a date or never
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(crate) expires: Option<Expiry>,
    /// A vector: SPACE=[NUMBER, ..]
    #[arg(long = "vector", value_name = "SPACE=VECTOR", value_parser = vector)]
    pub(crate) vectors: Vec<(String, Vec<f32>)>,
}

#[derive(Debug, Args)]
#[command(after_help = help::PUT)]
#[command(group = ArgGroup::new("only").args(["if_absent", "if_version", "keep"]))]
pub(crate) struct PutArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Its kind
    #[arg(long, value_name = "KIND", default_value = "node")]
    pub(crate) kind: String,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
    /// A key in an index whose keys are given: INDEX=KEY, in hexadecimal digits
    #[arg(long = "key", value_name = "INDEX=KEY", value_parser = key)]
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    /// Fail if the node is there
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Fail unless the node is there with this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
    /// Do nothing if the node is there
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::PATCH)]
pub(crate) struct PatchArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
    /// Another kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Remove an attribute
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// Add a number to an attribute: NAME=NUMBER
    #[arg(long, value_name = "NAME=NUMBER", value_parser = increment)]
    pub(crate) increment: Vec<(String, Value)>,
    /// Note an access
    #[arg(long)]
    pub(crate) touch: bool,
    /// Fail unless the node has this version
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = help::DELETE)]
pub(crate) struct DeleteArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The nodes; - reads one from each line of standard input
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Pass over nodes that are not there
    #[arg(long)]
    pub(crate) if_exists: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::LINK)]
pub(crate) struct LinkArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node that the edge leaves
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// The type of the edge
    #[arg(value_name = "TYPE")]
    pub(crate) kind: String,
    /// The node that it reaches
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// The weight
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) weight: f64,
    /// The confidence, from 0 to 1
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) confidence: f32,
    /// An attribute: NAME=TEXT for text, NAME:=JSON for any other value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = attribute)]
    pub(crate) attributes: Vec<(String, Value)>,
    /// The number that tells it from parallel edges
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) discriminator: u64,
    /// Create an end that is not there as a node of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) create: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::UNLINK)]
pub(crate) struct UnlinkArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node that the edge leaves
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// The type of the edge
    #[arg(value_name = "TYPE")]
    pub(crate) kind: String,
    /// The node that it reaches
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Which of parallel edges; without it, all of them
    #[arg(long, value_name = "N")]
    pub(crate) discriminator: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = help::PRUNE)]
pub(crate) struct PruneArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Delete what expires at this time or before it; the present if not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) before: Option<Timestamp>,
    /// Only say how many nodes would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}
