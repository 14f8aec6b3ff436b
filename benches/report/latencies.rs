//! How long something took, many times.

use hdrhistogram::Histogram;
use std::fmt;

/// A histogram of nanoseconds.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Self {
        // A minute is more than anything here can take and still be measured; three digits are more than repeat.
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are good"))
    }

    /// Not for a callback: it may touch new memory.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What so many of 100 did not exceed; nothing if there was none.
    pub fn percentile(&self, percent: f64) -> Nanos {
        Nanos(self.0.value_at_percentile(percent))
    }

    pub fn max(&self) -> Nanos {
        Nanos(self.0.max())
    }

    /// The four that are shown everywhere: half, 99 %, 99.9 %, all.
    pub fn summary(&self) -> [Nanos; 4] {
        [self.percentile(50.0), self.percentile(99.0), self.percentile(99.9), self.max()]
    }
}

/// The names of what [`Latencies::summary`] gives.
pub const SUMMARY: [&str; 4] = ["p50", "p99", "p99.9", "max"];

/// A time, printed with three digits and its unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            nanos if nanos < 1_000 => (nanos as f64, "ns"),
            // What would be rounded to a thousand is one of the next.
            nanos if nanos < 999_500 => (nanos as f64 / 1e3, "µs"),
            nanos if nanos < 999_500_000 => (nanos as f64 / 1e6, "ms"),
            nanos => (nanos as f64 / 1e9, "s"),
        };
        let digits = match value {
            _ if unit == "ns" => 0,
            value if value < 10.0 => 2,
            value if value < 100.0 => 1,
            _ => 0,
        };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}
