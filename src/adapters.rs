//! The handles as other crates want them.

#[cfg(feature = "symphonia")]
mod symphonia;
