//! The command line.

mod select;
mod write;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ingrain::{
    Durability, KeyRange, Method, Metric, Named, Space, exchange::lines::from_hex,
    index::IndexPart, limits, search::Effort,
};

use crate::help;

use select::field;
pub(crate) use select::{Conditions, CountArgs, KindsArgs, QueryArgs};
pub(crate) use write::{
    ContentArgs, DeleteArgs, LinkArgs, NumberArg, PatchArgs, PruneArgs, PutArgs, Setting,
    UnlinkArgs, VectorArg, VectorFrom,
};

/// The environment variable that names the store if `--store` does not.
const STORE_VARIABLE: &str = "INGRAIN_STORE";

/// Import, read and export ingrain stores: records, a typed graph and vectors.
///
/// A node is named by a string. A UUID with hyphens is the node id itself; for any
/// other string, the id is its hash.
///
/// Results go to standard output; notes, warnings, errors and progress to standard error. The
/// file name - is standard input or output.
///
/// Exit codes: 0 success; 1 failure, also if verify or inspect found damage or repair lost
/// something; 2 wrong usage, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "ingrain", version, after_help = help::PROGRAM)]
pub(crate) struct Cli {
    /// Print JSON, one document per line: results to standard output, notes and errors to standard
    /// error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress, notes and summaries: only results, warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import an export, or nodes, edges and vectors; what the store already has is not written
    /// again
    Import(ImportArgs),
    /// Show nodes
    Get(GetArgs),
    /// Show the edges of a node
    Edges(EdgesArgs),
    /// List nodes, by kind and id or in the order of an index
    Scan(ScanArgs),
    /// Find the nodes that meet conditions, in any order
    Query(QueryArgs),
    /// Count nodes: all, those of a kind, or those that meet conditions
    Count(CountArgs),
    /// List the kinds that nodes and edges have, with how many have each
    Kinds(KindsArgs),
    /// Find the nodes whose vectors are closest to a query
    Nearest(NearestArgs),
    /// Find a shortest path between two nodes
    Path(PathArgs),
    /// Write a node whole, or many from JSON lines
    Put(PutArgs),
    /// Change part of a node
    Patch(PatchArgs),
    /// Delete nodes with their edges, vectors and keys
    Delete(DeleteArgs),
    /// Write an edge
    Link(LinkArgs),
    /// Delete an edge
    Unlink(UnlinkArgs),
    /// Delete the nodes that have expired
    Prune(PruneArgs),
    /// Show the statistics of a store
    Stats(StatsArgs),
    /// Show the vector spaces; create, drop or change them
    Spaces(SpacesArgs),
    /// Give a kind, an index or a vector space another name; replace a space by another
    Rename(RenameArgs),
    /// List, create and drop indexes
    Index(IndexArgs),
    /// Export everything to a directory or an archive, or a plain listing to files
    Export(ExportArgs),
    /// Write everything into the base files and truncate the log
    #[command(after_help = help::CHECKPOINT)]
    Checkpoint(StoreArgs),
    /// Rewrite the base files without garbage
    #[command(after_help = help::COMPACT)]
    Compact(StoreArgs),
    /// Rebuild the indexes of vector searches: codes and graphs
    Rebuild(RebuildArgs),
    /// Make a second store with the same content
    Backup(BackupArgs),
    /// Read every byte of a store and report all damage
    #[command(after_help = help::VERIFY)]
    Verify(StoreArgs),
    /// Copy everything readable of a damaged store into a new one and report what was lost
    Repair(RepairArgs),
    /// Show the contents of a file of a store, sound or damaged, without opening the store
    Inspect(InspectArgs),
    /// Import the sample, killing the process twice, check what was acknowledged, and query
    Demo(DemoArgs),
    /// Print a script that completes commands and options in a shell
    Completions(CompletionsArgs),
    /// Print the manual page of the program or of a command
    Man(ManArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).multiple(true)
          .args(["source", "nodes", "edges", "ids"]))]
#[command(group = ArgGroup::new("lines").args(["nodes", "ids"]))]
#[command(after_help = help::IMPORT)]
pub(crate) struct ImportArgs {
    /// Directory of the store, created if absent
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// What export wrote: a directory, or an archive, plain or gzip
    #[arg(value_name = "EXPORT",
          conflicts_with_all = ["nodes", "edges", "ids", "vectors", "content", "index", "skip_bad"])]
    pub(crate) source: Option<PathBuf>,
    /// Nodes: JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Edges: JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) edges: Option<PathBuf>,
    /// Nodes of the store to give vectors to: one id per line, plain or gzip
    #[arg(long, value_name = "FILE", requires = "vectors")]
    pub(crate) ids: Option<PathBuf>,
    /// Vectors: a .npy file of f32, f64 or f16, one row per line of the nodes or ids
    #[arg(long, value_name = "FILE", requires = "lines")]
    pub(crate) vectors: Option<PathBuf>,
    /// Vector space to put the vectors in, created if absent
    #[arg(long, value_name = "NAME", default_value = "text", requires = "vectors")]
    pub(crate) space: String,
    /// Metric of the space; a new space has cosine if this is not given
    #[arg(long, value_enum, requires = "vectors")]
    pub(crate) metric: Option<MetricArg>,
    /// Lines in a batch
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch: u32,
    /// What an acknowledged batch survives: sync, a power failure; os, the end of the process
    #[arg(long, value_enum, default_value_t = DurabilityArg::Sync)]
    pub(crate) durability: DurabilityArg,
    /// Fields whose text becomes the content: the first of them that a line has
    #[arg(long, value_name = "FIELD", num_args = 1..,
          default_values = ["content", "text", "gloss", "description"],
          value_parser = content_field)]
    pub(crate) content: Vec<String>,
    /// List new nodes in this index, in the order of their lines; created if absent
    #[arg(long, value_name = "NAME", requires = "nodes")]
    pub(crate) index: Option<String>,
    /// Report lines that cannot be imported and continue
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

fn content_field(name: &str) -> Result<String, String> {
    if name.is_empty() || matches!(name, "id" | "kind") || name.starts_with('$') {
        return Err("the content cannot come from this field".to_owned());
    }
    Ok(name.to_owned())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MetricArg {
    /// 1 - cos(a, b)
    Cosine,
    /// -(a . b)
    Dot,
    /// Euclidean distance
    L2,
}

impl From<MetricArg> for Metric {
    fn from(metric: MetricArg) -> Self {
        match metric {
            MetricArg::Cosine => Self::Cosine,
            MetricArg::Dot => Self::Dot,
            MetricArg::L2 => Self::L2,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DurabilityArg {
    Sync,
    Os,
}

impl From<DurabilityArg> for Durability {
    fn from(durability: DurabilityArg) -> Self {
        match durability {
            DurabilityArg::Sync => Self::Sync,
            DurabilityArg::Os => Self::Os,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = help::GET)]
pub(crate) struct GetArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The nodes
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::EDGES)]
pub(crate) struct EdgesArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Only the edges that reach it
    #[arg(long = "in")]
    pub(crate) into: bool,
    /// Only the edges that leave it
    #[arg(long)]
    pub(crate) out: bool,
    /// Only edges of this type
    #[arg(long = "type", value_name = "TYPE", alias = "kind")]
    pub(crate) kind: Option<String>,
    /// Most edges to show in each direction; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = help::SCAN)]
pub(crate) struct ScanArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Only nodes of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// In the order of this index
    #[arg(long, value_name = "NAME")]
    pub(crate) index: Option<String>,
    /// The largest keys of the index first
    #[arg(long, requires = "index")]
    pub(crate) reverse: bool,
    /// Most nodes to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Continue after the cursor that an earlier scan with the same options printed
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("query").required(true).args(["like", "vector"]))]
#[command(after_help = help::NEAREST)]
pub(crate) struct NearestArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Closest to the vector of this node, without the node itself
    #[arg(long, value_name = "ID")]
    pub(crate) like: Option<String>,
    /// Closest to each row of a .npy file, or each array of numbers of a JSON file
    #[arg(long, value_name = "FILE", visible_alias = "queries")]
    pub(crate) vector: Option<PathBuf>,
    /// How many nodes to find
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = count_of_hits)]
    pub(crate) k: usize,
    /// Vector space to search; may be omitted if the store has only one
    #[arg(long, value_name = "NAME")]
    pub(crate) space: Option<String>,
    /// Only nodes of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only nodes that match: kind=NAME or INDEX=FROM..TO; one of each may be given
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter)]
    pub(crate) filters: Vec<FilterArg>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// Recall to aim at
    #[arg(long, value_enum, default_value_t = EffortArg::Normal)]
    pub(crate) effort: EffortArg,
    /// Only nodes at this distance or closer; the search is exact then
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true, value_parser = distance)]
    pub(crate) within: Option<f64>,
    /// How much hits should differ from each other: from 0, no change, to 1
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = diversity)]
    pub(crate) diversity: Option<f64>,
    /// Also show how each hit was found
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum EffortArg {
    /// A recall of 0.95
    Fast,
    /// A recall of 0.99
    Normal,
    /// A recall of 0.999
    Thorough,
    /// Every vector is compared
    Exact,
}

impl From<EffortArg> for Effort {
    fn from(effort: EffortArg) -> Self {
        match effort {
            EffortArg::Fast => Self::Fast,
            EffortArg::Normal => Self::Normal,
            EffortArg::Thorough => Self::Thorough,
            EffortArg::Exact => Self::Exact,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum FilterArg {
    Kind(String),
    Index(String, KeyRange),
}

fn filter(text: &str) -> Result<FilterArg, String> {
    if let Some(kind) = text.strip_prefix("kind=") {
        return Ok(FilterArg::Kind(kind.to_owned()));
    }
    let (name, from, to) = text
        .rsplit_once("..")
        .and_then(|(start, to)| start.rsplit_once('=').map(|(name, from)| (name, from, to)))
        .ok_or("it is neither kind=NAME nor INDEX=FROM..TO")?;
    let key = |text: &str| {
        let none = || format!("{text:?} is not a key: an even number of hexadecimal digits");
        from_hex(text).filter(|key| !key.is_empty()).ok_or_else(none)
    };
    let bound = |text: &str| if text.is_empty() { Ok(None) } else { key(text).map(Some) };
    let range = match (bound(from)?, to.strip_prefix('=')) {
        (Some(from), Some(to)) => KeyRange::from(from..=key(to)?),
        (None, Some(to)) => KeyRange::from(..=key(to)?),
        (Some(from), None) => match bound(to)? {
            Some(to) => KeyRange::from(from..to),
            None => KeyRange::from(from..),
        },
        (None, None) => match bound(to)? {
            Some(to) => KeyRange::from(..to),
            None => KeyRange::all(),
        },
    };
    Ok(FilterArg::Index(name.to_owned(), range))
}

fn distance(text: &str) -> Result<f64, String> {
    let distance = text.parse().ok().filter(|distance: &f64| !distance.is_nan());
    distance.ok_or_else(|| "it is not a number".to_owned())
}

fn count_of_hits(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=limits::NEAREST_K).contains(count));
    count.ok_or_else(|| format!("it is not a number from 1 to {}", limits::NEAREST_K))
}

fn diversity(text: &str) -> Result<f64, String> {
    let diversity = text.parse().ok().filter(|diversity| (0.0..=1.0).contains(diversity));
    diversity.ok_or_else(|| "it is not a number from 0 to 1".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = help::PATH)]
pub(crate) struct PathArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// The node to start from
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The node to reach
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Follow only edges of this type; may be given more than once
    #[arg(long = "type", value_name = "TYPE", alias = "kind")]
    pub(crate) kinds: Vec<String>,
    /// Follow edges in both directions
    #[arg(long)]
    pub(crate) undirected: bool,
    /// Most edges of the path
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) max_depth: usize,
    /// What the nodes between the two have to meet
    #[command(flatten)]
    pub(crate) through: Conditions,
}

#[derive(Debug, Args)]
#[command(after_help = help::STATS)]
pub(crate) struct StatsArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Also show the digest of the contents; stores with equal contents have equal digests
    #[arg(long)]
    pub(crate) digest: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::SPACES)]
pub(crate) struct SpacesArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Drop a space with all its vectors; like the other options, may be given more than once
    #[arg(long = "drop", value_name = "NAME")]
    pub(crate) drops: Vec<String>,
    /// Create a space; METRIC is cosine (the default), dot or l2
    #[arg(long = "create", value_name = "NAME=DIM:METRIC", value_parser = space)]
    pub(crate) creates: Vec<(String, Space)>,
    /// Change how a space is searched: auto, exact, pq4, pq8 or hnsw
    #[arg(long = "set-method", value_name = "NAME=METHOD", value_parser = method)]
    pub(crate) methods: Vec<(String, Method)>,
}

fn space(text: &str) -> Result<(String, Space), String> {
    let (name, definition) =
        text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it has no NAME=")?;
    let (dimension, metric) = match definition.split_once(':') {
        Some((dimension, metric)) => (dimension, MetricArg::from_str(metric, false).ok()),
        None => (definition, Some(MetricArg::Cosine)),
    };
    let metric = metric.ok_or("the metrics are cosine, dot and l2")?;
    let dimension = dimension.parse().ok().filter(|of| (1..=limits::DIMENSION).contains(of));
    let dimension =
        dimension.ok_or_else(|| format!("a dimension is from 1 to {}", limits::DIMENSION))?;
    Ok((name.to_owned(), Space::new(dimension, metric.into())))
}

fn method(text: &str) -> Result<(String, Method), String> {
    let (name, method) =
        text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it has no NAME=")?;
    let method = match method {
        "auto" => Method::Auto,
        "exact" => Method::Exact,
        "pq4" => Method::Pq4,
        "pq8" => Method::Pq8,
        "hnsw" => Method::Hnsw,
        _ => return Err("the methods are auto, exact, pq4, pq8 and hnsw".to_owned()),
    };
    Ok((name.to_owned(), method))
}

#[derive(Debug, Args)]
#[command(after_help = help::INDEX)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    pub(crate) action: IndexAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexAction {
    /// List the indexes of a store
    List(OfStoreArgs),
    /// Create an index on fields, or one whose keys are given with the nodes
    #[command(after_help = help::INDEX_CREATE)]
    Create(CreateIndexArgs),
    /// Drop an index with all its keys
    Drop(DropIndexArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OfStoreArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CreateIndexArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it is on, the most significant first; nothing if keys are given with the nodes
    #[arg(value_name = "FIELD", value_parser = field)]
    pub(crate) fields: Vec<IndexPart>,
    /// Only nodes of this kind; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Refuse a second node with the same key
    #[arg(long)]
    pub(crate) unique: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DropIndexArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(after_help = help::RENAME)]
pub(crate) struct RenameArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// What to rename
    #[arg(value_name = "WHAT", value_enum)]
    pub(crate) what: NamedArg,
    /// The name that it has
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The name that it gets
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Drop the vector space that has the new name, with all its vectors, in the same commit
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NamedArg {
    /// A kind, of nodes and edges
    Kind,
    /// An index
    Index,
    /// A vector space
    Space,
}

impl From<NamedArg> for Named {
    fn from(what: NamedArg) -> Self {
        match what {
            NamedArg::Kind => Self::Kind,
            NamedArg::Index => Self::Index,
            NamedArg::Space => Self::Space,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = help::REBUILD)]
pub(crate) struct RebuildArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Only the indexes of this vector space
    #[arg(long, value_name = "NAME")]
    pub(crate) space: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = help::BACKUP)]
pub(crate) struct BackupArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Directory for the backup, which must be absent or empty
    #[arg(value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Copy all files, so that the two stores share nothing
    #[arg(long)]
    pub(crate) copy: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::REPAIR)]
pub(crate) struct RepairArgs {
    /// Directory of the damaged store, which is only read
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Directory for the new store, which must be absent or empty
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("output").required(true).multiple(true)
          .args(["target", "nodes", "edges", "vectors"]))]
#[command(group = ArgGroup::new("listing").multiple(true).args(["nodes", "edges", "vectors"]))]
#[command(after_help = help::EXPORT)]
pub(crate) struct ExportArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, hide_env_values = true)]
    pub(crate) store: PathBuf,
    /// Directory for everything that the store holds, which must be absent or empty; or an archive,
    /// if the name is - or ends in .tar, .tar.gz or .tgz
    #[arg(value_name = "TARGET", conflicts_with_all = ["listing", "plain"])]
    pub(crate) target: Option<PathBuf>,
    /// Write a plain listing, which leaves things out; --nodes, --edges and --vectors imply it
    #[arg(long, requires = "listing")]
    pub(crate) plain: bool,
    /// Write the nodes here, with gzip if the name ends in .gz
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Write the edges here, with gzip if the name ends in .gz
    #[arg(long, value_name = "FILE")]
    pub(crate) edges: Option<PathBuf>,
    /// Write the vectors of one space here as .npy of f32, one row per line of the nodes
    #[arg(long, value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
    /// Vector space to list; may be omitted if the store has only one
    #[arg(long, value_name = "NAME", requires = "vectors")]
    pub(crate) space: Option<String>,
    /// List the nodes of this index first, in its order
    #[arg(long, value_name = "NAME", requires = "listing")]
    pub(crate) index: Option<String>,
    #[command(flatten)]
    pub(crate) conditions: Conditions,
    /// In the listing, also what the engine keeps: times, scores, index keys, discriminators
    #[arg(long, requires = "listing")]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::INSPECT)]
pub(crate) struct InspectArgs {
    /// MANIFEST, or a file from wal/ or data/; - reads one from standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Most items to show; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = help::DEMO)]
pub(crate) struct DemoArgs {
    /// Directory for the store, which must be absent or empty; a temporary one if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Directory of the sample; tests/data/wordnet-sample of the repository if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = help::COMPLETIONS)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = help::MAN)]
pub(crate) struct ManArgs {
    /// The command; the program itself if not given
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}
