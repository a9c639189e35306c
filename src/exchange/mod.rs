//! JSON lines and `.npy` arrays, as the program imports and exports them.

pub mod json;
pub mod lines;
pub mod npy;
