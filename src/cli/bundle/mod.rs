//! A whole store as a directory or an archive: JSON lines of nodes and edges, a
//! `.npy` file for each vector space, and a manifest. docs/exchange.md describes
//! it.

pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod write;

use std::collections::BTreeMap;

use ingrain::{Method, Snapshot, Space, admin::SpaceStats, exchange::npy::Array, index::Index};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{CliError, Result};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const NODES: &str = "nodes.jsonl";
pub(crate) const EDGES: &str = "edges.jsonl";
/// What the manifest says of itself.
const FORMAT: &str = "ingrain-export";
const VERSION: u32 = 1;
/// The field of the manifest with its own checksum.
const CHECKSUM: &str = "blake3";
/// Spaces whose files are open at the same time: two each, far below the number
/// of files that a process may have open.
pub(crate) const CHUNK: usize = 64;

/// What an export holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    version: u32,
    /// The program that wrote it.
    program: String,
    /// The digest of the store's content.
    pub(crate) digest: String,
    pub(crate) counts: Counts,
    pub(crate) indexes: Vec<String>,
    /// What the keys of some of them are derived from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) declared_indexes: BTreeMap<String, Index>,
    pub(crate) spaces: Vec<DefinedSpace>,
    pub(crate) files: Vec<FileEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) nodes: u64,
    pub(crate) edges: u64,
    pub(crate) keys: u64,
    pub(crate) vectors: u64,
}

/// A vector space with its files.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DefinedSpace {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) space: Space,
    pub(crate) method: Method,
    pub(crate) vectors: u64,
    /// The file with the vectors, one in a row.
    pub(crate) rows: String,
    /// The file with the ids of their nodes, one on a line, in the same order.
    pub(crate) ids: String,
}

/// A file of the export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

impl DefinedSpace {
    /// The definition of a space, and the names of the files of the space at
    /// this place.
    pub(crate) fn of(at: usize, space: &SpaceStats) -> Self {
        Self {
            name: space.name.clone(),
            space: space.space,
            method: space.method,
            vectors: space.vectors,
            rows: format!("space-{at}.npy"),
            ids: format!("space-{at}.ids"),
        }
    }

    /// What comes before the numbers in the file with the vectors.
    pub(crate) fn header(&self) -> Result<Vec<u8>> {
        let rows = usize::try_from(self.vectors)
            .map_err(|_| CliError::message("more vectors than memory has addresses"))?;
        Ok(Array::header(rows, self.space.dimension))
    }
}

impl Manifest {
    /// A manifest without its files.
    pub(crate) fn new(snapshot: &Snapshot, spaces: Vec<DefinedSpace>) -> Result<Self> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let mut indexes: Vec<String> =
            snapshot.indexes().map(|index| index.name.to_owned()).collect();
        indexes.sort_unstable();
        let declared = snapshot.indexes();
        let declared = declared
            .filter_map(|index| Some((index.name.to_owned(), index.definition?.clone())))
            .collect();
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: concat!("ingrain ", env!("CARGO_PKG_VERSION")).to_owned(),
            digest: snapshot.digest()?.to_string(),
            counts: Counts {
                nodes: count(snapshot.node_count()),
                edges: count(snapshot.edge_count()),
                keys: count(snapshot.key_count()),
                vectors: count(snapshot.vector_count()),
            },
            indexes,
            declared_indexes: declared,
            spaces,
            files: Vec::new(),
        })
    }

    /// Nodes, edges and vectors.
    pub(crate) fn steps(&self) -> u64 {
        let Counts { nodes, edges, vectors, .. } = self.counts;
        nodes.saturating_add(edges).saturating_add(vectors)
    }

    /// The bytes of the file, with a checksum of everything else in it.
    fn encode(&self) -> Result<Vec<u8>> {
        let failed = |error| CliError::message(format!("the manifest as JSON: {error}"));
        let mut document = serde_json::to_value(self).map_err(failed)?;
        let checksum = checksum(&document);
        if let Json::Object(fields) = &mut document {
            fields.insert(CHECKSUM.to_owned(), checksum.into());
        }
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(failed)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut document: Json = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is damaged or no manifest: {error}"))?;
        let Json::Object(fields) = &mut document else {
            return Err("it is no manifest of an export".to_owned());
        };
        if fields.get("format").and_then(Json::as_str) != Some(FORMAT) {
            return Err("it is no manifest of an export".to_owned());
        }
        let said = fields.remove(CHECKSUM);
        match fields.get("version").and_then(Json::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            version => {
                let version =
                    version.map_or_else(|| "none".to_owned(), |number| number.to_string());
                return Err(format!(
                    "its version is {version}, this program knows {VERSION}; use a newer one"
                ));
            }
        }
        if said.is_some_and(|said| said != checksum(&document)) {
            return Err("it is damaged: its checksum does not match".to_owned());
        }
        serde_json::from_value(document).map_err(|error| format!("it is incomplete: {error}"))
    }
}

/// The checksum of a JSON document, whatever the order of its fields and the
/// space between them.
fn checksum(document: &Json) -> String {
    // The fields of an object are in the order of their names.
    blake3::hash(document.to_string().as_bytes()).to_hex().to_string()
}
