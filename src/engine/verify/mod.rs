//! Reads everything that a store has on disk, and tells all that is wrong with
//! it: first the bytes against their checksums, then what they say against each
//! other.
//!
//! What a damaged block held is unknown, so it is told once, and nothing that
//! would follow from it: lookups that end in it are passed over, and so are
//! sums that it has a part in.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    engine::{
        Engine,
        verify::{
            report::VerifyReport,
            verifier::{Gaps, Refs, Verifier},
        },
    },
    format::wal::decode_batch,
    model::{
        error::{Error, Result},
        time::Seq,
    },
    store::{
        manifest,
        wal::{self, recover::Logged},
    },
};
pub(crate) mod edges;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod report;
pub(crate) mod vectors;
pub(crate) mod verifier;

impl Engine {
    /// Reads and checks all that the store has on disk: every byte of the base
    /// against its checksums, every reference from one file to another, the
    /// manifest, and the log as far as it was published when this was called.
    /// Damage is no error here: all of it is in the report. Where a checksum
    /// fails, the report has the block, and not what follows from its loss.
    ///
    /// Writes, reads and checkpoints go on; the files of the base that is
    /// verified stay until it is done. From the moment that a block is found to
    /// be damaged, reads of it give `Corrupt`, even if it was whole when it was
    /// first read.
    ///
    /// It costs two readings of the base, and for each edge, key and vector a
    /// search in a table. Memory: one file of the log at a time, and a few bytes
    /// for each file.
    ///
    /// # Errors
    /// `Closed`, also if the engine is closed meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = ingrain::Engine::open(dir.path().join("memory"))?;
    /// let report = engine.verify()?;
    /// for damage in &report.damage {
    ///     eprintln!("{damage}");
    /// }
    /// assert!(report.is_sound());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&mut |_, _| {})
    }

    /// As [`verify`](Self::verify), and tells how it is getting on, about once
    /// for each megabyte and at the end: bytes read so far, and bytes to be
    /// read. What is read twice counts twice.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
        self.open_still()?;
        let (base, last) = {
            let state = self.reconciler.state();
            (Arc::clone(state.base()), state.seq())
        };
        let lens = base.segments().map(|segment| segment.file().len);
        let heaps = base.heaps().iter().map(|heap| heap.segment().file().len);
        let bytes = lens.fold(0, u64::saturating_add);
        let again = bytes.saturating_sub(heaps.fold(0, u64::saturating_add));
        let log = self.reconciler.stats().wal_bytes;
        let mut verifier = Verifier {
            base: &base,
            manifest: self.dir.join(manifest::FILE),
            report: VerifyReport { seq: base.manifest().checkpoint, bytes, ..Default::default() },
            progress,
            done: 0,
            told: 0,
            total: bytes.saturating_add(again).saturating_add(log),
            damaged: HashSet::new(),
            refs: Refs::new(),
            live: BTreeMap::new(),
            entries: 0,
            gaps: Gaps::default(),
        };
        self.verify_log(&mut verifier, last);
        self.verify_manifest(&mut verifier);
        for segment in base.segments() {
            verifier.file(segment);
            // It is mapped, which would hide that it has lost its name.
            if let Err(error) = self.fs.open(segment.path()) {
                verifier.unreadable(segment.path().to_owned(), error);
            }
        }
        verifier.nodes();
        verifier.keys();
        verifier.edges();
        verifier.vectors();
        verifier.indexes();
        verifier.sums();
        verifier.end();
        let report = verifier.report;
        // Another engine may have had the files.
        self.open_still()?;
        Ok(report)
    }

    /// The commits of the log that the base does not have, up to `last`.
    fn verify_log(&self, verifier: &mut Verifier<'_>, last: Seq) {
        let dir = self.dir.join(wal::DIR);
        let base = verifier.base;
        let place = wal::LogDir::new(&*self.fs, &dir, base.manifest().store);
        let place = place.in_sizes(self.log_sizes);
        // What a checkpoint covers now, it may have cut.
        let checkpoint = || self.reconciler.state().base().manifest().checkpoint;
        let listed = match wal::list(place) {
            Ok(listed) => listed,
            Err(error) => return verifier.found(error),
        };
        if listed.first().is_none_or(|first| *first > checkpoint().next()) {
            let what = format!("no log file begins at commit {} or before", checkpoint().next());
            verifier.found(Error::corrupt(&dir, 0, what));
        }
        let covered = wal::covered(&listed, base.manifest().checkpoint);
        for (at, first) in listed.iter().enumerate().skip(covered) {
            // The last is being written: what was published is whole. All
            // others are.
            let stop = match listed.get(at.saturating_add(1)) {
                Some(next) => *next,
                None => last.next().max(*first),
            };
            let mut decode =
                |_: Seq, logged: Logged<'_>| Ok(decode_batch(logged.payload()).map(drop)?);
            match wal::check_file(place, *first, stop, &mut decode) {
                Ok(Some(bytes)) => {
                    verifier.report.log_files = verifier.report.log_files.saturating_add(1);
                    verifier.advance(bytes);
                }
                Ok(None) if checkpoint().next() > *first => {}
                Ok(None) => {
                    let path = wal::file_path(&dir, *first);
                    verifier.found(Error::corrupt(path, 0, "the file is missing"));
                }
                Err(error) => verifier.found(error),
            }
        }
    }

    /// The manifest on disk: that of the base, or a later one.
    fn verify_manifest(&self, verifier: &mut Verifier<'_>) {
        let ours = verifier.base.manifest();
        let damage = match manifest::load(&*self.fs, &self.dir) {
            Err(error) => return verifier.found(error),
            Ok(None) => "the file is missing",
            Ok(Some(found)) if found.store != ours.store => "the file belongs to another store",
            Ok(Some(found)) if found.generation < ours.generation => {
                "an earlier manifest has come back"
            }
            Ok(Some(found)) if found.generation == ours.generation && found != **ours => {
                "the file says something else than when it was read"
            }
            Ok(Some(_)) => return,
        };
        verifier.found(Error::corrupt(&verifier.manifest, 0, damage));
    }
}
