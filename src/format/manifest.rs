//! `MANIFEST`: what a store consists of.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 64 | [`Header`], its number the generation |
//! | 64 | 4 | length of the body |
//! | 68 | 4 | CRC-32 of the header, the length and the body |
//! | 72 | … | body: a MessagePack map, to the end of the file |

use serde::{Deserialize, Serialize};

use super::{Damage, Fields, FileKind, HEADER_BYTES, Header, StoreId};
use crate::model::Seq;

/// The body of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The store.
    #[serde(skip)]
    pub store: StoreId,
    /// Counts the manifests of the store, from 1.
    #[serde(skip)]
    pub generation: u64,
    /// The last commit that the base files hold. The log continues from there.
    pub checkpoint: Seq,
    /// A commit that is known to be durable: a log that ends before it has
    /// lost something.
    pub durable: Seq,
    /// Whether a salvaging recovery began to take the log apart and has not
    /// ended.
    pub salvaging: bool,
}

const PREFIX_BYTES: usize = HEADER_BYTES.saturating_add(8);

impl Manifest {
    /// The manifest that follows this one, to be changed.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.clone() }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Damage`] if the body cannot be written as MessagePack, which no
    /// manifest of this crate makes happen.
    pub fn encode(&self) -> Result<Vec<u8>, Damage> {
        let body = rmp_serde::to_vec_named(self)
            .map_err(|error| Damage::new(PREFIX_BYTES, error.to_string()))?;
        let len = u32::try_from(body.len())
            .map_err(|_| Damage::new(HEADER_BYTES, "the manifest is larger than 4 GiB"))?;
        let header = Header {
            kind: FileKind::Manifest,
            store: self.store,
            number: self.generation,
            salt: 0,
        };
        let mut out = Vec::with_capacity(PREFIX_BYTES.saturating_add(body.len()));
        out.extend(header.encode());
        out.extend(len.to_le_bytes());
        out.extend(body_crc(&out, &body).to_le_bytes());
        out.extend(body);
        Ok(out)
    }

    /// Reads a manifest that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when it is short, long, fails a checksum, is of another
    /// version, or does not say what a manifest says.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let header = Header::decode(FileKind::Manifest, bytes)?;
        let mut fields = Fields { bytes, at: HEADER_BYTES };
        let len = u32::from_le_bytes(fields.take()?);
        let covered = bytes.get(..fields.at).unwrap_or_default();
        let crc = u32::from_le_bytes(fields.take()?);
        let body = bytes.get(fields.at..).unwrap_or_default();
        if usize::try_from(len) != Ok(body.len()) {
            return Err(Damage::new(
                HEADER_BYTES,
                format!("a body of {len} bytes declared, {} found", body.len()),
            ));
        }
        if crc != body_crc(covered, body) {
            return Err(Damage::new(HEADER_BYTES, "the manifest fails its checksum"));
        }
        let manifest: Self = rmp_serde::from_slice(body)
            .map_err(|error| Damage::new(PREFIX_BYTES, error.to_string()))?;
        Ok(Self { store: header.store, generation: header.number, ..manifest })
    }
}

fn body_crc(covered: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(covered);
    crc.update(body);
    crc.finalize()
}
