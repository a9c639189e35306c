//! Reads the log back: every rule by which recovery tells a torn write, which
//! is cut, from damage, which is refused.

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
    os,
    store::wal::{
        dir::{DAMAGED_SUFFIX, LogDir, file_path, first_seq},
        file::{LogFile, WRITE_CHUNK_BYTES},
        report::{QuarantinedFile, RecoveryMode, RecoveryReport, TornTail},
    },
};

/// What [`recover`] found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The last commit; it and all before it are durable.
    pub(crate) last: Seq,
    /// Files of the log.
    pub(crate) files: u64,
    /// Bytes of those files.
    pub(crate) bytes: u64,
    pub(crate) report: RecoveryReport,
}

/// The payload of a batch, and what was read with it.
pub(crate) struct Logged<'a> {
    around: &'a Arc<[u8]>,
    part: Range<usize>,
}

impl<'a> Logged<'a> {
    #[inline]
    pub(crate) fn around(&self) -> &'a Arc<[u8]> {
        self.around
    }
}

impl Logged<'_> {
    #[inline]
    pub(crate) fn part(&self) -> &Range<usize> {
        &self.part
    }
}

impl Logged<'_> {
    pub(crate) fn payload(&self) -> &[u8] {
        self.around.get(self.part.clone()).unwrap_or_default()
    }
}

/// Takes a batch's sequence number and payload, or refuses it.
pub(crate) type Apply<'a> = dyn FnMut(Seq, Logged<'_>) -> Result<(), Refusal> + 'a;

/// What the log is read for.
pub(crate) trait Replay {
    /// Takes a batch, or refuses it.
    fn apply(&mut self, seq: Seq, logged: Logged<'_>) -> Result<(), Refusal>;

    /// Applies all that was taken. If something of it could not be, it begins
    /// anew and gives `false`: the log is to be read again, and each batch is
    /// then refused in its turn or not at all.
    fn settle(&mut self) -> bool;
}

/// Why a batch of the log is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The batch is damaged.
    Damage(Damage),
    /// Something else is, which the log is not to be blamed for.
    Other(Error),
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// What a file of the log gave.
struct FileEnd {
    /// The sequence number that follows its last frame.
    next: Seq,
    /// Where the frame with that number would stand.
    offset: usize,
    /// Whether something other than zeros stands there.
    torn: bool,
    /// The latest commit that one of its frames says was durable.
    durable: Seq,
    /// A frame before which all are durable, and where it stands.
    mark: (Seq, usize),
    file: LogFile,
}

/// Hands every batch after `checkpoint` to `replay`, in order, and leaves a log
/// in which everything that was handed over is durable and can be followed by
/// a new file.
///
/// `before_salvage` is called before a salvaging recovery first changes
/// something.
pub(crate) fn recover(
    place: LogDir<'_>,
    manifest: &Manifest,
    mode: RecoveryMode,
    before_salvage: &dyn Fn() -> Result<()>,
    replay: &mut dyn Replay,
) -> Result<Recovered> {
    let mut reading = read(place, manifest, &mut |seq, logged| replay.apply(seq, logged));
    // What is still being applied goes on meanwhile.
    let mut written = write_again(place, manifest.durable, &mut reading);
    if !replay.settle() {
        // Its file goes before another of its name is made.
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
        // What was recovered needs a file after it, so that the damage is not
        // met again: also if there is nothing to put into it.
        match last_end.as_mut().filter(|_| sound > 0) {
            Some((first, end)) => {
                let from = uncertain_from(*first, end, Seq::ZERO, last);
                if from == *first && !after.contains(first) {
                    // The rewritten file takes the name of the damaged one.
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

    // The next file replaces one of its name, which holds nothing.
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

/// Hands every batch after `checkpoint` to `apply`, in order, up to the end or
/// to the first damage, and changes nothing. The report tells which.
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

/// What the files of a log gave.
struct Reading {
    /// The first sequence numbers of the files.
    firsts: Vec<Seq>,
    report: RecoveryReport,
    /// Where it stopped.
    damage: Option<Error>,
    /// Files before this index hold what was read.
    sound: usize,
    /// The file that was read last, by its first sequence number.
    last_end: Option<(Seq, FileEnd)>,
}

/// Reads a log up to its end or its first damage.
fn read(place: LogDir<'_>, manifest: &Manifest, apply: &mut Apply<'_>) -> Result<Reading> {
    let Manifest { checkpoint, durable, .. } = *manifest;
    let all = list(place)?;
    // A checkpoint that was cut short may have left some of what it covers.
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
        let what = format!("no log file begins at commit {} or before", checkpoint.next());
        damage = Some(Error::corrupt(place.dir, 0, what));
        sound = 0;
    }
    for (index, first) in firsts.iter().enumerate() {
        if damage.is_some() {
            break;
        }
        let path = file_path(place.dir, *first);
        let stop = firsts.get(index.saturating_add(1)).copied();
        let file = LogFile::open(place.fs, &path);
        let file = file.map_err(|error| Error::io("read", &path, error))?;
        log_bytes = log_bytes.saturating_add(u64::try_from(file.len()).unwrap_or(u64::MAX));
        match read_file(place, &path, *first, stop, file, &mut apply) {
            Ok(end) => last_end = Some((*first, end)),
            Err(Stop::Unreadable(error)) => {
                damage = Some(error);
                sound = index;
            }
            Err(Stop::Other(error)) => return Err(error),
            Err(Stop::Damaged(error, end)) => {
                damage = Some(error);
                // A file whose first frame is bad gives its name to the next.
                sound = if end.next == *first { index } else { index.saturating_add(1) };
                last_end = Some((*first, *end));
            }
        }
    }

    let last = report.seq;
    report.bytes = log_bytes;
    if damage.is_none() && last < durable {
        let (file, offset) = match &last_end {
            Some((first, end)) => {
                (file_path(place.dir, *first), u64::try_from(end.offset).unwrap_or(u64::MAX))
            }
            None => (place.dir.to_owned(), 0),
        };
        let what = format!("the log ends at commit {last}, but commit {durable} was durable");
        damage = Some(Error::corrupt(file, offset, what));
    }
    Ok(Reading { firsts, report, damage, sound, last_end })
}

/// The torn write at the end of the last file.
fn cut_tail(place: LogDir<'_>, first: Seq, end: &FileEnd) -> Option<TornTail> {
    end.torn.then(|| TornTail {
        file: file_path(place.dir, first),
        offset: u64::try_from(end.offset).unwrap_or(u64::MAX),
    })
}

/// The first commit that may not be durable: nothing says that a sync covered
/// it. Everything in files before the last is.
fn uncertain_from(first: Seq, end: &FileEnd, durable: Seq, last: Seq) -> Seq {
    let before_file = Seq::new(first.get().saturating_sub(1));
    end.durable.max(durable).max(before_file).min(last).next()
}

/// How many of the log's files, from the first, a checkpoint covers whole.
pub(crate) fn covered(firsts: &[Seq], checkpoint: Seq) -> usize {
    firsts.partition_point(|first| *first <= checkpoint.next()).saturating_sub(1)
}

/// The first sequence numbers of the log's files, in order.
pub(crate) fn list(place: LogDir<'_>) -> Result<Vec<Seq>> {
    let names = place.fs.list(place.dir).map_err(|error| Error::io("list", place.dir, error))?;
    let mut firsts: Vec<Seq> = names.iter().filter_map(|name| first_seq(name.to_str()?)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Checks a file of the log from its first frame to the one before `stop`, and
/// hands their payloads on. What follows there does not count. Returns the
/// bytes of the file, of which a piece is in memory at a time; `None` if there
/// is no such file.
pub(crate) fn check_file(
    place: LogDir<'_>,
    first: Seq,
    stop: Seq,
    each: &mut Apply<'_>,
) -> Result<Option<u64>> {
    let path = file_path(place.dir, first);
    let file = match LogFile::open(place.fs, &path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let len = u64::try_from(file.len()).unwrap_or(u64::MAX);
    match read_file(place, &path, first, Some(stop), file, each) {
        Ok(_) => Ok(Some(len)),
        Err(Stop::Unreadable(error) | Stop::Damaged(error, _) | Stop::Other(error)) => Err(error),
    }
}

enum Stop {
    /// The header is bad.
    Unreadable(Error),
    /// Nothing is known to be wrong with the file.
    Other(Error),
    /// A frame is bad, those before it are good.
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
        let what = format!("the file begins at commit {}, its name says {first}", header.number);
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
            // The rest, if any, was written again in the file that follows.
            return Ok(end);
        }
        match end.file.frame(&frames, end.offset).map_err(failed)? {
            Some(frame) if frame.seq == end.next => {
                let (durable, size) = (frame.durable, frame.size);
                match apply(frame.seq, Logged { around: frame.around, part: frame.part }) {
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
                break format!("commit {} stands where {} belongs", frame.seq, end.next);
            }
            None if stop.is_some() => {
                break format!("no whole frame where commit {} belongs", end.next);
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
    let error = Error::corrupt(path, u64::try_from(end.offset).unwrap_or(u64::MAX), damage);
    Err(Stop::Damaged(error, Box::new(end)))
}

enum Tail {
    /// Zeros to the end of the file.
    Clean,
    /// A write that a crash tore.
    Torn,
    /// Something was durable here once.
    Damaged(String),
}

/// Tells what follows the last good frame of the log.
///
/// A crash leaves any part of the writes since the last sync, so good frames
/// may well stand behind a bad one. Whether a sync covered the bad one is what
/// later frames say: each carries a commit that was durable when it was
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
                "no whole frame where commit {} belongs, which was durable: commit {} at byte \
                 {at} says so",
                end.next, header.seq
            )));
        }
    }
    Ok(Tail::Torn)
}

/// Writes what nothing says to be durable, of a log without damage, into a new
/// file that is yet to be given its place; `None` if there is nothing.
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
/// file and syncs it. After a sync that failed, the pages that this process
/// read may be all there is of them.
fn rewrite<'p>(
    place: LogDir<'p>,
    from: Seq,
    last: Seq,
    end: Option<(Seq, &mut FileEnd)>,
) -> Result<os::Replacement<'p>> {
    let header =
        Header { kind: FileKind::Wal, store: place.store, number: from.get(), salt: place.salt() };
    let mut replacement = os::Replacement::begin(place.fs, &file_path(place.dir, from))?;
    let mut out = header.encode().to_vec();
    let frames = Frames::new(&header);
    let durable = Seq::new(from.get().saturating_sub(1));
    let mut next = from;
    if let Some((first, FileEnd { file, next: end, mark, .. })) = end {
        // What a checkpoint covers may go on where the file does not.
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
                frame.and_then(|frame| Some((frame.size, frame.around.get(frame.part)?)))
            else {
                let at = u64::try_from(at).unwrap_or(u64::MAX);
                let what = format!("commit {next} was there a moment ago");
                return Err(Error::corrupt(path, at, what));
            };
            frames.seal(next, durable, payload, &mut out);
            at = at.saturating_add(size);
            next = next.next();
            if out.len() >= WRITE_CHUNK_BYTES {
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

/// A name that nothing has, for what could not be read.
fn damaged_path(place: LogDir<'_>, path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}{DAMAGED_SUFFIX}", place.salt()));
    PathBuf::from(name)
}

/// Renames files out of the log. The manifest says meanwhile that this is under
/// way.
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
