//! (landing soon)
