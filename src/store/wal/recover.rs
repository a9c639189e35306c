//! Reading the log back. All rules are here by which recovery distinguishes a
//! torn tail, which it truncates, from damage, which it refuses.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    format::{
        header::{Damage, FileKind, HEADER_BYTES, Header},
        manifest::Manifest,
        wal::{FRAME_ALIGN, Frames},
    },
    model::{
        error::{Error, Result},
        time::Seq,
    },
    num, os,
    store::wal::{
        dir::{DAMAGED_SUFFIX, LogDir, file_path, first_seq},
        file::LogFile,
        report::{QuarantinedFile, RecoveryMode, RecoveryReport, TornTail},
    },
};

/// The result of [`recover`].
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The last commit. It and all earlier ones are durable.
    pub(crate) last: Seq,
    /// Number of files of the log.
    pub(crate) files: u64,
    /// Bytes of those files.
    pub(crate) bytes: u64,
    pub(crate) report: RecoveryReport,
}

/// The payload of a batch, and the buffer that it is in.
pub(crate) struct Logged<'a> {
    buffer: &'a Arc<[u8]>,
    range: Range<usize>,
}

impl<'a> Logged<'a> {
    #[inline]
    pub(crate) fn buffer(&self) -> &'a Arc<[u8]> {
        self.buffer
    }
}

impl Logged<'_> {
    #[inline]
    pub(crate) fn range(&self) -> &Range<usize> {
        &self.range
    }
}

impl Logged<'_> {
    pub(crate) fn payload(&self) -> &[u8] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }
}

/// Takes the sequence number and the payload of a batch, or refuses it.
pub(crate) type Apply<'a> = dyn FnMut(Seq, Logged<'_>) -> Result<(), Refusal> + 'a;

/// The receiver of the batches that recovery reads.
pub(crate) trait Replay {
    /// Takes a batch, or refuses it.
    fn apply(&mut self, seq: Seq, logged: Logged<'_>) -> Result<(), Refusal>;

    /// Waits until all batches that were taken are applied. If one could not be
    /// applied, starts from scratch and returns `false`: the log has to be read
    /// again, and this time each batch is refused at its turn or applied.
    fn settle(&mut self) -> bool;
}

/// Why a batch of the log is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The batch is damaged.
    Damage(Damage),
    /// Something else failed; the log is not damaged.
    Other(Error),
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// The state at the end of reading a log file.
struct FileEnd {
    /// The sequence number that follows its last frame.
    next: Seq,
    /// Offset at which the frame with that number would be.
    offset: usize,
    /// Whether there is something other than zeros at that offset.
    torn: bool,
    /// The latest commit that was durable according to the frames.
    durable: Seq,
    /// A frame before which all commits are durable, and its offset.
    mark: (Seq, usize),
    file: LogFile,
}

/// Hands every batch after the manifest's checkpoint to `replay`, in order.
/// Afterwards, everything that was handed over is durable in the log, and the
/// log can be continued with a new file.
///
/// `before_salvage` is called before a salvaging recovery changes anything.
pub(crate) fn recover(
    place: LogDir<'_>,
    manifest: &Manifest,
    mode: RecoveryMode,
    before_salvage: &dyn Fn() -> Result<()>,
    replay: &mut dyn Replay,
) -> Result<Recovered> {
    let mut reading = read(place, manifest, &mut |seq, logged| replay.apply(seq, logged));
    // Batches may still be applied in the background meanwhile.
    let mut written = write_again(place, manifest.durable, &mut reading);
    if !replay.settle() {
        // Removes its temporary file before another one of that name is made.
        drop(written);
        reading = read(place, manifest, &mut |seq, logged| replay.apply(seq, logged));
        written = write_again(place, manifest.durable, &mut reading);
    }
    let Reading { firsts, mut report, damage, sound, mut last_end } = reading?;
    let last = report.seq;
    if let Some(error) = damage {
        if mode == RecoveryMode::Strict || matches!(error, Error::Unsupported { .. }) {
            return Err(error);
        }
        before_salvage()?;
        let after = firsts.get(sound..).unwrap_or_default();
        report.quarantined = quarantine(place, after)?;
        report.damage = Some(error);
        // The recovered commits need a file after them, even an empty one, so
        // that the next recovery does not reach the damage.
        match last_end.as_mut().filter(|_| sound > 0) {
            Some((first, end)) => {
                let from = uncertain_from(*first, end, Seq::ZERO, last);
                if from == *first && !after.contains(first) {
                    // The rewritten file replaces the damaged one, so a copy
                    // of that is kept.
                    let from = file_path(place.dir, *first);
                    let to = damaged_path(place, &from);
                    let bytes = os::read_all(place.fs, &from)
                        .map_err(|error| Error::io("read", &from, error))?;
                    os::write_atomic(place.fs, &to, &bytes)?;
                    report.quarantined.insert(0, QuarantinedFile { from, to });
                }
                rewrite(place, from, last, Some((*first, end)))?.replace()?;
            }
            None => {
                rewrite(place, last.next(), last, None)?.replace()?;
            }
        }
    } else if let Some((first, end)) = &last_end {
        report.torn_tail = cut_tail(place, *first, end);
        if let Some(written) = written? {
            written.replace()?;
        }
    }

    // A file that begins after `last` has no frames, and the writer replaces
    // it.
    let mut files = 0_u64;
    let mut bytes = 0_u64;
    let all = list(place)?;
    for first in all.into_iter().filter(|first| *first <= last) {
        let path = file_path(place.dir, first);
        let len = place.fs.open(&path).and_then(|file| file.size());
        bytes = bytes.saturating_add(len.map_err(|error| Error::io("read", &path, error))?);
        files = files.saturating_add(1);
    }
    Ok(Recovered { last, files, bytes, report })
}

/// Hands every batch after the manifest's checkpoint to `apply`, in order, up
/// to the end of the log or the first damage, which the report contains.
/// Changes nothing.
pub(crate) fn salvage(
    place: LogDir<'_>,
    manifest: &Manifest,
    apply: &mut Apply<'_>,
) -> Result<RecoveryReport> {
    let Reading { mut report, damage, last_end, .. } = read(place, manifest, apply)?;
    if matches!(damage, Some(Error::Unsupported { .. })) {
        return damage.map_or(Ok(report), Err);
    }
    if damage.is_none() {
        report.torn_tail = last_end.and_then(|(first, end)| cut_tail(place, first, &end));
    }
    report.damage = damage;
    Ok(report)
}

/// The result of reading a log.
struct Reading {
    /// The first sequence numbers of the files.
    firsts: Vec<Seq>,
    report: RecoveryReport,
    /// The damage at which reading stopped.
    damage: Option<Error>,
    /// The files before this index hold the commits that were read.
    sound: usize,
    /// The file that was read last, and its first sequence number.
    last_end: Option<(Seq, FileEnd)>,
}

/// Reads a log up to its end or its first damage.
fn read(place: LogDir<'_>, manifest: &Manifest, apply: &mut Apply<'_>) -> Result<Reading> {
    let Manifest { checkpoint, durable, .. } = *manifest;
    let all = list(place)?;
    // An interrupted checkpoint may have left files that it covers.
    let firsts = all.get(covered(&all, checkpoint)..).unwrap_or_default().to_vec();
    let mut report = RecoveryReport { seq: checkpoint, ..RecoveryReport::default() };
    let mut apply = |seq: Seq, logged: Logged<'_>| {
        if seq > checkpoint {
            apply(seq, logged)?;
            report.batches = report.batches.saturating_add(1);
            report.seq = seq;
        }
        Ok(())
    };

    let mut damage = None;
    let mut last_end: Option<(Seq, FileEnd)> = None;
    let mut log_bytes = 0_u64;
    let mut sound = firsts.len();
    if firsts.first().is_none_or(|first| *first > checkpoint.next()) {
        let what = format!("no log file begins at or before commit {}", checkpoint.next());
        damage = Some(Error::corrupt(place.dir, 0, what));
        sound = 0;
    }
    for (index, first) in firsts.iter().enumerate() {
        if damage.is_some() {
            break;
        }
        let path = file_path(place.dir, *first);
        let stop = firsts.get(index.saturating_add(1)).copied();
        let file = LogFile::open(place.fs, &path, place.sizes.chunk_bytes);
        let file = file.map_err(|error| Error::io("read", &path, error))?;
        log_bytes = log_bytes.saturating_add(num::wide(file.len()));
        match read_file(place, &path, *first, stop, file, &mut apply) {
            Ok(end) => last_end = Some((*first, end)),
            Err(Stop::Unreadable(error)) => {
                damage = Some(error);
                sound = index;
            }
            Err(Stop::Other(error)) => return Err(error),
            Err(Stop::Damaged(error, end)) => {
                damage = Some(error);
                // If its first frame is bad, the file holds nothing, and the
                // next one gets its name.
                sound = if end.next == *first { index } else { index.saturating_add(1) };
                last_end = Some((*first, *end));
            }
        }
    }

    let last = report.seq;
    report.bytes = log_bytes;
    if damage.is_none() && last < durable {
        let (file, offset) = match &last_end {
            Some((first, end)) => (file_path(place.dir, *first), num::wide(end.offset)),
            None => (place.dir.to_owned(), 0),
        };
        let what = format!("the log ends at commit {last}, but commit {durable} was durable");
        damage = Some(Error::corrupt(file, offset, what));
    }
    Ok(Reading { firsts, report, damage, sound, last_end })
}

/// The torn tail at the end of the last file, if it has one.
fn cut_tail(place: LogDir<'_>, first: Seq, end: &FileEnd) -> Option<TornTail> {
    end.torn.then(|| TornTail { file: file_path(place.dir, first), offset: num::wide(end.offset) })
}

/// The first commit that may not be durable, because nothing proves that a sync
/// covered it. All commits in files before the last are durable.
fn uncertain_from(first: Seq, end: &FileEnd, durable: Seq, last: Seq) -> Seq {
    let before_file = Seq::new(first.get().saturating_sub(1));
    end.durable.max(durable).max(before_file).min(last).next()
}

/// How many of the log files, from the first on, a checkpoint covers
/// completely.
pub(crate) fn covered(firsts: &[Seq], checkpoint: Seq) -> usize {
    firsts.partition_point(|first| *first <= checkpoint.next()).saturating_sub(1)
}

/// The first sequence numbers of the log files, in order.
pub(crate) fn list(place: LogDir<'_>) -> Result<Vec<Seq>> {
    let names = place.fs.list(place.dir).map_err(|error| Error::io("list", place.dir, error))?;
    let mut firsts: Vec<Seq> = names.iter().filter_map(|name| first_seq(name.to_str()?)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Checks a log file from its first frame to the one before `stop`, and hands
/// the payloads to `each`. What follows in the file is ignored. Returns the
/// bytes of the file, of which one chunk is in memory at a time; `None` if the
/// file does not exist.
pub(crate) fn check_file(
    place: LogDir<'_>,
    first: Seq,
    stop: Seq,
    each: &mut Apply<'_>,
) -> Result<Option<u64>> {
    let path = file_path(place.dir, first);
    let file = match LogFile::open(place.fs, &path, place.sizes.chunk_bytes) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let len = num::wide(file.len());
    match read_file(place, &path, first, Some(stop), file, each) {
        Ok(_) => Ok(Some(len)),
        Err(Stop::Unreadable(error) | Stop::Damaged(error, _) | Stop::Other(error)) => Err(error),
    }
}

enum Stop {
    /// The header is bad.
    Unreadable(Error),
    /// Reading failed, but the file is not known to be damaged.
    Other(Error),
    /// A frame is bad; those before it are good.
    Damaged(Error, Box<FileEnd>),
}

/// Applies the frames of one file, up to `stop` if another file begins there.
fn read_file(
    place: LogDir<'_>,
    path: &Path,
    first: Seq,
    stop: Option<Seq>,
    mut file: LogFile,
    apply: &mut Apply<'_>,
) -> Result<FileEnd, Stop> {
    let unreadable = |damage: Damage| Stop::Unreadable(damage.in_file(path));
    let failed = |error| Stop::Other(Error::io("read", path, error));
    let header = file.header().map_err(failed)?.map_err(unreadable)?;
    if header.store != place.store {
        return Err(unreadable(Damage::new(16, "the file belongs to another store")));
    }
    if header.number != first.get() {
        let what =
            format!("the file begins at commit {}, but its name says {first}", header.number);
        return Err(unreadable(Damage::new(32, what)));
    }
    let frames = Frames::new(&header);
    let mut end = FileEnd {
        next: first,
        offset: HEADER_BYTES,
        torn: false,
        durable: Seq::ZERO,
        mark: (first, HEADER_BYTES),
        file,
    };
    let damage = loop {
        if Some(end.next) == stop {
            // Whatever follows was written again in the next file.
            return Ok(end);
        }
        match end.file.frame(&frames, end.offset).map_err(failed)? {
            Some(frame) if frame.seq == end.next => {
                let (durable, size) = (frame.durable, frame.size);
                match apply(frame.seq, Logged { buffer: frame.buffer, range: frame.range }) {
                    Ok(()) => {}
                    Err(Refusal::Damage(damage)) => {
                        break format!("commit {}: {damage}", frame.seq);
                    }
                    Err(Refusal::Other(error)) => return Err(Stop::Other(error)),
                }
                end.durable = end.durable.max(durable);
                if durable.next() == end.next {
                    end.mark = (end.next, end.offset);
                }
                end.offset = end.offset.saturating_add(size);
                end.next = end.next.next();
            }
            Some(frame) => {
                break format!("found commit {} where {} is expected", frame.seq, end.next);
            }
            None if stop.is_some() => {
                break format!("no complete frame where commit {} is expected", end.next);
            }
            None => match tail(&frames, &mut end).map_err(failed)? {
                Tail::Clean => return Ok(end),
                Tail::Torn => {
                    end.torn = true;
                    return Ok(end);
                }
                Tail::Damaged(what) => break what,
            },
        }
    };
    let error = Error::corrupt(path, num::wide(end.offset), damage);
    Err(Stop::Damaged(error, Box::new(end)))
}

enum Tail {
    /// Zeros to the end of the file.
    Clean,
    /// A torn tail.
    Torn,
    /// A durable commit is damaged.
    Damaged(String),
}

/// Determines what follows the last good frame of the log.
///
/// A crash may keep any part of the writes since the last sync, so good frames
/// may follow a bad one. Whether the bad one was covered by a sync is known
/// from later frames: each has a commit that was durable when the frame was
/// written.
fn tail(frames: &Frames, end: &mut FileEnd) -> io::Result<Tail> {
    let good = Seq::new(end.next.get().saturating_sub(1));
    if end.file.is_zero_from(end.offset)? {
        return Ok(Tail::Clean);
    }
    for at in (end.offset..end.file.len()).step_by(FRAME_ALIGN) {
        if let Some(header) = end.file.frame_header(frames, at)?
            && header.durable > good
        {
            return Ok(Tail::Damaged(format!(
                "no complete frame where commit {} is expected, which was durable according to \
                 commit {} at byte {at}",
                end.next, header.seq
            )));
        }
    }
    Ok(Tail::Torn)
}

/// Writes the commits of an undamaged log that are not known to be durable into
/// a new file, which the caller moves to its path. `None` if there are none.
fn write_again<'p>(
    place: LogDir<'p>,
    durable: Seq,
    reading: &mut Result<Reading>,
) -> Result<Option<os::Replacement<'p>>> {
    let Ok(Reading { report, damage: None, last_end: Some((first, end)), .. }) = reading else {
        return Ok(None);
    };
    let (last, from) = (report.seq, uncertain_from(*first, end, durable, report.seq));
    if from > last { Ok(None) } else { rewrite(place, from, last, Some((*first, end))).map(Some) }
}

/// Writes commits `from` to `last` of the file that was read last into a new
/// file and syncs it. If an earlier sync of these commits failed, the cached
/// pages that this process read may be the only copy.
fn rewrite<'p>(
    place: LogDir<'p>,
    from: Seq,
    last: Seq,
    end: Option<(Seq, &mut FileEnd)>,
) -> Result<os::Replacement<'p>> {
    let header = Header::new(FileKind::Wal, place.store, from.get(), place.salt());
    let mut replacement = os::Replacement::begin(place.fs, &file_path(place.dir, from))?;
    let mut out = header.encode().to_vec();
    let frames = Frames::new(&header);
    let durable = Seq::new(from.get().saturating_sub(1));
    let mut next = from;
    if let Some((first, FileEnd { file, next: end, mark, .. })) = end {
        // A checkpoint may cover commits after the end of this file.
        let last = last.min(Seq::new(end.get().saturating_sub(1)));
        let path = file_path(place.dir, first);
        let failed = |error| Error::io("read", &path, error);
        let old = file.header().map_err(failed)?.map_err(|damage| damage.in_file(&path))?;
        let old = Frames::new(&old);
        let mut at = if mark.0 <= from { mark.1 } else { HEADER_BYTES };
        while next <= last {
            let header = file.frame_header(&old, at).map_err(failed)?;
            if let Some(header) = header.filter(|header| header.seq < from) {
                at = at.saturating_add(Frames::size(header.len));
                continue;
            }
            let frame = file.frame(&old, at).map_err(failed)?.filter(|frame| frame.seq == next);
            let Some((size, payload)) =
                frame.and_then(|frame| Some((frame.size, frame.buffer.get(frame.range)?)))
            else {
                let at = num::wide(at);
                let what = format!("commit {next} can no longer be read");
                return Err(Error::corrupt(path, at, what));
            };
            frames.seal(next, durable, payload, &mut out);
            at = at.saturating_add(size);
            next = next.next();
            if out.len() >= place.sizes.chunk_bytes {
                replacement.append(&out)?;
                out.clear();
            }
        }
    }
    if !out.is_empty() {
        replacement.append(&out)?;
    }
    replacement.sync()?;
    Ok(replacement)
}

/// An unused path for a damaged file.
fn damaged_path(place: LogDir<'_>, path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}{DAMAGED_SUFFIX}", place.salt()));
    PathBuf::from(name)
}

/// Renames files out of the log. During this, the manifest says that a salvage
/// is under way.
pub(crate) fn quarantine(place: LogDir<'_>, firsts: &[Seq]) -> Result<Vec<QuarantinedFile>> {
    let mut done = Vec::new();
    for first in firsts.iter().rev() {
        let from = file_path(place.dir, *first);
        let to = damaged_path(place, &from);
        place.fs.rename(&from, &to).map_err(|error| Error::io("rename", &from, error))?;
        done.push(QuarantinedFile { from, to });
    }
    if !done.is_empty() {
        place.fs.sync_dir(place.dir).map_err(|error| Error::io("sync", place.dir, error))?;
    }
    done.reverse();
    Ok(done)
}
