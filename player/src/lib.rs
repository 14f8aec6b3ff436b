//! The parts of the program `roundelay`, as a library for its tests and fuzz targets. Nothing here is a stable
//! interface; the library to build on is `roundelay` itself.
//!
//! Start at [`player`], which draws the whole chain; or at [`get`], which fetches files.

pub mod address;
pub mod bit_rate;
pub mod convert;
pub mod decode;
pub mod demo;
pub mod drift;
pub mod get;
pub mod head;
pub mod icy;
pub mod interrupt;
pub mod keys;
pub mod media;
pub mod output;
pub mod player;
pub mod playlist;
pub mod programme;
mod redirects;
pub mod response_head;
pub mod source;
pub mod station;
pub mod status;
pub mod summary;
pub mod text;
pub mod timeline;
pub mod wave;
