//! Applies the log while it is read: one thread reads and decodes, another
//! decides and applies.
//!
//! An error in a batch is therefore found only after further batches were read.
//! If there was one, the whole log is read once more and each batch is applied
//! before the next one is read, which finds the place of the error.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    engine::options::Granularity,
    format::{
        header::Damage,
        wal::{Contents, LoggedBatch, Payload},
    },
    model::{
        error::{Error, Result},
        time::Seq,
    },
    state::{State, base::Base},
    store::wal::recover::{Logged, Refusal, Replay},
    write::decide::{Origin, decide},
};

/// Groups that may wait to be applied.
const WAITING: usize = 2;

type Group = Vec<(Seq, LoggedBatch, Contents)>;

/// Applies the batches of a log to a base.
pub(super) struct Replayer {
    base: Arc<Base>,
    granularity: Granularity,
    /// `None` while the other thread has it.
    state: Option<State>,
    group: Group,
    group_bytes: usize,
    other: Option<(SyncSender<Group>, JoinHandle<Option<State>>)>,
    /// Whether each batch is applied before the next one is read.
    in_turn: bool,
}

impl Replayer {
    pub(super) fn new(base: Arc<Base>, granularity: Granularity, in_turn: bool) -> Self {
        let Granularity { kind_run, threads, .. } = granularity;
        let state = Some(State::from_base(Arc::clone(&base), kind_run, threads));
        let group = Vec::new();
        Self { base, granularity, state, group, group_bytes: 0, other: None, in_turn }
    }

    /// The state, after [`settle`](Replay::settle).
    pub(super) fn into_state(self) -> Result<State> {
        self.state.ok_or_else(|| Error::internal("the log was not applied"))
    }

    fn hand_over(&mut self) -> Result<(), Refusal> {
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        if self.other.is_none()
            && let Some(mut state) = self.state.take()
        {
            let (sender, groups) = sync_channel::<Group>(WAITING);
            let work = move || {
                groups.iter().try_for_each(|group| apply(&mut state, group)).ok()?;
                Some(state)
            };
            let thread = thread::Builder::new().name("ingrain-replay".to_owned()).spawn(work);
            // If there is no thread, the log is read again, in turn.
            self.other = thread.ok().map(|thread| (sender, thread));
        }
        let sent = self.other.as_ref().is_some_and(|(sender, _)| sender.send(group).is_ok());
        // The second reading finds the cause.
        if sent { Ok(()) } else { Err(Refusal::Other(Error::internal("the log is read again"))) }
    }
}

impl Replay for Replayer {
    fn apply(&mut self, seq: Seq, logged: Logged<'_>) -> Result<(), Refusal> {
        let bytes = logged.range().len();
        let (batch, contents) = Payload::decode(logged.buffer(), logged.range().clone())?;
        if self.in_turn
            && let Some(state) = &mut self.state
        {
            return replay(state, seq, batch, &contents);
        }
        self.group_bytes += bytes;
        self.group.push((seq, batch, contents));
        if self.group_bytes < self.granularity.replay_group_bytes {
            Ok(())
        } else {
            self.hand_over()
        }
    }

    fn settle(&mut self) -> bool {
        if self.in_turn {
            return true;
        }
        let state = match self.other.take() {
            Some((sender, thread)) => {
                drop(sender);
                // After a panic, the log is read again, in turn.
                thread.join().ok().flatten()
            }
            None => self.state.take(),
        };
        let rest = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        self.state = state.and_then(|mut state| apply(&mut state, rest).ok().map(|()| state));
        self.in_turn = self.state.is_none();
        if self.in_turn {
            let Granularity { kind_run, threads, .. } = self.granularity;
            self.state = Some(State::from_base(Arc::clone(&self.base), kind_run, threads));
        }
        !self.in_turn
    }
}

fn apply(state: &mut State, group: Group) -> Result<(), Refusal> {
    group.into_iter().try_for_each(|(seq, batch, contents)| replay(state, seq, batch, &contents))
}

/// Applies a batch of the log, which was decided when it was written.
fn replay(
    state: &mut State,
    seq: Seq,
    batch: LoggedBatch,
    contents: &Contents,
) -> Result<(), Refusal> {
    let effects =
        decide(state, seq, batch.time, batch.ops, contents, Origin::Log).map_err(|error| {
            match error {
                // An error of the base, on which the batch depends. The log may be
                // sound.
                Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Io { .. } => {
                    Refusal::Other(error)
                }
                error => {
                    Damage::new(0, format!("it does not follow from the commits before: {error}"))
                        .into()
                }
            }
        })?;
    state.apply(seq, effects, contents.memory());
    Ok(())
}
