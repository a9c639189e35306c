//! Vector search compared with an exhaustive comparison, for all kinds of
//! writes and all methods, with files that are damaged, fail, crash, or are
//! replaced while readers use them.

mod agreement;
mod background;
mod damage;
#[cfg(feature = "hnsw")]
mod graphs;
mod limits;
mod model;
mod readers;
mod recall;
#[cfg(feature = "sim")]
mod simulated;
mod spaces;
mod stored;
mod strangers;
