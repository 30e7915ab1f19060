//! What the fuzz targets share.
pub mod flow;
pub mod gateway;
