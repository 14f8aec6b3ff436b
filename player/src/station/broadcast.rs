//! What is on air: an encoder that writes a ring in real time, and listeners that read it.
//!
//! The ring is the library's plainest use: one writer that waits for nobody, any number of readers. The stream's header
//! is pinned beside the window, so that a listener can start in the middle; one that is too slow is overtaken, is told
//! so, and joins again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roundelay::{CancelToken, Cursor, OnLap, Reader, Resource, RingDriver, RingOptions, StorageError, Writer};

use super::StationError;
use super::flac::{BLOCK_FRAMES, FlacEncoder};
use super::music::{self, CHANNELS, Music, RATE_HZ, SONG_FRAMES};
use crate::timeline::Timeline;

/// Some six seconds: a listener that stalls for longer loses some.
const RING_BYTES: usize = 512 << 10;

/// A new listener starts this far behind the live edge and gets all of it at once, so that it can begin to play, and
/// has something in hand when the network stutters. Icecast calls it the burst.
pub(super) const BURST: Duration = Duration::from_secs(2);

/// A listener looks up this often when nothing comes.
const LOOK_UP: Duration = Duration::from_secs(1);

/// The broadcast, as listeners see it. A clone is the same broadcast.
#[derive(Clone, Debug)]
pub(super) struct Broadcast {
    ring: Resource<RingDriver>,
    log: Arc<Log>,
}

/// What a listener has to know beside the bytes.
#[derive(Debug, Default)]
struct Log {
    titles: Timeline,
    /// The offsets at which FLAC frames start, oldest first; those of the window, and a few more.
    frame_starts: Mutex<VecDeque<u64>>,
}

impl Log {
    fn frame_starts(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.frame_starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame_starts_at(&self, offset: u64, oldest: u64) {
        let mut starts = self.frame_starts();
        while starts.front().is_some_and(|&start| start < oldest) {
            starts.pop_front();
        }
        starts.push_back(offset);
    }

    /// The start of the frame that lies `BURST` behind the newest, or of the oldest one.
    fn joining_point(&self) -> Option<u64> {
        let starts = self.frame_starts();
        let newest = starts.len().checked_sub(1)?;
        starts.get(newest.saturating_sub(blocks_in(BURST) as usize)).copied()
    }
}

fn blocks_in(time: Duration) -> u64 {
    (time.as_secs_f64() * f64::from(RATE_HZ) / BLOCK_FRAMES as f64).round() as u64
}

impl Broadcast {
    /// Opens the ring. Nothing is on air until the programme runs.
    pub(super) fn open(cancel: CancelToken, seed: u64) -> Result<(Self, Programme), StationError> {
        let ring = Resource::open(cancel, RingOptions::new(RING_BYTES))?;
        let mut writer = ring.writer()?;
        let encoder = FlacEncoder::new()?;
        writer.set_preamble(&encoder.header()?)?;
        let broadcast = Self { ring, log: Arc::default() };
        let programme = Programme { log: broadcast.log.clone(), writer, encoder, seed };
        Ok((broadcast, programme))
    }

    /// A listener, two seconds behind the live edge.
    pub(super) fn join(&self) -> Listener {
        let cursor = self.ring.cursor(OnLap::Error);
        let mut listener = Listener { cursor, log: self.log.clone() };
        listener.go_to_joining_point();
        listener
    }
}

/// Reads the broadcast on behalf of one client.
#[derive(Debug)]
pub(super) struct Listener {
    cursor: Cursor<RingDriver>,
    log: Arc<Log>,
}

impl Listener {
    /// What every listener needs first.
    pub(super) fn header(&self) -> Arc<[u8]> {
        self.reader().preamble()
    }

    fn reader(&self) -> &Reader<RingDriver> {
        self.cursor.reader()
    }

    /// Waits for bytes, and gives the title that is heard with them.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`] when the station closes.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<(usize, Option<String>), StorageError> {
        loop {
            let position = self.cursor.position();
            match self.cursor.read_timeout(buf, LOOK_UP) {
                Ok(length) => return Ok((length, self.log.titles.title_at(position))),
                // Overtaken. The oldest byte that is left lies somewhere inside a frame; decoders want whole ones.
                Err(StorageError::Evicted { .. }) => self.go_to_joining_point(),
                Err(StorageError::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn go_to_joining_point(&mut self) {
        let joining_point = self.log.joining_point().unwrap_or_else(|| self.reader().live_edge());
        if self.cursor.seek_to(joining_point).is_err() {
            // Evicted since: only after a stall of seconds between these two lines.
            self.cursor.seek_live();
        }
    }
}

/// What is to be broadcast: music, encoded, written to the ring in real time.
#[derive(Debug)]
pub(super) struct Programme {
    log: Arc<Log>,
    writer: Writer<RingDriver>,
    encoder: FlacEncoder,
    seed: u64,
}

impl Programme {
    /// Broadcasts until the ring is cancelled.
    pub(super) fn run(mut self) {
        let mut music = Music::new(self.seed);
        let mut samples = vec![0; BLOCK_FRAMES * CHANNELS];
        let went_on_air = Instant::now();
        for block in 0.. {
            // The first two seconds go out at once: that is the burst of the first listener.
            if let Some(due) = block_start(block).checked_sub(BURST) {
                std::thread::sleep(due.saturating_sub(went_on_air.elapsed()));
            }
            self.note_title(music.position());
            music.render(&mut samples);
            match self.broadcast(&samples) {
                Ok(()) => {}
                Err(StationError::Storage(StorageError::Cancelled)) => return,
                Err(error) => return self.writer.fail(StorageError::other(error)),
            }
        }
    }

    /// Notes the title if a song starts in the block that starts at `position`.
    fn note_title(&mut self, position: u64) {
        let song = (position + BLOCK_FRAMES as u64 - 1) / SONG_FRAMES;
        if song * SONG_FRAMES >= position {
            self.log.titles.titled(self.writer.position(), music::title(self.seed, song));
        }
    }

    fn broadcast(&mut self, samples: &[i16]) -> Result<(), StationError> {
        let frame = self.encoder.encode(samples)?;
        // Noted before it is published: a listener that joins in between waits for it.
        self.log.frame_starts_at(self.writer.position(), self.writer.window().start);
        self.writer.append(frame)?;
        Ok(())
    }
}

/// When a block is due, from the start of the programme.
fn block_start(block: u64) -> Duration {
    Duration::from_nanos(block * BLOCK_FRAMES as u64 * 1_000_000_000 / u64::from(RATE_HZ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode_seconds(programme: &mut Programme, seconds: u64) {
        let mut music = Music::new(programme.seed);
        let mut samples = vec![0; BLOCK_FRAMES * CHANNELS];
        for _ in 0..blocks_in(Duration::from_secs(seconds)) {
            music.render(&mut samples);
            programme.broadcast(&samples).unwrap();
        }
    }

    fn starts_with_frame(bytes: &[u8]) -> bool {
        bytes[0] == 0xff && bytes[1] == 0xf8
    }

    #[test]
    fn a_listener_joins_two_seconds_behind_at_the_start_of_a_frame() {
        let (broadcast, mut programme) = Broadcast::open(CancelToken::new(), 1).unwrap();
        encode_seconds(&mut programme, 4);
        let mut listener = broadcast.join();
        let behind = listener.cursor.lag() as f64 / programme.writer.position() as f64 * 4.0;
        assert!((1.5..2.7).contains(&behind), "{behind} s behind");
        let mut buf = [0; 4096];
        let (length, _) = listener.read(&mut buf).unwrap();
        assert!(length == buf.len() && starts_with_frame(&buf));
    }

    #[test]
    fn a_listener_that_was_overtaken_goes_on_at_the_start_of_a_frame() {
        let (broadcast, mut programme) = Broadcast::open(CancelToken::new(), 1).unwrap();
        encode_seconds(&mut programme, 3);
        let mut listener = broadcast.join();
        let mut buf = [0; 1000];
        listener.read(&mut buf).unwrap();
        encode_seconds(&mut programme, 15);
        listener.read(&mut buf).unwrap();
        assert!(starts_with_frame(&buf));
        assert_eq!(listener.cursor.laps(), 1);
    }

    #[test]
    fn closing_the_station_ends_its_listeners() {
        let cancel = CancelToken::new();
        let (broadcast, mut programme) = Broadcast::open(cancel.clone(), 1).unwrap();
        let mut listener = broadcast.join();
        let waiting = std::thread::spawn(move || listener.read(&mut [0; 16]));
        cancel.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(StorageError::Cancelled)));
        assert!(matches!(
            programme.broadcast(&vec![0; BLOCK_FRAMES * CHANNELS]),
            Err(StationError::Storage(StorageError::Cancelled))
        ));
    }

    #[test]
    fn each_song_is_announced_where_it_starts() {
        let (broadcast, mut programme) = Broadcast::open(CancelToken::new(), 1).unwrap();
        for block in 0..=SONG_FRAMES / BLOCK_FRAMES as u64 {
            programme.note_title(block * BLOCK_FRAMES as u64);
            programme.writer.append(b"a block").unwrap();
        }
        let last_block = programme.writer.position() - 1;
        assert_eq!(broadcast.log.titles.title_at(0), Some(music::title(1, 0)));
        assert_eq!(broadcast.log.titles.title_at(last_block - 7), Some(music::title(1, 0)));
        assert_eq!(broadcast.log.titles.title_at(last_block), Some(music::title(1, 1)));
    }
}
