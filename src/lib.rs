//! firncache
#![cfg_attr(not(test), allow(dead_code))]

mod clock;
mod error;
mod format;
mod log;
mod store;
mod sys;
mod table;
