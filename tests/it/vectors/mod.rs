//! Vector search against a comparison of everything: whatever was written, in
//! whatever way it is searched, over files that are damaged, fail, crash and
//! are replaced under the readers.

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
