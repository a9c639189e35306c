//! Writes to a state: the write log, and the commit step, which decides,
//! applies, logs, publishes and answers.

pub(crate) mod admission;
pub(crate) mod decide;
mod derive;
pub(crate) mod pacing;
pub(crate) mod pins;
pub(crate) mod reconciler;
pub(crate) mod stats;
pub(crate) mod ticket;
pub(crate) mod worker;
pub(crate) mod write_log;
