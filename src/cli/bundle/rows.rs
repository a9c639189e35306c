//! The vectors of an export.

use ingrain::{NodeId, exchange::lines::id_from_uuid};

use super::{DefinedSpace, read::Source};
use crate::{
    error::{CliError, Result},
    lines::Lines,
    npy::Npy,
};

/// Bytes of the buffer of each file of vectors: many may be open.
const BUFFER_BYTES: usize = 64 << 10;

/// The vectors of a space, each with the id of its node, in the order of the
/// nodes.
pub(crate) struct SpaceRows {
    pub(crate) name: String,
    npy: Npy,
    ids: Lines,
    /// The next id.
    next: Option<NodeId>,
}

impl SpaceRows {
    pub(crate) fn open(source: &Source, space: &DefinedSpace) -> Result<Self> {
        let (rows, ids) = (source.path(&space.rows), source.path(&space.ids));
        let npy = Npy::with_buffer(&rows, BUFFER_BYTES)?;
        if npy.dimension() != space.space.dimension || !npy.is_matrix() {
            return Err(CliError::message(format!(
                "{}: it does not have rows of {} numbers",
                rows.display(),
                space.space.dimension
            )));
        }
        let mut of = Self { name: space.name.clone(), npy, ids: Lines::open(&ids)?, next: None };
        of.advance()?;
        Ok(of)
    }

    fn advance(&mut self) -> Result<()> {
        let file = self.ids.path().to_owned();
        self.next = match self.ids.next()? {
            None => None,
            Some(line) => {
                let bytes = line.bytes.ok().and_then(|bytes| str::from_utf8(bytes).ok());
                let id = bytes.and_then(|text| id_from_uuid(text.trim_end()));
                Some(id.ok_or_else(|| CliError::Line {
                    file,
                    line: line.number,
                    cause: "it is not the id of a node".to_owned(),
                })?)
            }
        };
        Ok(())
    }

    /// The vector of a node, if the space has one.
    pub(crate) fn take(&mut self, id: NodeId) -> Result<Option<Vec<f32>>> {
        if self.next != Some(id) {
            return Ok(None);
        }
        self.advance()?;
        let missing = || CliError::message(format!("space {:?}: too few rows", self.name));
        let row = self.npy.next()?;
        row.ok_or_else(missing).map(Some)
    }

    pub(crate) fn position(&self) -> u64 {
        self.npy.position() + self.ids.position()
    }

    /// Fails unless each vector was some node's.
    pub(crate) fn end(self) -> Result<()> {
        match self.next {
            None => Ok(()),
            Some(id) => Err(CliError::message(format!(
                "{}: the node {id} is not among the nodes, or in another place",
                self.ids.path().display()
            ))),
        }
    }
}
