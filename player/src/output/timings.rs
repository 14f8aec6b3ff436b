//! How long the callback takes: measured in the callback, counted elsewhere.
//!
//! The way from the one to the other is a ring of the library's: the callback appends four bytes a call, silently, which
//! costs it no fence and no system call, and never makes it wait. The status reads along. Should it be away for longer
//! than the ring lasts, it is overtaken and loses old times, and the callback knows nothing of it.

use std::time::Duration;

use hdrhistogram::Histogram;
use roundelay::{CancelToken, Cursor, OnLap, Publication, Resource, RingDriver, RingOptions, StorageError, Writer};

use crate::summary::CallbackNs;

const ENTRY_BYTES: usize = size_of::<u32>();

/// 87 seconds of periods of 256 frames.
const RING_BYTES: usize = 64 << 10;

/// Opens the way.
pub(super) fn open() -> Result<(TimingsWriter, Timings), StorageError> {
    let options = RingOptions { lock_memory: true, ..RingOptions::new(RING_BYTES) };
    let ring = Resource::open(CancelToken::new(), options)?;
    let mut writer = ring.writer()?;
    writer.set_publication(Publication::SILENT);
    let cursor = ring.cursor(OnLap::SkipToOldest);
    Ok((TimingsWriter { writer }, Timings { cursor, histogram: new_histogram() }))
}

/// To a ten-second call, with three digits.
fn new_histogram() -> Histogram<u64> {
    // The arguments are constants that the crate documents as valid.
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("1 ns to 10 s in three digits is a valid histogram")
}

/// The callback's end.
#[derive(Debug)]
pub(super) struct TimingsWriter {
    writer: Writer<RingDriver>,
}

impl TimingsWriter {
    /// Records a call.
    ///
    /// # Real-time
    /// Wait-free. Never allocates, frees, locks or enters the kernel.
    pub(super) fn record(&mut self, took: Duration) {
        let nanos = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
        // Fails only for a ring that was cancelled or committed, and nobody does that.
        let _ = self.writer.append(&nanos.to_ne_bytes());
    }
}

/// The times, counted.
#[derive(Debug)]
pub struct Timings {
    cursor: Cursor<RingDriver>,
    histogram: Histogram<u64>,
}

impl Timings {
    /// Counts what was recorded since the last call.
    pub fn collect(&mut self) {
        let mut entries = [0; 512 * ENTRY_BYTES];
        // An error is "not yet": there is no more for now.
        while let Ok(length) = self.cursor.try_read(&mut entries)
            && length > 0
        {
            for entry in entries[..length].as_chunks::<ENTRY_BYTES>().0 {
                self.histogram.saturating_record(u32::from_ne_bytes(*entry).into());
            }
        }
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.cursor.position() / ENTRY_BYTES as u64
    }

    /// How long they took.
    #[must_use]
    pub fn percentiles(&self) -> CallbackNs {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        CallbackNs { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: self.histogram.max() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted() {
        let (mut writer, mut timings) = open().unwrap();
        for micros in 1..=1000 {
            writer.record(Duration::from_micros(micros));
            if micros % 300 == 0 {
                timings.collect();
            }
        }
        timings.collect();
        assert_eq!(timings.calls(), 1000);
        let CallbackNs { p50, p99, p999, max } = timings.percentiles();
        for (measured, expected) in [(p50, 500_000), (p99, 990_000), (p999, 999_000), (max, 1_000_000)] {
            assert!(measured.abs_diff(expected) <= expected / 500, "{measured} is not {expected}");
        }
    }

    #[test]
    fn a_status_that_was_away_for_too_long_loses_times_and_no_calls() {
        let (mut writer, mut timings) = open().unwrap();
        let calls = (3 * RING_BYTES / ENTRY_BYTES) as u64;
        for _ in 0..calls {
            writer.record(Duration::from_nanos(77));
        }
        timings.collect();
        assert_eq!(timings.calls(), calls);
        assert_eq!(timings.percentiles().max, 77);
        assert_eq!(timings.percentiles().p50, 77);
    }
}
