//! The JSON lines of nodes and edges: decoding them, and encoding what a store
//! holds. Decoding a line that was encoded here gives the same node or edge.
//!
//! Fields whose name begins with `$` are reserved:
//!
//! | field | of | meaning |
//! |---|---|---|
//! | `$content` | node | the name of the field with the content, if the default choice would be another; null if there is none |
//! | `$content_base64` | node | content that is not UTF-8 |
//! | `$kind` | node | the kind, if the field `kind` does not have it |
//! | `$attributes` | both | attributes whose names have a special meaning on a line |
//! | `$node`, `$edge` | node, edge | the fields that the engine maintains, in a full export |
//! | `$discriminator` | edge | distinguishes the edge from parallel ones, in a full export |
//!
//! A node is named by a string: a UUID with hyphens, in upper or lower case,
//! is its id; of any other string the id is the hash.
//!
//! ```
//! use ingrain::exchange::lines::{CONTENT_FIELDS, NodeLine, node_id};
//!
//! let line = NodeLine::decode(br#"{"id":"dog","gloss":"it barks","pos":"n"}"#, &CONTENT_FIELDS)?;
//! assert_eq!(line.id, node_id("dog"));
//! assert_eq!(line.content, b"it barks");
//! assert_eq!(line.attributes["pos"], "n".into());
//! # Ok::<(), ingrain::format::Damage>(())
//! ```

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use crate::{
    exchange::json::{self, ACCESS_COUNT, DISCRIMINATOR, NODE, map_to_json, object, to_json},
    format::header::Damage,
    model::{
        edge::Edge,
        id::NodeId,
        limits,
        node::{Expiry, IndexKey, Node},
        serde_with::from_base64,
        space::Metric,
        time::Timestamp,
        value::{Attributes, Value},
    },
};

/// The attribute that keeps the string from which a node's id was made.
pub const ID: &str = "id";

const KIND: &str = "kind";
const DEFAULT_KIND: &str = "node";
const CONTENT: &str = "content";
/// The attribute that says which field the content came from, and the field of
/// a line that says so if necessary.
const CONTENT_FIELD: &str = "$content";
const CONTENT_BASE64: &str = "$content_base64";
const KIND_FIELD: &str = "$kind";
const ATTRIBUTES: &str = "$attributes";
const EDGE: &str = "$edge";
const VECTOR_METRIC: &str = "vector_metric";
/// The fields in which the content is looked for by default, in this order.
pub const CONTENT_FIELDS: [&str; 4] = ["content", "text", "gloss", "description"];

/// The id that is written as a UUID with hyphens, in upper or lower case.
#[must_use]
pub fn id_from_uuid(text: &str) -> Option<NodeId> {
    NodeId::parse(text).ok().filter(|_| text.contains('-'))
}

/// The id of the node that a string names.
///
/// ```
/// use ingrain::{NodeId, exchange::lines::node_id};
///
/// let id = NodeId::new();
/// assert_eq!(node_id(&id.to_string()), id);
/// assert_eq!(node_id(&id.to_string().to_uppercase()), id);
/// assert_eq!(node_id("dog"), NodeId::from_content(b"dog"));
/// ```
#[must_use]
pub fn node_id(text: &str) -> NodeId {
    id_from_uuid(text).unwrap_or_else(|| NodeId::from_content(text.as_bytes()))
}

/// Whether the attribute "id" of a node is the string from which its id was
/// made. Only then it holds nothing that the id does not imply.
#[must_use]
pub fn is_name(value: &Value, id: NodeId) -> bool {
    matches!(value, Value::Text(text)
        if !text.is_empty() && id_from_uuid(text).is_none() && node_id(text) == id)
}

/// A decoded line of a node.
///
/// ```
/// use ingrain::exchange::lines::{CONTENT_FIELDS, NodeLine};
///
/// let node = ingrain::Node::new(ingrain::NodeId::new(), "note").content("dogs bark");
/// let line = serde_json::to_string(&NodeLine::from(node.clone()).encode())?;
/// let read = NodeLine::decode(line.as_bytes(), &CONTENT_FIELDS)?;
/// assert_eq!(read, NodeLine::from(node));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLine {
    /// The id of the node.
    pub id: NodeId,
    /// The kind of the node.
    pub kind: String,
    /// The content of the node.
    pub content: Vec<u8>,
    /// The attributes of the node. One of them names the field of the content,
    /// if that is not "content".
    pub attributes: Attributes,
    /// The fields that the engine maintains.
    pub kept: Kept,
}

/// The fields of a node that the engine maintains, as far as a line has them.
///
/// ```
/// use ingrain::exchange::lines::{CONTENT_FIELDS, Kept, NodeLine};
///
/// let line = NodeLine::decode(br#"{"id":"dog","content":"it barks"}"#, &CONTENT_FIELDS)?;
/// assert_eq!(line.kept, Kept::default()); // this line has none of them
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// The strength of the node.
    pub strength: Option<f32>,
    /// The confidence of the node.
    pub confidence: Option<f32>,
    /// When the node was created.
    pub created: Option<Timestamp>,
    /// When the node was last put or patched.
    pub updated: Option<Timestamp>,
    /// When the node was last touched.
    pub accessed: Option<Timestamp>,
    /// How often the node was touched.
    pub access_count: Option<u64>,
    /// When the node expires; `Some(None)` if it does not.
    pub expires: Option<Option<Timestamp>>,
    /// The index keys of the node, ascending.
    pub keys: Option<Vec<IndexKey>>,
    /// The metric of the vectors that are listed beside the lines, which is none
    /// of the node's fields.
    pub vector_metric: Option<Metric>,
}

impl From<Node> for NodeLine {
    /// Everything of a node except its vectors.
    fn from(node: Node) -> Self {
        let mut keys = node.keys;
        keys.sort_unstable();
        keys.dedup();
        let kept = Kept {
            strength: Some(node.strength),
            confidence: Some(node.confidence),
            created: node.created,
            updated: node.updated,
            accessed: node.accessed,
            access_count: node.access_count,
            expires: match node.expires {
                Expiry::Keep => None,
                set => Some(set.time()),
            },
            keys: Some(keys),
            vector_metric: None,
        };
        let Node { id, kind, content, attributes, .. } = node;
        Self { id, kind, content, attributes, kept }
    }
}

impl NodeLine {
    /// Sets the fields of `node` that the line has.
    pub fn apply(self, node: &mut Node) {
        node.kind = self.kind;
        node.content = self.content;
        node.attributes = self.attributes;
        let kept = self.kept;
        node.strength = kept.strength.unwrap_or(node.strength);
        node.confidence = kept.confidence.unwrap_or(node.confidence);
        node.created = kept.created.or(node.created);
        node.updated = kept.updated.or(node.updated);
        node.accessed = kept.accessed.or(node.accessed);
        node.access_count = kept.access_count.or(node.access_count);
        node.expires = kept.expires.map_or(node.expires, Expiry::from);
        if let Some(keys) = kept.keys {
            node.keys = keys;
        }
    }

    /// Decodes a line. The content is the first of the fields `candidates` that
    /// is text.
    ///
    /// # Errors
    /// [`Damage`] when the line is not a JSON object, has no id, a field twice,
    /// a number that cannot be kept exactly, or an unknown field whose name
    /// begins with `$`. The offset is 0: the caller counts lines.
    pub fn decode<S: AsRef<str>>(line: &[u8], candidates: &[S]) -> Result<Self, Damage> {
        parse_node(line, candidates).map_err(|what| Damage::new(0, what))
    }

    /// Encodes the fields of the line. Decoding them with [`CONTENT_FIELDS`]
    /// gives the same value. The fields that the engine maintains are included
    /// as far as `kept` has them.
    #[must_use]
    pub fn encode(&self) -> Map<String, Json> {
        encode_node(self)
    }
}

fn parse_node<S: AsRef<str>>(line: &[u8], candidates: &[S]) -> Result<NodeLine, String> {
    let line = json::parse_line(line)?;
    if line.discriminator.is_some() {
        return Err(not_ours(DISCRIMINATOR));
    }
    let mut fields = line.fields;
    let own = take_map(&mut fields, ATTRIBUTES)?;
    let mut kept = match take_map(&mut fields, NODE)? {
        Some(kept) => parse_kept(kept)?,
        None => Kept::default(),
    };
    kept.access_count = line.access_count;
    let said = fields.remove(CONTENT_FIELD);
    let bytes = fields.remove(CONTENT_BASE64);
    let said_kind = fields.remove(KIND_FIELD);
    check_names(&fields)?;

    let id = match fields.get(ID) {
        Some(Value::Text(text)) if !text.is_empty() => text,
        Some(Value::Text(_)) => return Err("the field \"id\" is empty".to_owned()),
        Some(_) => return Err("the field \"id\" is not a string".to_owned()),
        None => return Err("the field \"id\" is missing".to_owned()),
    };
    let id = if let Some(id) = id_from_uuid(id) {
        fields.remove(ID);
        id
    } else {
        node_id(id)
    };

    let field = match (said, &bytes) {
        (None | Some(Value::Null), Some(_)) | (Some(Value::Null), None) => None,
        (Some(Value::Text(name)), None)
            if matches!(fields.get(&name), Some(Value::Text(_))) && may_be_content(&name) =>
        {
            Some(name)
        }
        (Some(_), _) => {
            return Err(format!("the field {CONTENT_FIELD:?} does not name a field with text"));
        }
        (None, None) => candidates
            .iter()
            .map(S::as_ref)
            .find(|name| matches!(fields.get(*name), Some(Value::Text(_))))
            .map(str::to_owned),
    };
    let mut content = Vec::new();
    match bytes {
        Some(Value::Text(text)) => content = from_base64(&text)?,
        Some(_) => return Err(format!("the field {CONTENT_BASE64:?} is not a string")),
        None => {}
    }
    if let Some(name) = field {
        if let Some(Value::Text(text)) = fields.remove(&name) {
            content = text.into_bytes();
        }
        if name != CONTENT {
            fields.insert(CONTENT_FIELD.to_owned(), Value::Text(name));
        }
    }

    let kind = match said_kind {
        Some(Value::Text(kind)) => kind,
        Some(_) => return Err(format!("the field {KIND_FIELD:?} is not a string")),
        None => kind_of(&fields)?.to_owned(),
    };
    add_own(&mut fields, own)?;
    Ok(NodeLine { id, kind, content, attributes: fields, kept })
}

fn may_be_content(name: &str) -> bool {
    !name.is_empty() && name != ID && name != KIND && !name.starts_with('$')
}

/// The kind according to the field `kind`, or the default if there is no such
/// field.
fn kind_of(fields: &Attributes) -> Result<&str, String> {
    let most = limits::NAME_BYTES;
    match fields.get(KIND) {
        None => Ok(DEFAULT_KIND),
        Some(Value::Text(kind)) if kind.is_empty() => {
            Err(format!("the field {KIND:?} is empty; omit it for the kind {DEFAULT_KIND:?}"))
        }
        Some(Value::Text(kind)) if kind.len() > most => {
            Err(format!("the field {KIND:?} has {} bytes, the limit is {most}", kind.len()))
        }
        Some(Value::Text(kind)) => Ok(kind),
        Some(other) => Err(format!(
            "the field {KIND:?} is not a string, but {}; give the field another name, or the kind \
             in {KIND_FIELD:?}",
            other.type_name()
        )),
    }
}

fn not_ours(name: &str) -> String {
    format!("the field {name:?} is unknown, and names with $ are reserved: rename it")
}

fn check_names(fields: &Attributes) -> Result<(), String> {
    match fields.keys().find(|name| name.starts_with('$')) {
        Some(name) => Err(not_ours(name)),
        None => Ok(()),
    }
}

fn take_map(fields: &mut Attributes, name: &str) -> Result<Option<Attributes>, String> {
    match fields.remove(name) {
        Some(Value::Map(map)) => Ok(Some(map)),
        Some(_) => Err(format!("the field {name:?} is not an object")),
        None => Ok(None),
    }
}

fn add_own(fields: &mut Attributes, own: Option<Attributes>) -> Result<(), String> {
    for (name, value) in own.into_iter().flatten() {
        if fields.contains_key(&name) {
            return Err(format!("the attribute {name:?} occurs twice"));
        }
        fields.insert(name, value);
    }
    Ok(())
}

fn parse_kept(kept: Attributes) -> Result<Kept, String> {
    let mut node = Kept::default();
    for (name, value) in kept {
        match name.as_str() {
            "strength" => node.strength = Some(number(&name, &value)?),
            "confidence" => node.confidence = Some(number(&name, &value)?),
            "created" => node.created = Some(time(&name, &value)?),
            "updated" => node.updated = Some(time(&name, &value)?),
            "accessed" => node.accessed = Some(time(&name, &value)?),
            "expires" => {
                node.expires = Some(match value {
                    Value::Null => None,
                    value => Some(time(&name, &value)?),
                });
            }
            "keys" => node.keys = Some(parse_keys(value)?),
            VECTOR_METRIC => node.vector_metric = Some(metric(&name, &value)?),
            _ => return Err(format!("the field {name:?} of {NODE:?} is unknown")),
        }
    }
    Ok(node)
}

fn parse_keys(value: Value) -> Result<Vec<IndexKey>, String> {
    let wrong = || format!("\"keys\" of {NODE:?} is not [{{\"index\": name, \"key\": hex}}, ..]");
    let Value::List(values) = value else { return Err(wrong()) };
    let mut keys = Vec::new();
    for value in values {
        let Value::Map(mut map) = value else { return Err(wrong()) };
        match (map.remove("index"), map.remove("key"), map.is_empty()) {
            (Some(Value::Text(index)), Some(Value::Text(key)), true)
                if (1..=limits::NAME_BYTES).contains(&index.len()) =>
            {
                let key = from_hex(&key).ok_or_else(wrong)?;
                keys.push(IndexKey::new(index, key));
            }
            _ => return Err(wrong()),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

const METRICS: [(&str, Metric); 3] =
    [("cosine", Metric::Cosine), ("dot", Metric::Dot), ("l2", Metric::L2)];

fn metric(name: &str, value: &Value) -> Result<Metric, String> {
    let found = METRICS.into_iter().find(|(word, _)| value.as_str() == Some(word));
    found.map(|(_, metric)| metric).ok_or_else(|| format!("{name:?} is not a metric"))
}

#[expect(clippy::as_conversions, reason = "only a cast rounds to the closest binary32")]
fn number(name: &str, value: &Value) -> Result<f32, String> {
    let number = match value {
        Value::Float(number) => *number as f32,
        Value::Int(number) => *number as f32,
        _ => return Err(format!("{name:?} is not a number")),
    };
    if number.is_finite() { Ok(number) } else { Err(format!("{name:?} is out of range")) }
}

fn time(name: &str, value: &Value) -> Result<Timestamp, String> {
    match value {
        Value::Int(micros) => Ok(Timestamp::from_micros(*micros)),
        _ => Err(format!("{name:?} is not a time in microseconds")),
    }
}

/// Encodes bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Decodes hexadecimal digits. `None` if `text` has an odd length or other
/// characters.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4_u8 | digit(*low)?)).collect()
}

fn encode_node(line: &NodeLine) -> Map<String, Json> {
    let NodeLine { id, kind, content, attributes, kept } = line;
    let mut fields = Map::new();
    let mut own = Attributes::new();
    let text = str::from_utf8(content).ok();
    // The content goes into the field that the attribute `$content` names, if
    // decoding the line restores that attribute.
    let origin = match (attributes.get(CONTENT_FIELD), text) {
        (Some(Value::Text(name)), Some(_))
            if may_be_content(name) && name != CONTENT && !attributes.contains_key(name) =>
        {
            Some(name.as_str())
        }
        _ => None,
    };
    let field = match text {
        Some(text) if !text.is_empty() || origin.is_some() => Some(origin.unwrap_or(CONTENT)),
        _ => None,
    };
    for (name, value) in attributes {
        let plain = match name.as_str() {
            ID => is_name(value, *id),
            CONTENT_FIELD if origin.is_some() => continue,
            name => !name.starts_with('$') && field != Some(name),
        };
        if plain {
            fields.insert(name.clone(), to_json(value));
        } else {
            own.insert(name.clone(), value.clone());
        }
    }
    if !fields.contains_key(ID) {
        fields.insert(ID.to_owned(), Json::from(id.to_string()));
    }
    match (text, field) {
        (Some(text), Some(field)) => {
            fields.insert(field.to_owned(), Json::from(text));
        }
        (None, _) => {
            fields.insert(CONTENT_BASE64.to_owned(), Json::from(json::base64(content)));
        }
        (Some(_), None) => {}
    }
    let chosen =
        CONTENT_FIELDS.into_iter().find(|name| matches!(fields.get(*name), Some(Json::String(_))));
    if text.is_some() && chosen != field {
        fields.insert(CONTENT_FIELD.to_owned(), Json::from(field));
    }
    // The kind is compared with all attributes: when the line is decoded, an
    // attribute "kind" in `$attributes` is not considered.
    if kind_of(attributes) != Ok(kind) {
        fields.insert(KIND_FIELD.to_owned(), Json::from(kind.as_str()));
    }
    if !own.is_empty() {
        fields.insert(ATTRIBUTES.to_owned(), to_json(&Value::Map(own)));
    }
    if *kept != Kept::default() {
        fields.insert(NODE.to_owned(), Json::Object(encode_kept(kept)));
    }
    fields
}

fn encode_kept(kept: &Kept) -> Map<String, Json> {
    let time = |time: Option<Timestamp>| time.map(|time| Json::from(time.as_micros()));
    let number = |number: Option<f32>| number.map(|number| Json::from(f64::from(number)));
    let key = |IndexKey { index, key }: &IndexKey| {
        object([("index", Json::from(index.as_str())), ("key", to_hex(key).into())])
    };
    let word = |metric: Metric| {
        let found = METRICS.into_iter().find(|(_, other)| *other == metric);
        found.map(|(word, _)| Json::from(word))
    };
    let fields = [
        ("strength", number(kept.strength)),
        ("confidence", number(kept.confidence)),
        ("created", time(kept.created)),
        ("updated", time(kept.updated)),
        ("accessed", time(kept.accessed)),
        (ACCESS_COUNT, kept.access_count.map(Json::from)),
        ("expires", kept.expires.map(|expires| time(expires).unwrap_or_default())),
        ("keys", kept.keys.as_ref().map(|keys| keys.iter().map(key).collect())),
        (VECTOR_METRIC, kept.vector_metric.and_then(word)),
    ];
    let said = |(name, value): (&str, Option<Json>)| Some((name.to_owned(), value?));
    fields.into_iter().filter_map(said).collect()
}

/// A decoded line of an edge.
///
/// ```
/// use ingrain::exchange::lines::{EdgeLine, node_id};
///
/// let line = br#"{"source":"dog","target":"animal","type":"is a","weight":0.5}"#;
/// let edge = EdgeLine::decode(line)?.edge;
/// assert_eq!((edge.source, edge.target), (node_id("dog"), node_id("animal")));
/// assert_eq!((edge.kind.as_str(), edge.weight), ("is a", 0.5));
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeLine {
    /// The string that identifies the source node.
    pub source: String,
    /// The string that identifies the target node.
    pub target: String,
    /// The edge. Its discriminator is 0 if the line has none.
    pub edge: Edge,
    /// Whether the line has a discriminator.
    pub named: bool,
    /// The confidence, if the line has it.
    pub confidence: Option<f32>,
}

impl EdgeLine {
    /// The edge to write if `existing` has the same key: what the line does not
    /// have is taken from `existing`.
    #[must_use]
    pub fn over(mut self, existing: &Edge) -> Edge {
        self.edge.confidence = self.confidence.unwrap_or(existing.confidence);
        self.edge.created = self.edge.created.or(existing.created);
        self.edge
    }

    /// Decodes a line.
    ///
    /// # Errors
    /// As [`NodeLine::decode`].
    pub fn decode(line: &[u8]) -> Result<Self, Damage> {
        parse_edge(line).map_err(|what| Damage::new(0, what))
    }

    /// Encodes the fields of the line. Decoding them gives the same value.
    #[must_use]
    pub fn encode(&self) -> Map<String, Json> {
        let Self { source, target, edge, named, confidence } = self;
        let mut fields = edge_fields(edge, source, target, false);
        if *named {
            fields.insert(DISCRIMINATOR.to_owned(), Json::from(edge.discriminator));
        }
        let time = |time: Option<Timestamp>| time.map(|time| Json::from(time.as_micros()));
        let kept = [
            ("confidence", confidence.map(|confidence| Json::from(f64::from(confidence)))),
            ("created", time(edge.created)),
            ("updated", time(edge.updated)),
        ];
        let said = |(name, value): (&str, Option<Json>)| Some((name.to_owned(), value?));
        let kept: Map<String, Json> = kept.into_iter().filter_map(said).collect();
        if !kept.is_empty() {
            fields.insert(EDGE.to_owned(), Json::Object(kept));
        }
        fields
    }
}

fn parse_edge(line: &[u8]) -> Result<EdgeLine, String> {
    let line = json::parse_line(line)?;
    let mut fields = line.fields;
    let own = take_map(&mut fields, ATTRIBUTES)?;
    let kept = take_map(&mut fields, EDGE)?;
    check_names(&fields)?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text),
        Some(Value::Text(_)) => Err(format!("the field {name:?} is empty")),
        Some(_) => Err(format!("the field {name:?} is not a string")),
        None => Err(format!("the field {name:?} is missing")),
    };
    let (source, target, kind) = (take("source")?, take("target")?, take("type")?);
    let mut edge = Edge::new(node_id(&source), kind, node_id(&target));
    match fields.remove("weight") {
        None => {}
        Some(Value::Float(weight)) => edge.weight = weight,
        Some(Value::Int(weight)) => edge.weight = binary64(weight),
        Some(_) => return Err("the field \"weight\" is not a number".to_owned()),
    }
    add_own(&mut fields, own)?;
    edge.attributes = fields;
    edge.discriminator = line.discriminator.unwrap_or(0);
    let mut confidence = None;
    for (name, value) in kept.into_iter().flatten() {
        match name.as_str() {
            "confidence" => confidence = Some(number(&name, &value)?),
            "created" => edge.created = Some(time(&name, &value)?),
            "updated" => edge.updated = Some(time(&name, &value)?),
            _ => return Err(format!("the field {name:?} of {EDGE:?} is unknown")),
        }
    }
    edge.confidence = confidence.unwrap_or(edge.confidence);
    Ok(EdgeLine { source, target, edge, named: line.discriminator.is_some(), confidence })
}

#[expect(clippy::as_conversions, reason = "only a cast rounds to the closest binary64")]
fn binary64(number: i64) -> f64 {
    number as f64
}

/// The fields of an edge. The weight is included always if `weight`, otherwise
/// only if it is not 1.
#[must_use]
pub fn edge_fields(edge: &Edge, source: &str, target: &str, weight: bool) -> Map<String, Json> {
    let mut fields = Map::new();
    let mut own = Attributes::new();
    for (name, value) in &edge.attributes {
        let plain = !name.starts_with('$')
            && !matches!(name.as_str(), "source" | "target" | "type" | "weight");
        if plain {
            fields.insert(name.clone(), to_json(value));
        } else {
            own.insert(name.clone(), value.clone());
        }
    }
    if !own.is_empty() {
        fields.insert(ATTRIBUTES.to_owned(), to_json(&Value::Map(own)));
    }
    fields.insert("source".to_owned(), Json::from(source));
    fields.insert("target".to_owned(), Json::from(target));
    fields.insert("type".to_owned(), Json::from(edge.kind.as_str()));
    if weight || edge.weight != 1.0 {
        fields.insert("weight".to_owned(), Json::from(edge.weight));
    }
    fields
}

/// The attributes as JSON text; equal attributes give equal text.
#[must_use]
pub fn canonical(attributes: &Attributes) -> String {
    Json::Object(map_to_json(attributes)).to_string()
}

/// The discriminator of an edge with these attributes that comes after `before`
/// others with the same ends, kind and attributes. With it, each line of a file
/// is an edge of its own, and the same one whenever the file is read.
#[must_use]
pub fn discriminator(canonical: &str, before: u64) -> u64 {
    if before == 0 && canonical == "{}" {
        return 0;
    }
    let hash = NodeId::from_content(&[canonical.as_bytes(), &before.to_le_bytes()].concat());
    let hash = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // 0 is reserved for the edge without attributes.
    hash.max(1)
}

/// Counts lines of the same edge, to give them discriminators.
///
/// ```
/// use ingrain::exchange::lines::{EdgeLine, Parallel};
///
/// let line = br#"{"source":"dog","target":"cat","type":"chased"}"#;
/// let (mut first, mut second) = (EdgeLine::decode(line)?, EdgeLine::decode(line)?);
/// let mut parallel = Parallel::default();
/// parallel.number(&mut first);
/// parallel.number(&mut second);
/// assert_ne!(first.edge.discriminator, second.edge.discriminator);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Default)]
pub struct Parallel {
    seen: HashMap<NodeId, u64>,
}

impl Parallel {
    /// Sets the discriminator of the next line of a file, unless the line has
    /// one.
    pub fn number(&mut self, line: &mut EdgeLine) {
        if line.named {
            return;
        }
        let edge = &mut line.edge;
        let canonical = canonical(&edge.attributes);
        let name = [
            edge.source.as_bytes().as_slice(),
            edge.target.as_bytes(),
            edge.kind.as_bytes(),
            &[0],
            canonical.as_bytes(),
        ];
        let before = self.seen.entry(NodeId::from_content(&name.concat())).or_default();
        edge.discriminator = discriminator(&canonical, *before);
        *before += 1;
    }
}
