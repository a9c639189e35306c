//! A plain listing of a store: nodes and edges as JSON lines, and the vectors of
//! one space. It leaves things out; `bundle` keeps everything.

use std::path::PathBuf;

use ingrain::{
    Direction, EdgeRef, Engine, IndexKey, KeyRange, Metric, NodeRef, Snapshot, Space,
    exchange::{
        lines::{self, EdgeLine, Kept, NodeLine},
        npy::Array,
    },
    search::Matcher,
};
use serde_json::Value as Json;

use crate::{
    args::ExportArgs,
    error::{CliError, Result},
    files::{Finished, OutFile, resolve},
    ids,
    input::{is_dash, one_dash},
    output::{self, Output},
    store,
};

/// The files of a listing, as far as they are wanted, and what was written.
struct Listing<'s> {
    nodes: Option<OutFile>,
    edges: Option<OutFile>,
    vectors: Option<(OutFile, String, Space)>,
    full: bool,
    /// Which nodes are listed.
    matcher: Matcher<'s, 's>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    nodes: u64,
    edges: u64,
    vectors: u64,
}

pub(crate) fn run(
    args: &ExportArgs,
    engine: &Engine,
    seconds: impl Fn() -> f64,
    output: &mut Output,
) -> Result<()> {
    let snapshot = engine.snapshot();
    if snapshot.node_count() == 0 {
        return Err(CliError::message(format!(
            "store {}: it has no nodes to list",
            args.store.display()
        )));
    }
    let paths = [&args.nodes, &args.edges, &args.vectors];
    one_dash(paths.map(Option::as_deref), "standard output")?;
    if let Some(index) = &args.index {
        let indexes: Vec<&str> = snapshot.indexes().map(|index| index.name).collect();
        if !indexes.contains(&index.as_str()) {
            return Err(store::unknown("index", index, &indexes));
        }
    }
    let mut listing = Listing::create(args, &snapshot)?;
    if paths.into_iter().flatten().any(|path| is_dash(path)) {
        output.gives_stdout_away();
    }
    let metric = listing.vectors.as_ref().map(|(_, name, space)| (name.clone(), space.metric));
    in_order(&snapshot, args.index.as_deref(), |node| listing.node(&snapshot, node))?;
    let counts = listing.publish()?;

    let said = args.full && args.nodes.is_some();
    if let Some((name, metric)) = metric.filter(|(_, metric)| !said && *metric != Metric::Cosine) {
        let metric = format!("{metric:?}").to_lowercase();
        output.note(format_args!(
            "this listing does not say that space {name:?} has the metric {metric}; import it with \
             --metric {metric}, or export everything with \"ingrain export TARGET\""
        ));
    }
    summary(args, &counts, seconds(), output)
}

fn summary(args: &ExportArgs, counts: &Counts, seconds: f64, output: &mut Output) -> Result<()> {
    let wanted = || {
        [
            ("nodes", counts.nodes, &args.nodes),
            ("edges", counts.edges, &args.edges),
            ("vectors", counts.vectors, &args.vectors),
        ]
        .into_iter()
        .filter_map(|(what, count, path)| Some((what, count, path.as_ref()?)))
    };
    output.summary(
        || {
            let first = [("done", Json::from(true)), ("seconds", Json::from(seconds))];
            let counts = wanted().map(|(what, count, _)| (what, Json::from(count)));
            first.into_iter().chain(counts).map(|(name, value)| (name.to_owned(), value)).collect()
        },
        |output| {
            let mut table = output::facts();
            for (what, count, path) in wanted() {
                let path: String = path.display().to_string();
                table.add_row([what.to_owned(), output::grouped(count), path]);
            }
            output.table(&table)?;
            output.text(format_args!("exported in {seconds:.2} s"))
        },
    )
}

impl<'s> Listing<'s> {
    fn create(args: &ExportArgs, snapshot: &'s Snapshot) -> Result<Self> {
        let filter = args.conditions.filter(None);
        let rows = usize::try_from(snapshot.select(&filter).count()?).unwrap_or(usize::MAX);
        let matcher = snapshot.matcher(filter)?;
        let space = match &args.vectors {
            Some(_) => Some(store::space(snapshot, args.space.as_deref())?),
            None => None,
        };
        let mut targets: Vec<PathBuf> = Vec::new();
        let mut create = |path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            let target = if is_dash(path) { path.clone() } else { resolve(path, &args.store)? };
            if targets.contains(&target) {
                return Err(CliError::usage(
                    "--nodes, --edges and --vectors name the same file; give each a file of its \
                     own",
                ));
            }
            targets.push(target.clone());
            OutFile::create(target).map(Some)
        };
        let (nodes, edges) = (create(&args.nodes)?, create(&args.edges)?);
        let mut vectors = None;
        if let (Some(mut file), Some((name, space))) = (create(&args.vectors)?, space) {
            file.put(&Array::header(rows, space.dimension))?;
            vectors = Some((file, name, space));
        }
        Ok(Self { nodes, edges, vectors, full: args.full, matcher, counts: Counts::default() })
    }

    fn node(&mut self, snapshot: &Snapshot, node: &NodeRef<'_>) -> Result<()> {
        if !self.matcher.passes(node)? {
            return Ok(());
        }
        self.counts.nodes += 1;
        if let Some(file) = &mut self.nodes {
            let mut line = node_line(node, self.full)?;
            if self.full {
                line.kept.vector_metric = self.vectors.as_ref().map(|(_, _, space)| space.metric);
            }
            file.line(line.encode())?;
        }
        if let Some((file, name, space)) = &mut self.vectors {
            let absent;
            let vector = match node.vector(name)? {
                Some(vector) => {
                    self.counts.vectors += 1;
                    vector
                }
                None => {
                    absent = vec![f32::NAN; space.dimension];
                    &absent
                }
            };
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            file.put(&bytes)?;
        }
        if let Some(file) = &mut self.edges {
            let source = ids::name(node)?;
            for edge in edges_of(snapshot, node)? {
                // An edge without one of its ends could not be imported.
                match snapshot.get(edge.target())? {
                    Some(target) if self.matcher.passes(&target)? => {}
                    _ => continue,
                }
                self.counts.edges += 1;
                let target = ids::name_of(snapshot, edge.target())?;
                file.line(edge_line(&edge, &source, target, self.full)?.encode())?;
            }
        }
        Ok(())
    }

    fn publish(self) -> Result<Counts> {
        let vectors = self.vectors.map(|(file, _, _)| file);
        let files = [self.nodes, self.edges, vectors].into_iter().flatten();
        let finished = files.map(OutFile::finish).collect::<Result<Vec<_>>>()?;
        finished.into_iter().try_for_each(Finished::publish)?;
        Ok(self.counts)
    }
}

/// Visits each node once: first those of the index, in its order, then all
/// others by kind and id.
fn in_order(
    snapshot: &Snapshot,
    index: Option<&str>,
    mut visit: impl FnMut(&NodeRef<'_>) -> Result<()>,
) -> Result<()> {
    let Some(index) = index else { return by_kind(snapshot, visit) };
    let first = |node: &NodeRef<'_>| {
        node.keys().filter(|(of, _)| *of == index).map(|(_, key)| key.to_vec()).min()
    };
    for entry in snapshot.range(index, KeyRange::all(), Direction::Ascending)? {
        let entry = entry?;
        if first(&entry.node).as_deref() == Some(entry.key) {
            visit(&entry.node)?;
        }
    }
    by_kind(snapshot, |node| if first(node).is_none() { visit(node) } else { Ok(()) })
}

/// Visits each node once, by the name of its kind and then by id, so that equal
/// stores are visited in the same order.
pub(crate) fn by_kind(
    snapshot: &Snapshot,
    mut visit: impl FnMut(&NodeRef<'_>) -> Result<()>,
) -> Result<()> {
    let mut kinds: Vec<&str> = snapshot.kinds().collect();
    kinds.sort_unstable();
    for kind in kinds {
        for node in snapshot.scan(kind) {
            visit(&node?)?;
        }
    }
    Ok(())
}

/// The edges that leave a node, in an order that depends only on them, and that
/// gives them the same discriminators when they are imported.
fn edges_of<'s>(snapshot: &'s Snapshot, node: &NodeRef<'_>) -> Result<Vec<EdgeRef<'s>>> {
    let mut edges = Vec::new();
    for edge in snapshot.edges_out(node.id()) {
        let edge = edge?;
        edges.push((lines::canonical(&*edge.attributes()?), edge));
    }
    edges.sort_by(|(a_attributes, a), (b_attributes, b)| {
        let key = |edge: &EdgeRef<'s>| (edge.kind(), edge.target());
        key(a)
            .cmp(&key(b))
            .then_with(|| a_attributes.cmp(b_attributes))
            .then_with(|| a.discriminator().cmp(&b.discriminator()))
    });
    for group in edges.chunk_by_mut(|(a_attributes, a), (b_attributes, b)| {
        a.kind() == b.kind() && a.target() == b.target() && a_attributes == b_attributes
    }) {
        let Some((attributes, _)) = group.first() else { continue };
        if group.len() == 1 {
            continue;
        }
        let numbers: Vec<u64> = (0..)
            .take(group.len())
            .map(|before| lines::discriminator(attributes, before))
            .collect();
        group.sort_by_key(|(_, edge)| {
            let place = numbers.iter().position(|number| *number == edge.discriminator());
            place.unwrap_or(usize::MAX)
        });
    }
    Ok(edges.into_iter().map(|(_, edge)| edge).collect())
}

/// The line of a node; with the fields that the engine keeps, if `full`.
pub(crate) fn node_line(node: &NodeRef<'_>, full: bool) -> Result<NodeLine> {
    let mut keys: Vec<IndexKey> =
        node.keys().filter(|_| full).map(|(index, key)| IndexKey::new(index, key)).collect();
    keys.sort_unstable();
    let kept = Kept {
        strength: Some(node.strength()),
        confidence: Some(node.confidence()),
        created: Some(node.created()),
        updated: Some(node.updated()),
        accessed: Some(node.accessed()),
        access_count: Some(node.access_count()),
        expires: Some(node.expires()),
        keys: Some(keys),
        vector_metric: None,
    };
    Ok(NodeLine {
        id: node.id(),
        kind: node.kind().to_owned(),
        content: node.content().to_vec(),
        attributes: node.attributes()?.into_owned(),
        kept: if full { kept } else { Kept::default() },
    })
}

/// The line of an edge; with the fields that the engine keeps, if `full`.
pub(crate) fn edge_line(
    edge: &EdgeRef<'_>,
    source: &str,
    target: String,
    full: bool,
) -> Result<EdgeLine> {
    let mut edge = edge.to_exact_edge()?;
    let confidence = Some(edge.confidence).filter(|_| full);
    if !full {
        (edge.created, edge.updated) = (None, None);
    }
    Ok(EdgeLine { source: source.to_owned(), target, edge, named: full, confidence })
}
