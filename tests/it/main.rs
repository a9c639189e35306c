//! All integration tests, in one binary.
mod basics;
mod cli;
