//! The command `inspect`: shows a file of a store without opening the store.

use std::{
    fs::File,
    io::{self, Read},
    process::ExitCode,
};

use ingrain::{
    NodeId, Op, Patch,
    exchange::{
        json::{base64, object, to_json},
        lines::{EdgeLine, NodeLine, to_hex},
    },
    format::{
        Damage, FileKind, HEADER_BYTES, Header,
        contents::{Contents, IndexBody},
        manifest::{DataFile, Manifest},
        segment::{self, Section},
        tables::{COMPONENTS, EXPIRY, KEY_HEAD_BYTES, LeF32, ROWS},
        wal::{self, decode_batch},
    },
    os::{Fs, RealFs},
};
use serde_json::{Map, Value as Json};

use crate::{
    args::InspectArgs,
    error::{CliError, Result},
    input,
    output::{self, Output},
    query::BRIEF,
};

/// Most items of damage that are listed.
const LISTED: usize = 20;

type Fields = Vec<(&'static str, Json)>;

pub(crate) fn run(args: &InspectArgs, output: &mut Output) -> Result<ExitCode> {
    let path = args.file.as_path();
    let failed = |error| CliError::io("read", path, error);
    let named = |damage: Damage| {
        CliError::message(match damage.unsupported {
            true => format!("{}: {}", path.display(), damage.what),
            false => format!("{}: {damage}", path.display()),
        })
    };
    if path.is_dir() {
        return Err(CliError::message(format!(
            "{}: it is a directory; inspect shows one file: MANIFEST, or one of wal/ or data/",
            path.display()
        )));
    }
    let is_file = !input::is_dash(path);
    if is_file && path.exists() && !path.is_file() {
        return Err(CliError::message(format!("{}: it is not a regular file", path.display())));
    }
    let mut first = Vec::new();
    let mut file = input::regular(path)?;
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut first).map_err(failed)?;
    let Some(kind) = FileKind::of(&first) else {
        return Err(CliError::message(format!(
            "{}: it is not a file of ingrain: it has another magic number",
            path.display()
        )));
    };
    let mut show = Show { output, limit: args.limit, shown: 0, more: 0, table: None, sound: true };
    match kind {
        FileKind::Manifest => {
            let bytes = rest(first, &mut file).map_err(failed)?;
            let header = Header::decode(FileKind::Manifest, &bytes).map_err(named)?;
            show.manifest(&header, &Manifest::decode(&bytes).map_err(named)?, bytes.len())?;
        }
        FileKind::Wal => {
            let bytes = rest(first, &mut file).map_err(failed)?;
            show.log(&wal::File::decode(&bytes).map_err(named)?, &bytes)?;
        }
        kind if !is_file => {
            let bytes = rest(first, &mut file).map_err(failed)?;
            show.data(&segment::File::decode(kind, &bytes).map_err(named)?)?;
        }
        kind => {
            // Data files never change, so they can be mapped.
            let bytes = RealFs.map(path).map_err(failed)?;
            show.data(&segment::File::decode(kind, &bytes).map_err(named)?)?;
        }
    }
    show.end()
}

/// All bytes of a file of which the first were read.
fn rest(mut bytes: Vec<u8>, file: &mut File) -> io::Result<Vec<u8>> {
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Show<'o> {
    output: &'o mut Output,
    /// Most items to show; 0 for all.
    limit: usize,
    shown: usize,
    more: u64,
    table: Option<comfy_table::Table>,
    sound: bool,
}

impl Show<'_> {
    /// Shows facts about the file.
    fn facts(&mut self, fields: Fields) -> Result<()> {
        if self.output.is_json() {
            return self.output.json(&document(fields));
        }
        let mut table = output::facts();
        for (name, value) in fields {
            match value {
                Json::Array(values) if values.iter().any(Json::is_object) => {
                    for value in values {
                        table.add_row([name.to_owned(), output::cell(&text(&value))]);
                    }
                }
                value => {
                    table.add_row([name.to_owned(), output::cell(&text(&value))]);
                }
            }
        }
        self.output.table(&table)
    }

    /// Whether the limit allows one more item. Counts the item.
    fn room(&mut self) -> bool {
        let room = self.limit == 0 || self.shown < self.limit;
        if room {
            self.shown += 1;
        } else {
            self.more += 1;
        }
        room
    }

    fn item(&mut self, fields: Fields) -> Result<()> {
        if self.output.is_json() {
            return self.output.json(&document(fields));
        }
        let table = self.table.get_or_insert_with(|| {
            let heads: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            output::table(&heads)
        });
        table.add_row(fields.iter().map(|(_, value)| output::brief(&text(value), BRIEF)));
        Ok(())
    }

    fn end(mut self) -> Result<ExitCode> {
        if let Some(table) = self.table.take() {
            self.output.text("")?;
            self.output.table(&table)?;
        }
        if self.more > 0 && !self.output.is_json() {
            let more = output::grouped(self.more);
            self.output.text(format_args!("and {more} more; --limit 0 shows all"))?;
        }
        Ok(if self.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn manifest(&mut self, header: &Header, manifest: &Manifest, bytes: usize) -> Result<()> {
        let counts = &manifest.counts;
        let spaces = manifest.spaces.iter().map(|space| {
            object([
                ("name", Json::from(space.name.as_str())),
                ("dimension", space.space.dimension.into()),
                ("metric", format!("{:?}", space.space.metric).into()),
                ("method", format!("{:?}", space.method).into()),
                ("vectors", space.vectors.into()),
                ("dropped", space.dropped.into()),
            ])
        });
        self.facts(vec![
            ("kind", "manifest".into()),
            ("format", header.version.into()),
            ("store", to_hex(&manifest.store).into()),
            ("generation", manifest.generation.into()),
            ("bytes", bytes.into()),
            ("checkpoint", manifest.checkpoint.get().into()),
            ("durable", manifest.durable.get().into()),
            ("salvaging", manifest.salvaging.into()),
            ("next_file", manifest.next_file.into()),
            ("nodes", counts.nodes.into()),
            ("edges", counts.edges.into()),
            ("keys", counts.keys.into()),
            ("vectors", counts.vectors.into()),
            ("kinds", manifest.kinds.clone().into()),
            ("kind_numbers", manifest.numbered_kinds().map(|(number, _)| number).collect()),
            ("kind_rows", manifest.kind_rows.clone().into()),
            ("next_kind", manifest.next_kind().into()),
            ("indexes", manifest.indexes.clone().into()),
            ("spaces", spaces.collect()),
            ("space_numbers", manifest.numbered_spaces().map(|(number, _)| number).collect()),
            ("next_space", manifest.next_space().into()),
        ])?;
        let tables = [
            (FileKind::Nodes, &manifest.nodes),
            (FileKind::Out, &manifest.out),
            (FileKind::In, &manifest.in_edges),
            (FileKind::Keys, &manifest.keys),
        ];
        for (kind, partitions) in tables {
            for table in partitions {
                self.file(kind, table.file, vec![("first", to_hex(&table.first).into())])?;
            }
        }
        for heap in &manifest.heaps {
            self.file(FileKind::Heap, heap.file, vec![("live", heap.live.into())])?;
        }
        for vectors in &manifest.vectors {
            let dead: u32 = vectors.dead.iter().map(|byte| byte.count_ones()).sum();
            let about = vec![
                ("space", vectors.space.into()),
                ("live", vectors.live.into()),
                ("dead", dead.into()),
            ];
            for (kind, file) in vectors.files() {
                self.file(kind, file, about.clone())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, kind: FileKind, file: DataFile, about: Fields) -> Result<()> {
        if !self.room() {
            return Ok(());
        }
        let about: Json = document(about);
        self.item(vec![
            ("file", format!("{:010}.{}", file.number, kind.suffix()).into()),
            ("bytes", file.len.into()),
            ("digest", to_hex(&file.digest).into()),
            ("about", about),
        ])
    }

    fn log(&mut self, file: &wal::File<'_>, bytes: &[u8]) -> Result<()> {
        let header = file.header;
        let (mut frames, mut end) = (0_u64, HEADER_BYTES);
        for (offset, frame) in file.frames() {
            frames += 1;
            end = offset + frame.size;
        }
        let rest = bytes.get(end..).unwrap_or_default();
        let zeros = rest.iter().all(|byte| *byte == 0);
        let after = if zeros { "zeros" } else { "not a frame: torn by a crash, or damaged" };
        self.facts(vec![
            ("kind", "wal".into()),
            ("format", header.version.into()),
            ("store", to_hex(&header.store).into()),
            ("first_commit", header.number.into()),
            ("salt", format!("{:016x}", header.salt).into()),
            ("bytes", bytes.len().into()),
            ("frames", frames.into()),
            ("frames_end", end.into()),
            ("then", format!("{} bytes: {after}", rest.len()).into()),
        ])?;
        for (offset, frame) in file.frames() {
            if !self.room() {
                // A frame that is not shown is checked nevertheless.
                self.sound &= decode_batch(frame.payload).is_ok();
                continue;
            }
            let mut fields = vec![
                ("offset", offset.into()),
                ("commit", frame.seq.get().into()),
                ("durable", frame.durable.get().into()),
                ("bytes", frame.payload.len().into()),
            ];
            match decode_batch(frame.payload) {
                Ok(batch) => {
                    fields.push(("time", batch.time.as_micros().into()));
                    let ops: Vec<Json> = batch.ops.into_iter().map(op_to_json).collect();
                    fields.push((
                        "ops",
                        if self.output.is_json() { ops.into() } else { brief(&ops) },
                    ));
                }
                Err(damage) => {
                    self.sound = false;
                    fields.push(("time", Json::Null));
                    fields.push(("ops", format!("damaged {damage}").into()));
                }
            }
            self.item(fields)?;
        }
        Ok(())
    }

    fn data(&mut self, file: &segment::File<'_>) -> Result<()> {
        let layout = file.layout();
        let header = layout.header;
        let mut damage: Vec<String> = file.damage().map(|damage| damage.to_string()).collect();
        let contents = Contents::decode(file);
        match &contents {
            Err(error) => damage.push(error.to_string()),
            // With damaged blocks, damage of contents would be a consequence.
            Ok(contents) if damage.is_empty() => {
                damage
                    .extend(contents.check().err().map(|damage| format!("in a section {damage}")));
            }
            Ok(_) => {}
        }
        self.sound = damage.is_empty();
        let more = damage.len().saturating_sub(LISTED);
        damage.truncate(LISTED);
        if more > 0 {
            damage.push(format!("and {more} more"));
        }
        let section = |section: &Section| {
            object([
                ("tag", Json::from(section.tag)),
                ("rows", section.rows().into()),
                ("row_bytes", section.row_bytes.into()),
                ("offset", section.offset.into()),
            ])
        };
        self.facts(vec![
            ("kind", header.kind.suffix().into()),
            ("format", header.version.into()),
            ("store", to_hex(&header.store).into()),
            ("number", header.number.into()),
            ("salt", format!("{:016x}", header.salt).into()),
            ("bytes", layout.len.into()),
            ("digest", to_hex(&file.digest()).into()),
            ("sections", layout.sections.iter().map(section).collect()),
            ("damage", damage.into()),
        ])?;
        match contents {
            Ok(contents) => self.rows(file, &contents),
            Err(_) => Ok(()),
        }
    }

    fn rows(&mut self, file: &segment::File<'_>, contents: &Contents<'_>) -> Result<()> {
        let section = |tag: u32| file.layout().sections.iter().find(|section| section.tag == tag);
        let at = section(ROWS).map_or(0, |section| section.offset);
        // The range of a row in the file.
        let place = |row: usize, bytes: usize| {
            let start = at + (row * bytes) as u64;
            start..start + bytes as u64
        };
        match contents {
            Contents::Nodes(nodes) => {
                for (at, row) in nodes.rows.iter().enumerate() {
                    let place_of = place(at, size_of_val(row));
                    self.row(file, at, place_of, || {
                        let place = row.place();
                        vec![
                            ("id", row.id().to_string().into()),
                            ("kind", row.kind.get().into()),
                            ("heap", place.heap.into()),
                            ("offset", place.offset().into()),
                            ("len", place.len.into()),
                            ("external", row.external().into()),
                        ]
                    })?;
                }
            }
            Contents::Edges(edges) => {
                for (at, row) in edges.rows.iter().enumerate() {
                    let place_of = place(at, size_of_val(row));
                    self.row(file, at, place_of, || {
                        let (key, place) = (row.key(), row.attributes());
                        vec![
                            ("from", key.from.to_string().into()),
                            ("type", key.kind.into()),
                            ("to", key.to.to_string().into()),
                            ("discriminator", key.discriminator.into()),
                            ("weight", row.weight.get().into()),
                            ("confidence", f64::from(row.confidence.get()).into()),
                            ("created", row.created.get().into()),
                            ("updated", row.updated.get().into()),
                            ("heap", place.heap.into()),
                            ("offset", place.offset().into()),
                            ("len", place.len.into()),
                        ]
                    })?;
                }
            }
            Contents::Keys(keys) => {
                for row in 0..keys.offsets.len() {
                    let offset = keys.offsets.get(row).map_or(0, |offset| u64::from(offset.get()));
                    let entry = keys.get(row);
                    let len = entry.as_ref().map_or(0, |entry| entry.key.len()) + KEY_HEAD_BYTES;
                    let start = at + offset;
                    self.row(file, row, start..start + len as u64, || match &entry {
                        Ok(entry) => vec![
                            ("index", index_name(entry.index)),
                            ("key", to_hex(entry.key).into()),
                            ("node", entry.node.to_string().into()),
                        ],
                        Err(damage) => vec![("index", damage.what.as_str().into())],
                    })?;
                }
            }
            Contents::Vectors(vectors) => {
                let numbers_at = section(COMPONENTS).map_or(0, |section| section.offset);
                let row_bytes = vectors.dimension * 4;
                let rows = vectors.rows.iter().zip(vectors.kinds);
                for (at, ((row, kind), numbers)) in
                    rows.zip(vectors.components.chunks(vectors.dimension)).enumerate()
                {
                    let head = place(at, size_of_val(row));
                    let start = numbers_at + (at * row_bytes) as u64;
                    let good = file.is_good(start..start + row_bytes as u64);
                    self.row(file, at, head, || {
                        vec![
                            ("id", row.id().to_string().into()),
                            ("kind", kind.get().into()),
                            ("commit", row.seq().get().into()),
                            ("length", row.norm.get().into()),
                            (
                                "components",
                                if good { numbers_json(numbers) } else { "damaged".into() },
                            ),
                        ]
                    })?;
                }
            }
            Contents::Index(index) => {
                if self.room() {
                    let head = index.head;
                    let depths = head.depths.iter().map(|depth| depth.get());
                    // Not a number, which is null here, if nothing was measured.
                    let measured = |recall: f32| f64::from(recall).into();
                    let body = match index.body {
                        IndexBody::Codes { codebook, codes } => {
                            format!(
                                "{} components of centroids, {} bytes of codes",
                                codebook.len(),
                                codes.len()
                            )
                        }
                        IndexBody::Graph(graph) => format!("a graph of {} bytes", graph.len()),
                    };
                    self.item(vec![
                        ("of_file", head.file.get().into()),
                        ("of_digest", to_hex(&head.rows_digest).into()),
                        ("rows", head.rows.get().into()),
                        ("dimension", head.dimension.get().into()),
                        ("bits", head.bits.get().into()),
                        ("recall", measured(head.recall.get())),
                        ("foreign_recall", measured(head.foreign_recall.get())),
                        ("depths", depths.collect()),
                        ("body", body.into()),
                    ])?;
                }
            }
            Contents::Heap(_) => {
                if !self.output.is_json() {
                    self.output.text("its records are located by the rows of nodes and edges")?;
                }
            }
        }
        Ok(())
    }

    /// Shows a row if the limit allows it; of a row in a damaged block, only that it
    /// is damaged.
    fn row(
        &mut self,
        file: &segment::File<'_>,
        row: usize,
        place: std::ops::Range<u64>,
        fields: impl FnOnce() -> Fields,
    ) -> Result<()> {
        if !self.room() {
            return Ok(());
        }
        let mut shown = vec![("row", Json::from(row))];
        if file.is_good(place) {
            shown.extend(fields());
        } else {
            shown.push(("damaged", true.into()));
        }
        self.item(shown)
    }
}

fn document(fields: Fields) -> Json {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A value as text for a table.
fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        Json::Number(number) => match number.as_u64() {
            Some(number) => output::grouped(number),
            None => number.to_string(),
        },
        Json::Array(values) if values.is_empty() => "none".to_owned(),
        Json::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Json::Object(fields) => {
            let field = |(name, value): (&String, &Json)| format!("{name} {}", text(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Json::Bool(value) => value.to_string(),
    }
}

/// A summary of operations for a table: how many of each type.
fn brief(ops: &[Json]) -> Json {
    let name = |op: &Json| op.get("op").and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for op in ops.iter().map(name) {
        match counts.iter_mut().find(|(name, _)| *name == op) {
            Some((_, count)) => *count += 1,
            None => counts.push((op, 1)),
        }
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(name, count)| format!("{} {name}", output::count(count)))
        .collect();
    counts.join(", ").into()
}

fn index_name(index: u32) -> Json {
    if index == EXPIRY { "expiry".into() } else { index.into() }
}

fn numbers_json(numbers: &[LeF32]) -> Json {
    numbers.iter().map(|number| Json::from(f64::from(number.get()))).collect()
}

fn vector_json(vector: &[f32]) -> Json {
    vector.iter().map(|number| Json::from(f64::from(*number))).collect()
}

fn op_to_json(op: Op) -> Json {
    let id = |id: NodeId| Json::from(id.to_string());
    let fields = match op {
        Op::Put { node, .. } => {
            let vectors: Map<String, Json> =
                node.vectors.iter().map(|(space, v)| (space.clone(), vector_json(v))).collect();
            let node = Json::Object(NodeLine::from(node).encode());
            vec![("op", "put".into()), ("node", node), ("vectors", vectors.into())]
        }
        Op::PutOrKeep { node } => {
            let vectors: Map<String, Json> =
                node.vectors.iter().map(|(space, v)| (space.clone(), vector_json(v))).collect();
            let node = Json::Object(NodeLine::from(node).encode());
            vec![("op", "put or keep".into()), ("node", node), ("vectors", vectors.into())]
        }
        Op::Increment { id: node, attribute, by } => vec![
            ("op", "increment".into()),
            ("id", id(node)),
            ("attribute", attribute.into()),
            ("by", to_json(&by)),
        ],
        Op::IncrementWeight { source, kind, target, discriminator, by } => vec![
            ("op", "increment weight".into()),
            ("source", id(source)),
            ("type", kind.into()),
            ("target", id(target)),
            ("discriminator", discriminator.into()),
            ("by", by.into()),
        ],
        Op::Patch { id: node, patch } => {
            vec![("op", "patch".into()), ("id", id(node)), ("patch", patch_to_json(patch))]
        }
        Op::Touch { id: node, count } => {
            vec![("op", "touch".into()), ("id", id(node)), ("count", count.into())]
        }
        Op::Expire { id: node, expires } => vec![
            ("op", "expire".into()),
            ("id", id(node)),
            ("expires", expires.map(|time| time.as_micros()).into()),
        ],
        Op::Delete { id: node } => vec![("op", "delete".into()), ("id", id(node))],
        Op::Prune { id: node, before } => {
            vec![("op", "prune".into()), ("id", id(node)), ("before", before.as_micros().into())]
        }
        Op::Link { edge } => {
            let (source, target) = (edge.source.to_string(), edge.target.to_string());
            let confidence = Some(edge.confidence);
            let line = EdgeLine { source, target, edge, named: true, confidence };
            vec![("op", "link".into()), ("edge", Json::Object(line.encode()))]
        }
        Op::Unlink { source, kind, target, discriminator } => vec![
            ("op", "unlink".into()),
            ("source", id(source)),
            ("type", kind.into()),
            ("target", id(target)),
            ("discriminator", discriminator.into()),
        ],
        Op::CreateSpace { name, space } => vec![
            ("op", "create space".into()),
            ("name", name.into()),
            ("dimension", space.dimension.into()),
            ("metric", format!("{:?}", space.metric).into()),
        ],
        Op::CreateIndex { name, index } => {
            let mut fields = vec![("op", "create index".into()), ("name", name.into())];
            if let Some(index) = index {
                fields.push(("index", serde_json::to_value(index).unwrap_or_default()));
            }
            fields
        }
        Op::DropIndex { name } => vec![("op", "drop index".into()), ("name", name.into())],
        Op::BuildIndex { name, nodes } => {
            vec![("op", "build index".into()), ("name", name.into()), ("nodes", nodes.into())]
        }
        Op::DropSpace { name } => vec![("op", "drop space".into()), ("name", name.into())],
        Op::SetMethod { name, method } => vec![
            ("op", "set method".into()),
            ("name", name.into()),
            ("method", format!("{method:?}").into()),
        ],
        Op::Rename { what, from, to } => vec![
            ("op", "rename".into()),
            ("what", format!("{what:?}").to_lowercase().into()),
            ("from", from.into()),
            ("to", to.into()),
        ],
        other => vec![("op", format!("{other:?}").into())],
    };
    document(fields)
}

/// What a patch changes.
fn patch_to_json(patch: Patch) -> Json {
    let attributes: Map<String, Json> = patch
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.as_ref().map_or(Json::Null, to_json)))
        .collect();
    let removed = patch.attributes.iter().filter(|(_, value)| value.is_none());
    let removed: Vec<&str> = removed.map(|(name, _)| name.as_str()).collect();
    let keys = patch.keys.iter().map(|(index, keys)| {
        (index.clone(), keys.iter().map(|key| Json::from(to_hex(key))).collect::<Json>())
    });
    let vectors = patch.vectors.iter().map(|(space, vector)| {
        (space.clone(), vector.as_ref().map_or(Json::Null, |vector| vector_json(vector)))
    });
    let content = patch.content.as_deref().map(|content| match str::from_utf8(content) {
        Ok(text) => object([("text", text.into())]),
        Err(_) => object([("base64", base64(content).into())]),
    });
    let fields = [
        ("kind", patch.kind.clone().map(Json::from)),
        ("content", content),
        ("attributes", Some(attributes).filter(|map| !map.is_empty()).map(Json::Object)),
        ("removed", Some(removed).filter(|names| !names.is_empty()).map(Json::from)),
        ("strength", patch.strength.map(|number| f64::from(number).into())),
        ("confidence", patch.confidence.map(|number| f64::from(number).into())),
        ("keys", Some(keys.collect::<Map<_, _>>()).filter(|map| !map.is_empty()).map(Json::Object)),
        (
            "vectors",
            Some(vectors.collect::<Map<_, _>>()).filter(|map| !map.is_empty()).map(Json::Object),
        ),
    ];
    let set = |(name, value): (&str, Option<Json>)| Some((name.to_owned(), value?));
    Json::Object(fields.into_iter().filter_map(set).collect())
}
