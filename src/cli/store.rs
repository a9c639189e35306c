//! Opening stores, and the reads that the commands share.

use std::{collections::BTreeMap, ops::Deref, path::Path};

use ingrain::{
    Engine, Options, Snapshot, Space,
    admin::{IndexStats, SpaceStats},
};

use crate::{
    error::{CliError, Result},
    output::Output,
};

/// An open store. What its opening met is said at once, and what happened to its
/// vector indexes meanwhile by [`done`](Self::done). Dropping it makes no
/// checkpoint, so that a command that only reads cannot fail because of one.
pub(crate) struct Store {
    engine: Engine,
    before: Indexes,
}

impl Deref for Store {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

/// Opens an existing store.
pub(crate) fn open(path: &Path, output: &Output) -> Result<Store> {
    is_no_file(path)?;
    if !path.is_dir() {
        return Err(CliError::message(format!(
            "store {}: there is no such directory; \"ingrain import\" creates a store",
            path.display()
        )));
    }
    Ok(Store::of(Options::new().create(false).open(path)?, output))
}

/// Refuses a path at which a store cannot be.
pub(crate) fn is_no_file(path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(CliError::message(format!(
            "store {}: it is a file; a store is a directory",
            path.display()
        )));
    }
    Ok(())
}

impl Store {
    /// Says what the opening of an engine met.
    pub(crate) fn of(engine: Engine, output: &Output) -> Self {
        let recovery = engine.recovery();
        if let Some(tail) = &recovery.torn_tail {
            output.note(format_args!(
                "the log ended within a write, as a crash leaves it; {} was cut off at byte {}, \
                 and every commit before that is there",
                tail.file.display(),
                tail.offset
            ));
        }
        if let Some(damage) = &recovery.damage {
            output.warn(format_args!(
                "the log is damaged, and what comes after the damage was left out: {damage}"
            ));
        }
        for file in &recovery.quarantined {
            output.warn(format_args!(
                "{} was renamed to {}: its commits are not in the store any more",
                file.from.display(),
                file.to.display()
            ));
        }
        let before = indexes(&engine.stats().spaces);
        Self { engine, before }
    }

    /// Says which vector indexes were rebuilt, and which are damaged.
    pub(crate) fn done(&self, output: &Output) {
        let spaces = self.engine.stats().spaces;
        for (place, now) in indexes(&spaces) {
            let (space, file, what) = (&place.space, place.file, place.what);
            let before = self.before.get(&place);
            if let Some(damage) = now.damage {
                output.warn(format_args!(
                    "{what} of space {space:?} for vector file {file}: damaged, and not used until \
                     they are rebuilt, while the store is open or at once by \"ingrain rebuild\": \
                     {damage}"
                ));
            } else if before.is_some_and(|before| before.file != now.file) {
                output.note(format_args!(
                    "{what} of space {space:?} for vector file {file}: rebuilt"
                ));
            }
        }
    }
}

/// The codes or the graph of a vector file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    space: String,
    file: u32,
    what: &'static str,
}

struct IndexFile {
    file: u32,
    damage: Option<String>,
}

type Indexes = BTreeMap<Place, IndexFile>;

fn indexes(spaces: &[SpaceStats]) -> Indexes {
    let mut found = Indexes::new();
    for space in spaces {
        for of in &space.files {
            let mut add = |what, index: &Option<IndexStats>| {
                let Some(index) = index else { return };
                let place = Place { space: space.name.clone(), file: of.file, what };
                let damage = index.damage.as_ref().map(ToString::to_string);
                found.insert(place, IndexFile { file: index.file, damage });
            };
            add("codes", &of.codes);
            add("graph", &of.graph);
        }
    }
    found
}

/// The vector space of this name, or the only one if there is no name.
pub(crate) fn space(snapshot: &Snapshot, name: Option<&str>) -> Result<(String, Space)> {
    let spaces: Vec<(&str, Space)> = snapshot.spaces().collect();
    let names: Vec<&str> = spaces.iter().map(|(name, _)| *name).collect();
    match (name, spaces.as_slice()) {
        (_, []) => Err(CliError::message(
            "the store has no vector space; import vectors with --vectors first",
        )),
        (None, [(name, space)]) => Ok(((*name).to_owned(), *space)),
        (None, _) => Err(CliError::message(format!(
            "the store has several vector spaces: {}; choose one with --space",
            names.join(", ")
        ))),
        (Some(wanted), spaces) => spaces
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(name, space)| ((*name).to_owned(), *space))
            .ok_or_else(|| unknown("vector space", wanted, &names)),
    }
}

/// The error for a name that the store does not have; it lists those it has.
pub(crate) fn unknown(what: &str, name: &str, names: &[&str]) -> CliError {
    CliError::message(match names {
        [] => format!("{what} {name:?}: the store has none"),
        names => {
            format!("{what} {name:?}: the store has none of that name, but {}", names.join(", "))
        }
    })
}
