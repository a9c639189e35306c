//! The command `import`.

use std::{io::Seek, path::Path, process::ExitCode, time::Instant};

use ingrain::{
    Engine, Metric, Options, Space,
    exchange::lines::{CONTENT_FIELDS, NodeLine},
};

use crate::{
    args::ImportArgs,
    error::{CliError, Result},
    importer::{Import, Order, Rows, Settings},
    input::{self, one_dash},
    lines::Lines,
    npy::Npy,
    output::Output,
    report::{Report, end, ignore_closed},
    restore,
    store::{self, Store},
};

pub(crate) fn run(args: &ImportArgs, output: &mut Output) -> Result<ExitCode> {
    let started = Instant::now();
    store::is_no_file(&args.store)?;
    if let Some(parent) = args.store.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.is_dir()
    {
        return Err(CliError::message(format!(
            "store {}: there is no directory {} to create it in; create that first",
            args.store.display(),
            parent.display()
        )));
    }
    let report = match &args.source {
        Some(source) => restore::run(args, source, output)?,
        None => lines(args, output)?,
    };
    ignore_closed(report.summary(&args.store, started.elapsed().as_secs_f64(), output))?;
    Ok(ExitCode::SUCCESS)
}

/// The files to import, which were opened, and checked as far as that is
/// possible, before a store is created or changed.
struct Files {
    /// Lines of nodes, or of ids.
    nodes: Option<Lines>,
    edges: Option<Lines>,
    vectors: Option<Npy>,
    /// The metric that the lines of nodes name for the vectors.
    metric: Option<Metric>,
}

impl Files {
    fn open(args: &ImportArgs) -> Result<Self> {
        let paths = [&args.nodes, &args.edges, &args.ids, &args.vectors];
        one_dash(paths.map(Option::as_deref), "standard input")?;
        let vectors = args.vectors.as_deref().map(Npy::open).transpose()?;
        let of_rows = args.nodes.as_deref().or(args.ids.as_deref());
        let mut metric = None;
        let nodes = match (of_rows, &vectors, &args.vectors) {
            (Some(path), Some(vectors), Some(file)) => {
                Some(with_rows(path, vectors, file, &mut metric)?)
            }
            (Some(path), _, _) => Some(Lines::open(path)?),
            (None, _, _) => None,
        };
        let edges = args.edges.as_deref().map(Lines::open).transpose()?;
        Ok(Self { nodes, edges, vectors, metric })
    }
}

/// How an import reads and writes lines.
pub(crate) fn settings(args: &ImportArgs) -> Settings {
    Settings { batch: args.batch, content: args.content.clone(), skip_bad: Some(args.skip_bad) }
}

/// Imports lines, and vectors of one space.
fn lines(args: &ImportArgs, output: &mut Output) -> Result<Report> {
    let files = Files::open(args)?;
    let of_ids = args.ids.is_some();
    if of_ids && !args.store.is_dir() {
        return Err(CliError::message(format!(
            "store {}: there is no such directory; --ids is for nodes that a store already has",
            args.store.display()
        )));
    }
    let options = Options::new().create(!of_ids).durability(args.durability.into());
    let store = Store::of(options.open(&args.store)?, output);
    let before =
        files.nodes.as_ref().map_or(0, Lines::bytes) + files.vectors.as_ref().map_or(0, Npy::bytes);
    let bytes = before + files.edges.as_ref().map_or(0, Lines::bytes);
    let bar = output.bytes_bar(bytes);
    let mut import = Import::new(&store, settings(args), bar, output);
    let imported = all(&mut import, args, files, before);
    let report = import.finish(imported)?;
    end(&store, &report, output)?;
    Ok(report)
}

fn all(import: &mut Import<'_>, args: &ImportArgs, files: Files, before: u64) -> Result<()> {
    let space = match &files.vectors {
        Some(vectors) => Some(open_space(import, args, files.metric, vectors.dimension())?),
        None => None,
    };
    if let Some(index) = &args.index {
        import.need_index(index)?;
        import.order = Some(Order::new(index));
    }
    if let Some(lines) = files.nodes {
        let rows = match (files.vectors, space) {
            (Some(vectors), Some((name, space))) => Rows::One(vectors, name, space),
            _ => Rows::None,
        };
        import.nodes(lines, args.ids.is_some(), rows)?;
    }
    if let Some(edges) = files.edges {
        import.edges(edges, before)?;
    }
    import.anything()
}

/// Opens lines that belong to the rows of vectors, after counting both. Finds
/// the metric that a line names.
fn with_rows(
    path: &Path,
    vectors: &Npy,
    file: &Path,
    metric: &mut Option<Metric>,
) -> Result<Lines> {
    if !vectors.is_matrix() {
        return Err(CliError::message(format!(
            "{}: its array has one dimension; it must have (rows, dimension)",
            input::shown(file)
        )));
    }
    let failed = |error| CliError::io("read", path, error);
    let mut text = input::regular(path)?;
    let bytes = text.metadata().map_err(failed)?.len();
    let mut lines = Lines::over(path, Box::new(text.try_clone().map_err(failed)?), bytes)?;
    let mut count = 0_u64;
    while let Some(line) = lines.next()? {
        count += 1;
        // The first line is enough: a listing says it on each.
        if let (1, Ok(line)) = (count, line.bytes) {
            let line = NodeLine::decode(line, &CONTENT_FIELDS);
            *metric = line.ok().and_then(|line| line.kept.vector_metric);
        }
    }
    if count != vectors.rows() {
        return Err(CliError::message(format!(
            "{} has {} rows and {} has {count} lines; there must be a row for each line that is \
             not blank",
            input::shown(file),
            vectors.rows(),
            input::shown(path)
        )));
    }
    text.rewind().map_err(failed)?;
    Lines::over(path, Box::new(text), bytes)
}

/// The space for the vectors, created if the store does not have it.
fn open_space(
    import: &mut Import<'_>,
    args: &ImportArgs,
    listed: Option<Metric>,
    dimension: usize,
) -> Result<(String, Space)> {
    let engine: &Engine = import.engine;
    let name = args.space.clone();
    let metric: Option<Metric> = args.metric.map(Into::into);
    let existing = engine.snapshot().spaces().find(|(of, _)| *of == name).map(|(_, space)| space);
    let space = match existing {
        Some(space) => space,
        None => Space::new(dimension, metric.or(listed).unwrap_or(Metric::Cosine)),
    };
    if space.dimension != dimension || metric.is_some_and(|metric| metric != space.metric) {
        return Err(CliError::message(format!(
            "vector space {name:?}: the store has it with dimension {} and metric {:?}, which does \
             not fit vectors of dimension {dimension}{}; choose another with --space",
            space.dimension,
            space.metric,
            metric.map(|metric| format!(" and metric {metric:?}")).unwrap_or_default(),
        )));
    }
    if existing.is_none() {
        engine.create_space(name.clone(), space)?;
        let default = match metric.or(listed) {
            Some(_) => "",
            None => ", the default; --metric names another",
        };
        let definition = format!(
            "dimension {dimension}, metric {}{default}",
            format!("{:?}", space.metric).to_lowercase()
        );
        import.created_spaces.push((name.clone(), definition));
    }
    Ok((name, space))
}
