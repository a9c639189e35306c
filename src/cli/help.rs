//! What the help texts say after the list of options, with examples.

pub(crate) mod select;
pub(crate) mod write;

pub(crate) const PROGRAM: &str = "\
INGRAIN_STORE is the store of commands without --store.

Examples:
  ingrain import --store memory --nodes nodes.jsonl --edges edges.jsonl
  ingrain get --store memory dog
  INGRAIN_STORE=memory ingrain nearest --like dog
  ingrain export --store memory memory.tar.gz";

pub(crate) const IMPORT: &str = "\
EXPORT is what \"ingrain export --store DIR EXPORT\" wrote. All of it is checked before anything is \
imported. A new store gets exactly what the exported one had, which its digest proves; in a store \
with content, nodes and edges that both have become those of the export.

Nodes: each line is a JSON object with a string \"id\". The first field of --content that is text \
becomes the content; every other field becomes an attribute. A text field \"kind\" is the kind; \
without it, the kind is \"node\". A node that the store already has is changed to match its line, \
and keeps its edges.

Edges: each line is a JSON object with strings \"source\", \"target\" and \"type\", and optionally \
a number \"weight\"; every other field becomes an attribute. A line that equals an edge of the \
store is that edge, and nothing is written; any other line is a new edge, parallel to those with \
the same source, target and type. Equal lines of one file are as many edges. A line with a \
\"$discriminator\", as export --full writes it, is the edge with this number, and changes it.

Vectors: row n belongs to the nth line of the nodes, or of the ids, that is not blank. Numbers of \
f64 are rounded to f32. A row of NaN means no vector; with the metric cosine, the line of a row of \
zeros cannot be imported.

Ids: each line is the string that names a node, which the store must have; only its vector and \
the time of its update are written.

With --json, a line {\"acked_nodes\":N,\"acked_edges\":M} is printed for each batch once it is \
durable, with the number of lines acknowledged so far; the last line has these fields too, and \
\"done\". To resume an interrupted import, run it again.

Examples:
  ingrain import --store memory memory.tar.gz
  ingrain import --store memory --nodes nodes.jsonl --edges edges.jsonl.gz
  ingrain import --store memory --nodes nodes.jsonl --vectors nodes.npy --metric dot
  ingrain import --store memory --ids ids.txt --vectors more.npy --space more
  producer | ingrain import --store memory --nodes -";

pub(crate) const RENAME: &str = "\
Nothing is rewritten: it is one small commit, however many nodes, edges, keys or vectors have the \
name. Another model's vectors go into a space of their own, for example by \"ingrain import \
--ids\", while searches use the old one; then --replace gives them its name.

Examples:
  ingrain rename --store memory kind memo note
  ingrain rename --store memory index by-time timeline
  ingrain rename --store memory space text-new text --replace";

pub(crate) const INDEX: &str = "\
Examples:
  ingrain index list --store memory
  ingrain index create --store memory by-topic topic created:desc --kind episode
  ingrain index drop --store memory by-topic";

pub(crate) const INDEX_CREATE: &str = "\
A FIELD is an attribute, such as topic; an attribute within an attribute, such as source.language; \
or a field of the node's own: kind, created, updated, accessed, access_count, expires, strength or \
confidence, also with a dollar sign before it. An attribute that has one of these names is \
written in double quotes: '\"created\"'. With :desc after it, its largest value comes first. The keys of all nodes are derived at once, and from \
then on with every commit. A node without one of the fields is not in the index; a list gives a \
key for each of its elements.

Examples:
  ingrain index create --store memory by-topic topic created:desc --kind episode
  ingrain index create --store memory by-mail email --unique
  ingrain index create --store memory timeline";

pub(crate) const GET: &str = "\
Examples:
  ingrain get --store memory dog cat
  ingrain get --store memory 018f4e9c-0000-7000-8000-000000000001 --json";

pub(crate) const EDGES: &str = "\
Examples:
  ingrain edges --store memory dog
  ingrain edges --store memory dog --in --type chases --limit 10";

pub(crate) const SCAN: &str = "\
--where takes conditions as query does; see \"ingrain query --help\". With --json, each line on \
standard output is a node. If there are more, a last line on standard \
error has the cursor for --after: {\"cursor\":\"..\"}.

Examples:
  ingrain scan --store memory --kind note --limit 100
  ingrain scan --store memory --index by-time --reverse --limit 5
  ingrain scan --store memory --where 'topic = \"rust\"'";

pub(crate) const NEAREST: &str = "\
A query in JSON is an array of numbers. Several arrays, one after the other or in an array, are \
several queries, which run in parallel and are answered in their order. A .npy file may have \
numbers of f32, f64 or f16.

Filters: kind=NAME is the same as --kind. INDEX=FROM..TO accepts nodes with a key in this range of \
the index; FROM and TO are keys as get prints them, in hexadecimal digits. The range includes \
FROM, and TO only after ..=; either may be omitted. --where takes conditions as query does; see \
\"ingrain query --help\".

With --explain, by is the source of a hit as a candidate: codes, the graph, or the comparison of \
all vectors; file is the number of its vector file, and rank its position among the candidates of \
the file before their vectors were compared, from 0. A vector in memory has no file.

Examples:
  ingrain nearest --store memory --like dog -k 5
  echo '[0.1, 0.9]' | ingrain nearest --store memory --vector - --kind note
  ingrain nearest --store memory --vector queries.npy --effort thorough --json";

pub(crate) const PATH: &str = "\
Examples:
  ingrain path --store memory dog cat
  ingrain path --store memory dog cat --undirected --type chases --max-depth 4";

pub(crate) const STATS: &str = "\
Examples:
  ingrain stats --store memory
  ingrain stats --store memory --digest --json";

pub(crate) const SPACES: &str = "\
All changes are made in one commit, or none is: first drops, then creations, then methods. The \
indexes that a method needs are built in the background while the store is open, or at once by \
rebuild; until then the space is searched with those it has.

Recall is the share of the ten closest that was found when codes or a graph were built: by codes \
with 100 candidates, by a graph with as many as the effort normal takes. Candidates are the \
numbers of candidates that the efforts fast, normal and thorough take for ten hits, before a \
margin.

Examples:
  ingrain spaces --store memory
  ingrain spaces --store memory --create text=384:cosine --set-method text=pq8
  ingrain spaces --store memory --drop old";

pub(crate) const EXPORT: &str = "\
TARGET gets everything: nodes and edges as JSON lines, the vectors of each space as .npy, and a \
manifest with the definitions of spaces and indexes and with checksums. import makes an equal \
store of it. An export that was interrupted is not imported.

A plain listing is for other programs. It has nodes and edges as one would write them for import, \
and the vectors of one space; without --full it leaves out what the engine keeps, and it has \
no definitions of spaces and indexes. With --where it has the nodes that meet the conditions, and \
the edges between them; the conditions are those of query. A whole export cannot be filtered.

Examples:
  ingrain export --store memory memory.tar.gz
  ingrain export --store memory directory
  ingrain export --store memory - | ssh host ingrain import --store memory -
  ingrain export --store memory --nodes nodes.jsonl --edges edges.jsonl.gz
  ingrain export --store memory --nodes - | jq .id";

pub(crate) const CHECKPOINT: &str = "\
Examples:
  ingrain checkpoint --store memory";

pub(crate) const COMPACT: &str = "\
Examples:
  ingrain compact --store memory";

pub(crate) const REBUILD: &str = "\
Examples:
  ingrain rebuild --store memory
  ingrain rebuild --store memory --space text";

pub(crate) const BACKUP: &str = "\
On the same file system the files of the backup are hard links, which take no extra space until \
the store has replaced its own; on another they are copies. Damage to the medium under a linked \
file damages both stores, and so does a program that writes into it: a backup that is to survive \
the disk must be on another one, and one that other programs are to change needs --copy. Data \
files have no permission to be written, so \"rm -r\" asks before it removes them; \"rm -rf\" does not.

Examples:
  ingrain backup --store memory /backups/memory
  ingrain backup --store memory --copy /backups/memory";

pub(crate) const VERIFY: &str = "\
Examples:
  ingrain verify --store memory
  ingrain verify --store memory --json";

pub(crate) const REPAIR: &str = "\
A data file is salvaged block by block, but for one that is missing or of another length than it \
says: all of it is lost. Without a readable manifest nothing can be salvaged.

Examples:
  ingrain repair --store damaged repaired";

pub(crate) const INSPECT: &str = "\
Shows the header, all damage that can be seen in the file alone, and its items: the files that a \
manifest lists, the commits of a log, the rows of a table. With --json, the first line describes \
the file and each further line an item. Numbers of kinds and spaces are those that \
the manifest lists beside the names, and numbers of indexes are positions in its list, from 0. Of a \
data file that is shorter or longer than it says, only that is shown. The exit code is 1 if there is \
damage; a log that ends within a commit \
does not count: a crash may leave it like that.

Examples:
  ingrain inspect memory/MANIFEST
  ingrain inspect memory/wal/0000000001.wal --limit 0 --json";

pub(crate) const DEMO: &str = "\
Examples:
  ingrain demo
  ingrain demo --store demo";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  ingrain completions bash > ~/.local/share/bash-completion/completions/ingrain
  ingrain completions fish > ~/.config/fish/completions/ingrain.fish";

pub(crate) const MAN: &str = "\
Examples:
  ingrain man > ingrain.1
  ingrain man import > ingrain-import.1";
