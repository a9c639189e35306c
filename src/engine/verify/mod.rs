//! Reads everything that a store has on disk, and reports all damage: first it
//! compares the bytes with their checksums, then the contents with each other.
//!
//! The content of a damaged block is unknown, so the block is reported once, and
//! nothing that would follow from it: lookups that end in it are skipped, and so
//! are sums that it contributes to.

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
    state::indexes_of,
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
    /// Reads and checks everything that the store has on disk: every byte of the
    /// base against its checksums, every reference from one file to another, the
    /// manifest, and the commits in the log that were published before the call.
    /// Damage is not an error: all of it is in the report. A block with a wrong
    /// checksum is reported once; errors that only follow from it are not.
    ///
    /// Writes, reads and checkpoints continue. The files of the base that is
    /// verified stay until it is done. Once a block is found to be damaged, reads
    /// of it return `Corrupt`, even if it was sound when it was first read.
    ///
    /// It reads the base twice, and searches a table for each edge, key and
    /// vector. It takes the memory of one chunk of the log (1 MiB) and of the
    /// largest batch in it, and a few bytes for each file. Codebooks and graphs
    /// are loaded as for a search, and stay loaded.
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

    /// As [`verify`](Self::verify), and calls `progress` about once for each
    /// megabyte and at the end, with the bytes read so far and the bytes to read
    /// in total. Bytes that are read twice count twice.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
        self.check_open()?;
        let (base, last, threads) = {
            let state = self.reconciler.state();
            (Arc::clone(state.base()), state.seq(), state.threads())
        };
        let lens = base.segments().map(|segment| segment.file().len);
        let heaps = base.heaps().iter().map(|heap| heap.segment().file().len);
        let bytes = lens.fold(0, u64::saturating_add);
        let again = bytes.saturating_sub(heaps.fold(0, u64::saturating_add));
        let log = self.reconciler.stats(true).wal_bytes;
        let mut verifier = Verifier {
            base: &base,
            indexes: Arc::new(indexes_of(base.manifest())),
            manifest: self.dir.join(manifest::FILE),
            report: VerifyReport { seq: base.manifest().checkpoint, bytes, ..Default::default() },
            progress,
            threads,
            done: 0,
            reported: 0,
            total: bytes.saturating_add(again).saturating_add(log),
            damaged: HashSet::new(),
            refs: Refs::new(),
            live: BTreeMap::new(),
            kinds: BTreeMap::new(),
            entries: 0,
            gaps: Gaps::default(),
        };
        self.verify_log(&mut verifier, last);
        self.verify_manifest(&mut verifier);
        for segment in base.segments() {
            verifier.file(segment);
            // The mapping would hide that the file was removed.
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
        // If the engine was closed, another one may have changed the files.
        self.check_open()?;
        Ok(report)
    }

    /// Verifies the commits of the log that the base does not have, up to `last`.
    fn verify_log(&self, verifier: &mut Verifier<'_>, last: Seq) {
        let dir = self.dir.join(wal::DIR);
        let base = verifier.base;
        let place = wal::LogDir::new(&*self.fs, &dir, base.manifest().store);
        let place = place.in_sizes(self.log_sizes);
        // A checkpoint that ends meanwhile may remove log files that it covers.
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
            // The last file is being written, and only its published commits must
            // be complete. All other files must be complete.
            let stop = match listed.get(at + 1) {
                Some(next) => *next,
                None => last.next().max(*first),
            };
            let (covered, batches) = (base.manifest().checkpoint, &mut verifier.report.log_batches);
            let mut decode = |seq: Seq, logged: Logged<'_>| {
                decode_batch(logged.payload()).map(drop)?;
                *batches += u64::from(seq > covered && seq <= last);
                Ok(())
            };
            match wal::check_file(place, *first, stop, &mut decode) {
                Ok(Some(bytes)) => {
                    verifier.report.log_files += 1;
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

    /// Verifies that the manifest on disk is that of the base, or a later one.
    fn verify_manifest(&self, verifier: &mut Verifier<'_>) {
        let ours = verifier.base.manifest();
        let damage = match manifest::load(&*self.fs, &self.dir) {
            Err(error) => return verifier.found(error),
            Ok(None) => "the file is missing",
            Ok(Some(found)) if found.store != ours.store => "the file belongs to another store",
            Ok(Some(found)) if found.generation < ours.generation => {
                "it is older than the manifest of the open store"
            }
            Ok(Some(found)) if found.generation == ours.generation && found != **ours => {
                "it differs from the manifest of the open store"
            }
            Ok(Some(_)) => return,
        };
        verifier.found(Error::corrupt(&verifier.manifest, 0, damage));
    }
}
