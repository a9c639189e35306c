//! The arguments of the commands that write single nodes and edges.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use ingrain::{
    IndexKey, Timestamp, Value,
    exchange::lines::{NodeLine, from_hex},
};

use super::STORE_VARIABLE;
use crate::{help, ids};

/// An attribute and its value.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: Value,
}

/// `NAME=TEXT` or `NAME:=JSON`.
fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = text.split_once('=').ok_or("it is neither NAME=TEXT nor NAME:=JSON")?;
    let (name, value) = match name.strip_suffix(':') {
        None => (name, Value::from(value)),
        Some(name) => {
            let value = json(value).map_err(|error| {
                format!("after := it is not a JSON value: {error}; text is NAME=TEXT")
            })?;
            (name, value)
        }
    };
    Ok(Setting { name: attribute(name)?, value })
}

/// A JSON value, as a line of an import has it: a number that cannot be kept exactly is
/// an error.
fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())?;
    let line = format!("{{\"id\":\"x\",\"value\":{text}}}");
    let line = NodeLine::decode::<&str>(line.as_bytes(), &[]).map_err(|damage| damage.what)?;
    line.attributes.get("value").cloned().ok_or_else(|| "there is none".to_owned())
}

/// The name of an attribute that may be changed.
fn attribute(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("the name of the attribute is empty".to_owned());
    }
    if name == ids::ID {
        return Err(format!("the attribute {:?} is the name of the node and stays", ids::ID));
    }
    if name.starts_with('$') {
        return Err(format!("the attribute {name:?}: names that begin with $ are reserved"));
    }
    Ok(name.to_owned())
}

/// `NAME=BY`, or `NAME:=BY`, since the number is JSON.
fn increment(text: &str) -> Result<Setting, String> {
    let (name, by) = text.split_once('=').ok_or("it is not NAME=BY")?;
    let name = name.strip_suffix(':').unwrap_or(name);
    let value = match json(by) {
        Ok(value @ (Value::Int(_) | Value::Float(_))) => value,
        Ok(_) => return Err(format!("{by:?} is not a number")),
        Err(error) => return Err(format!("{by:?} is not a number: {error}")),
    };
    Ok(Setting { name: attribute(name)?, value })
}

/// Something that may be set to a time or to none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WhenArg {
    Never,
    At(Timestamp),
}

impl From<WhenArg> for Option<Timestamp> {
    fn from(when: WhenArg) -> Self {
        match when {
            WhenArg::Never => None,
            WhenArg::At(time) => Some(time),
        }
    }
}

fn when(text: &str) -> Result<WhenArg, String> {
    if text == "never" {
        return Ok(WhenArg::Never);
    }
    time(text).map(WhenArg::At).map_err(|error| format!("{error}; or never"))
}

/// A time, or a date, which is its first moment in UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    const DATE: usize = "2026-01-01".len();
    let date = format!("{text}T00:00:00Z");
    let whole = if text.len() == DATE && !text.starts_with('@') { &date } else { text };
    Timestamp::parse(whole).map_err(|_| {
        "it is neither a date, such as 2026-01-31, nor a time, such as 2026-01-31T12:00:00Z, nor @ \
         and microseconds since 1970"
            .to_owned()
    })
}

/// A vector of a space.
#[derive(Debug, Clone)]
pub(crate) struct VectorArg {
    pub(crate) space: String,
    pub(crate) from: VectorFrom,
}

#[derive(Debug, Clone)]
pub(crate) enum VectorFrom {
    Array(Vec<f32>),
    File(PathBuf),
}

/// `SPACE=[NUMBER,..]` or `SPACE=FILE`.
fn vector(text: &str) -> Result<VectorArg, String> {
    let (space, from) = text
        .split_once('=')
        .filter(|(space, from)| !space.is_empty() && !from.is_empty())
        .ok_or("it is neither SPACE=ARRAY, such as text=[0.1,0.9], nor SPACE=FILE")?;
    let from = if from.starts_with('[') {
        // A number that is out of the range of f32 is an error here.
        let numbers = serde_json::from_str(from)
            .map_err(|error| format!("after = it is not a JSON array of numbers: {error}"))?;
        VectorFrom::Array(numbers)
    } else {
        VectorFrom::File(from.into())
    };
    Ok(VectorArg { space: space.to_owned(), from })
}

/// Which of parallel edges an edge is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NumberArg {
    /// One that is not there.
    New,
    Given(u64),
}

fn number(text: &str) -> Result<NumberArg, String> {
    if text == "new" {
        return Ok(NumberArg::New);
    }
    let number = text.parse().map(NumberArg::Given);
    number.map_err(|_| format!("it is neither a number from 0 to {} nor new", u64::MAX))
}

/// `INDEX=KEY`.
fn key(text: &str) -> Result<IndexKey, String> {
    let (index, key) = text
        .rsplit_once('=')
        .filter(|(index, _)| !index.is_empty())
        .ok_or("it is not INDEX=KEY")?;
    let bytes = from_hex(key).filter(|key| !key.is_empty());
    let bytes = bytes
        .ok_or_else(|| format!("{key:?} is not a key: an even number of hexadecimal digits"))?;
    Ok(IndexKey::new(index, bytes))
}

/// The content of a node, from one of two places.
#[derive(Debug, Args)]
pub(crate) struct ContentArgs {
    /// The content
    #[arg(long, value_name = "TEXT", conflicts_with = "content_file", allow_hyphen_values = true)]
    pub(crate) content: Option<String>,
    /// A file that is the content; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) content_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("if").args(["if_absent", "if_version", "keep"]))]
#[command(after_help = help::write::PUT)]
pub(crate) struct PutArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node; or - for JSON lines of nodes from standard input, plain or gzip
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Its kind; node if not given
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) content: ContentArgs,
    /// An attribute: NAME=TEXT, or NAME:=JSON for a value of another type; may be repeated
    #[arg(long = "set", value_name = "NAME=TEXT", value_parser = setting)]
    pub(crate) set: Vec<Setting>,
    /// Its strength
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) strength: Option<f32>,
    /// Its confidence
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) confidence: Option<f32>,
    /// When it expires; never, not at all. A node that is there keeps its expiry otherwise
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) expires: Option<WhenArg>,
    /// Its vector in a space: a JSON array of numbers, or a file with one, .npy or JSON; - is
    /// standard input; one for each space
    #[arg(long = "vector", value_name = "SPACE=ARRAY|SPACE=FILE", value_parser = vector)]
    pub(crate) vectors: Vec<VectorArg>,
    /// A key in an index that takes keys, in hexadecimal digits; may be repeated
    #[arg(long = "key", value_name = "INDEX=KEY", value_parser = key)]
    pub(crate) keys: Vec<IndexKey>,
    /// Fail if the node is there
    #[arg(long)]
    pub(crate) if_absent: bool,
    /// Fail if the node is not there with this version
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) if_version: Option<u64>,
    /// Change nothing if the node is there
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::write::PATCH)]
pub(crate) struct PatchArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node, which must be there
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Its new kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) content: ContentArgs,
    /// An attribute: NAME=TEXT, or NAME:=JSON for a value of another type; may be repeated
    #[arg(long = "set", value_name = "NAME=TEXT", value_parser = setting)]
    pub(crate) set: Vec<Setting>,
    /// Remove an attribute, if the node has it; may be repeated
    #[arg(long = "unset", value_name = "NAME", value_parser = attribute)]
    pub(crate) unset: Vec<String>,
    /// Add a number to an attribute; one that is not there counts from 0; may be repeated
    #[arg(long = "increment", value_name = "NAME=BY", value_parser = increment)]
    pub(crate) increment: Vec<Setting>,
    /// Its new strength
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) strength: Option<f32>,
    /// Its new confidence
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) confidence: Option<f32>,
    /// Its new vector in a space, as for put
    #[arg(long = "vector", value_name = "SPACE=ARRAY|SPACE=FILE", value_parser = vector)]
    pub(crate) vectors: Vec<VectorArg>,
    /// When it expires from now on; never, not at all
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(crate) expires: Option<WhenArg>,
    /// Count an access
    #[arg(long)]
    pub(crate) touch: bool,
    /// Fail if the node has another version
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = help::write::DELETE)]
pub(crate) struct DeleteArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The nodes; or - alone for ids from standard input, one on a line
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// A node that is not there is no error
    #[arg(long)]
    pub(crate) if_exists: bool,
    /// Fail if the node, which is the only one, has another version
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) if_version: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = help::write::LINK)]
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
    /// Its weight
    #[arg(long, value_name = "X", allow_negative_numbers = true, default_value_t = 1.0)]
    pub(crate) weight: f64,
    /// Its confidence
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) confidence: Option<f32>,
    /// An attribute: NAME=TEXT, or NAME:=JSON for a value of another type; may be repeated
    #[arg(long = "set", value_name = "NAME=TEXT", value_parser = setting)]
    pub(crate) set: Vec<Setting>,
    /// Its number among parallel edges; new, one that none of them has
    #[arg(long, value_name = "N|new", default_value = "0", value_parser = number,
          allow_negative_numbers = true)]
    pub(crate) discriminator: NumberArg,
    /// Create the nodes that are not there, of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) create: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::write::UNLINK)]
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
    /// Its number among parallel edges; 0 if not given
    #[arg(long, value_name = "N", conflicts_with = "all", allow_negative_numbers = true)]
    pub(crate) discriminator: Option<u64>,
    /// All parallel edges
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::write::PRUNE)]
pub(crate) struct PruneArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Delete what expires at this time or earlier; now if not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) before: Option<Timestamp>,
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
}
