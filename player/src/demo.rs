//! The demo: a station of our own, and a player that listens to it as to any other.

use std::time::Duration;

use thiserror::Error;

use crate::media::WindowSize;
use crate::output::OutputOptions;
use crate::player::{PlayError, PlayOptions, Player};
use crate::station::{Station, StationError};
use crate::status::Display;
use crate::summary::Summary;

/// What the ring holds: some ten seconds of FLAC.
const RING_BYTES: u64 = 1 << 20;

/// What to play, and where to.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Stop after so much audio.
    pub limit: Duration,
    /// The output.
    pub output: OutputOptions,
    /// Picks the programme.
    pub seed: u64,
}

/// Why there was no demo.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The station.
    #[error(transparent)]
    Station(#[from] StationError),
    /// The player.
    #[error(transparent)]
    Play(#[from] PlayError),
}

/// Goes on air, listens, and says what it came to.
///
/// # Errors
/// If the station cannot go on air, or cannot be played.
pub fn run(options: &DemoOptions, player: Player, display: &mut Display) -> Result<Summary, DemoError> {
    let station = Station::go_on_air(options.seed)?;
    let play = PlayOptions {
        limit: Some(options.limit),
        window: WindowSize::Bytes(RING_BYTES),
        introduction: Some(format!("{} on air at {}", crate::station::NAME, station.url())),
        ..PlayOptions::new(station.url(), options.output.clone())
    };
    Ok(player.play(&play, display).into_result()?)
}
