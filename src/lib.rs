//! firncache
