//! JSON lines and `.npy` arrays, the formats that the program imports and
//! exports.

pub mod json;
pub mod lines;
pub mod npy;
