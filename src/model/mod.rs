//! What a store holds and what can be asked of it: nodes, edges, values, keys,
//! batches, and the errors of all of it.

pub(crate) mod batch;
pub(crate) mod catalog;
pub(crate) mod condition;
pub(crate) mod condition_text;
pub(crate) mod edge;
pub(crate) mod error;
pub(crate) mod id;
pub(crate) mod index;
pub(crate) mod key;
pub mod limits;
pub(crate) mod node;
pub(crate) mod parse;
#[cfg(feature = "serde")]
pub(crate) mod serde_impls;
#[cfg(feature = "serde")]
pub(crate) mod serde_with;
pub(crate) mod space;
pub(crate) mod time;
pub(crate) mod value;
