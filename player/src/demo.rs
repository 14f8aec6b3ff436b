//! The demo: a station of our own, and a player that listens to it as to any other.

use std::time::Duration;

use thiserror::Error;

use crate::output::{Output, OutputError, OutputOptions};
use crate::player::{PlayError, PlayOptions, Player};
use crate::station::{Station, StationError};
use crate::status::Display;
use crate::summary::Summary;

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
    /// The output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The player.
    #[error(transparent)]
    Play(#[from] PlayError),
}

/// Goes on air, listens, and says what it came to.
///
/// # Errors
/// If the station cannot go on air, or cannot be played.
pub fn run(options: &DemoOptions, player: Player, display: &mut Display) -> Result<Summary, DemoError> {
    // What can fail for a wrong argument fails before anything has begun.
    let output = Output::open(&options.output)?;
    let note = output.note();
    let station = Station::go_on_air(options.seed)?;
    let play = PlayOptions { url: station.url(), output, limit: Some(options.limit) };
    display.announce(&format!("{} on air at {}", crate::station::NAME, play.url));
    if let Some(note) = note {
        display.announce(&note);
    }
    Ok(player.play(play, display)?)
}
