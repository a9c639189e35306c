//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ingrain::{Durability, Metric};

/// Import, read and export ingrain stores: records, a typed graph and vectors.
///
/// A node is named by a string. A lower-case UUID with hyphens is the node id
/// itself; of any other string, the id is the hash.
///
/// Exit codes: 0 success, 1 failure, also if verify found damage or repair lost something, 2 wrong
/// usage.
#[derive(Debug, Parser)]
#[command(name = "ingrain", version)]
pub(crate) struct Cli {
    /// Print JSON, one document a line, and nothing else to standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import nodes, edges and vectors; what is there already is not written again
    Import(ImportArgs),
    /// Show nodes
    Get(GetArgs),
    /// Show the edges of a node
    Edges(EdgesArgs),
    /// List nodes, by kind and id or in the order of an index
    Scan(ScanArgs),
    /// Find the nodes whose vectors are closest to a query
    Nearest(NearestArgs),
    /// Find a shortest path between two nodes
    Path(PathArgs),
    /// Show the numbers of a store
    Stats(StatsArgs),
    /// Export to files that import reads
    Export(ExportArgs),
    /// Bring everything into the base files and cut the log
    Checkpoint(StoreArgs),
    /// Write the base files anew, without garbage
    Compact(StoreArgs),
    /// Make a second store with the same content
    Backup(BackupArgs),
    /// Read every byte of a store and tell all that is wrong
    Verify(StoreArgs),
    /// Put what is whole of a damaged store into a new one and tell what was lost
    Repair(RepairArgs),
    /// Import the sample with a process that is killed twice, check what it acknowledged, and query
    Demo(DemoArgs),
}

const IMPORT_HELP: &str = "\
Nodes: each line is a JSON object with a string \"id\". The first field of --content that is text \
becomes the content; every other field becomes an attribute. A text field \"kind\" is the kind, \
which is \"node\" without. A node that is there already is changed to what its line says, and keeps \
its edges.

Edges: each line is a JSON object with strings \"source\", \"target\" and \"type\", and maybe a number \
\"weight\"; every other field becomes an attribute. Each line is an edge of its own: lines with the \
same source, target and type are parallel edges if other fields differ, and equal lines of one file \
too. Only a weight changes an edge that is there.

Vectors: row n belongs to the nth line of the nodes that is not blank. A row of NaN stands for no \
vector; under the metric cosine a row of zeros makes its line a bad one.

With --json, a line {\"acked_nodes\":N,\"acked_edges\":M} follows each batch once it is durable, with \
the lines acknowledged so far. An import that was cut short is resumed by starting it again.";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).multiple(true).args(["nodes", "edges"]))]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// Directory of the store, created if absent
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Nodes: JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Edges: JSON lines, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) edges: Option<PathBuf>,
    /// Vectors: a .npy file of f32 or f16, a row for each line of the nodes
    #[arg(long, value_name = "FILE", requires = "nodes")]
    pub(crate) vectors: Option<PathBuf>,
    /// Vector space to put the vectors in
    #[arg(long, value_name = "NAME", default_value = "text", requires = "vectors")]
    pub(crate) space: String,
    /// Metric of the space; cosine if the space is new
    #[arg(long, value_enum, requires = "vectors")]
    pub(crate) metric: Option<MetricArg>,
    /// Lines in a batch
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch: u32,
    /// What an acknowledged batch survives: sync, a power cut; os, the end of the process
    #[arg(long, value_enum, default_value_t = DurabilityArg::Sync)]
    pub(crate) durability: DurabilityArg,
    /// Fields whose text becomes the content: the first that a line has
    #[arg(long, value_name = "FIELD", num_args = 1..,
          default_values = ["content", "text", "gloss", "description"],
          value_parser = content_field)]
    pub(crate) content: Vec<String>,
    /// Report lines that cannot be imported and go on
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
pub(crate) struct GetArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// The nodes
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EdgesArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// The node
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The edges that reach it; both ways if neither --in nor --out is given
    #[arg(long = "in")]
    pub(crate) into: bool,
    /// The edges that leave it
    #[arg(long)]
    pub(crate) out: bool,
    /// Only edges of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Most edges to show each way; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Only nodes of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// In the order of this index
    #[arg(long, value_name = "NAME")]
    pub(crate) index: Option<String>,
    /// The largest keys of the index first
    #[arg(long, requires = "index")]
    pub(crate) reverse: bool,
    /// Most nodes to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Go on after the place that an earlier scan with the same options printed
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("query").required(true).args(["like", "queries"]))]
pub(crate) struct NearestArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Closest to the vector of this node, which is left out itself
    #[arg(long, value_name = "ID")]
    pub(crate) like: Option<String>,
    /// Closest to each row of a .npy file of f32 or f16
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    /// How many nodes to find
    #[arg(short, value_name = "N", default_value_t = 10)]
    pub(crate) k: usize,
    /// Vector space to search; may be left out if the store has only one
    #[arg(long, value_name = "NAME")]
    pub(crate) space: Option<String>,
    /// Only nodes of this kind
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// The node to start from
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The node to reach
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Follow only edges of this kind; may be given more than once
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
    /// Follow edges both ways
    #[arg(long)]
    pub(crate) undirected: bool,
    /// Most edges of the path
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) max_depth: usize,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Also the digest of everything in it: two stores with the same content have the same
    #[arg(long)]
    pub(crate) digest: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
}

const BACKUP_HELP: &str = "\
On the same file system the files of the backup are hard links, which take no space until the store \
has replaced them; into another they are copied. Damage to the medium under a linked file is damage \
to both: a backup that shall survive the disk goes to another.";

#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub(crate) struct BackupArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Directory for the backup, which must be absent or empty
    #[arg(value_name = "DIR")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Directory of the damaged store, which is only read
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Directory for the new store, which must be absent or empty
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("output").required(true).multiple(true)
          .args(["nodes", "edges", "vectors"]))]
pub(crate) struct ExportArgs {
    /// Directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) store: PathBuf,
    /// Write the nodes here, with gzip if the name ends in .gz
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// Write the edges here, with gzip if the name ends in .gz
    #[arg(long, value_name = "FILE")]
    pub(crate) edges: Option<PathBuf>,
    /// Write the vectors here as .npy of f32, a row for each line of the nodes
    #[arg(long, value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
    /// Vector space to export; may be left out if the store has only one
    #[arg(long, value_name = "NAME", requires = "vectors")]
    pub(crate) space: Option<String>,
    /// Also what the engine keeps about nodes and edges: times, scores, index keys, discriminators
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory for the store, which must be absent or empty; a temporary one if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Directory of the sample; tests/data/wordnet-sample of the repository if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}
