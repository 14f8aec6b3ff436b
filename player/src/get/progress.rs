//! What is shown while bytes come in: a bar on a terminal, and nothing but what matters in a log.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::size::Size;
use crate::status::terminal_size;
use crate::text::for_people;

/// Wider than this the bar says no more.
const MAX_COLUMNS: usize = 100;

/// Narrower than this a bar says nothing.
const MIN_BAR_CELLS: usize = 10;

/// What the connections count. Numbers to show, which order nothing else: `Relaxed`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes that were received and kept.
    fetched: AtomicU64,
    /// Tries after the first.
    retries: AtomicU64,
    /// Connections that are at work.
    open: AtomicU64,
}

impl Counts {
    pub(super) fn fetch(&self, bytes: usize) {
        self.fetched.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }
}

/// The line is drawn here; where it goes, how often, and what is above it, is the crate's.
const TEMPLATE: &str = "{msg}";

/// What is shown at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    here: Size,
    len: Option<Size>,
    /// Of late. `None` while nothing is known of it.
    bytes_per_second: Option<f64>,
    left: Duration,
    connections: u64,
    retries: u64,
}

impl Moment {
    /// All of it, or what matters most of it, in one line that is no wider than `columns`.
    fn line(&self, columns: usize) -> String {
        let columns = columns.min(MAX_COLUMNS);
        let percent = self.len.map(|len| match len.0 {
            0 => 100,
            len => (u128::from(self.here.0) * 100 / u128::from(len)).min(100),
        });
        let start = percent.map_or_else(String::new, |percent| format!("{percent:>3} % "));
        let edges = if percent.is_some() { 3 + MIN_BAR_CELLS } else { 0 };
        let mut figures = String::new();
        for figure in self.figures() {
            let separator = if figures.is_empty() { "" } else { " · " };
            let longer = format!("{figures}{separator}{figure}");
            if start.chars().count() + edges + longer.chars().count() > columns {
                break;
            }
            figures = longer;
        }
        let taken = start.chars().count() + 3 + figures.chars().count();
        let Some(percent) = percent.filter(|_| taken + MIN_BAR_CELLS <= columns) else {
            return format!("{start}{figures}").chars().take(columns).collect();
        };
        let cells = columns - taken;
        let full = cells * usize::try_from(percent).unwrap_or(0) / 100;
        format!("{start}▕{}{}▏ {figures}", "█".repeat(full), " ".repeat(cells - full))
    }

    /// What matters most comes first.
    fn figures(&self) -> Vec<String> {
        let mut figures = vec![self.len.map_or_else(|| self.here.to_string(), |len| self.here.of(len).to_string())];
        if let Some(rate) = self.bytes_per_second {
            figures.push(format!("{}/s", Size(rate as u64)));
            if self.len.is_some() {
                figures.push(format!("{} left", clock(self.left)));
            }
        }
        figures.push(count(self.connections, "connection", "connections"));
        if self.retries > 0 {
            figures.push(count(self.retries, "retry", "retries"));
        }
        figures
    }
}

/// Minutes and seconds, and hours if need be.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// The bar. Without a terminal it is not drawn.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// What was here when it began.
    resumed: u64,
    began: Instant,
    silent: bool,
}

impl Progress {
    pub(super) fn begin(len: Option<u64>, resumed: u64) -> Self {
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
        // Well formed: a test says so.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        // What was here before says nothing of the rate.
        bar.set_position(resumed);
        bar.reset_eta();
        Self { bar, resumed, began: Instant::now(), silent: false }
    }

    /// Shows nothing: somebody else does.
    pub(super) fn silent(len: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::hidden());
        Self { bar, resumed: 0, began: Instant::now(), silent: true }
    }

    pub(super) fn show(&self, counts: &Counts) {
        if self.silent {
            return;
        }
        let here = self.resumed + counts.fetched();
        self.bar.set_position(here);
        let now = Moment {
            here: Size(here),
            len: self.bar.length().map(Size),
            bytes_per_second: Some(self.bar.per_sec()).filter(|&rate| rate >= 1.0),
            left: self.bar.eta(),
            connections: counts.open.load(Relaxed),
            retries: counts.retries(),
        };
        let (columns, _) = terminal_size();
        // Not to the last column, where some terminals wrap at once and some do not.
        self.bar.set_message(now.line(columns.saturating_sub(1)));
    }

    /// Says something that is to stay, above the bar.
    pub(super) fn note(&self, text: impl Display) {
        if !self.silent {
            self.bar.suspend(|| note(text));
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The bar goes; what it came to stays.
    pub(super) fn finish(&self, counts: &Counts, connections: usize) {
        self.bar.finish_and_clear();
        if self.silent {
            return;
        }
        let seconds = self.elapsed().as_secs_f64();
        let fetched = Size(counts.fetched());
        let rate = Size((fetched.0 as f64 / seconds.max(1e-3)) as u64);
        let connections = count(connections as u64, "connection", "connections");
        let retries = count(counts.retries(), "retry", "retries");
        note(format!("{fetched} in {seconds:.1} s, {rate}/s, {connections}, {retries}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Also when something failed: the reason is to stand on a line of its own.
        self.bar.finish_and_clear();
    }
}

/// A line on standard error. If that cannot be written to, there is nobody to tell.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", for_people(&text));
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            here: Size(12_897_485),
            len: Some(Size(64 << 20)),
            bytes_per_second: Some(4.6e6),
            left: Duration::from_secs(75),
            connections: 4,
            retries: 2,
        }
    }

    #[test]
    fn the_template_is_well_formed() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let unknown = Moment { len: None, ..moment() };
        let huge = Moment { here: Size(u64::MAX), len: Some(Size(u64::MAX)), left: Duration::MAX, ..moment() };
        let empty = Moment { len: Some(Size(0)), bytes_per_second: None, ..moment() };
        for moment in [moment(), unknown, huge, empty] {
            for columns in 0..200 {
                let line = moment.line(columns);
                assert!(line.chars().count() <= columns, "{columns} columns: {line}");
            }
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything_and_a_narrow_one_what_matters_most() {
        let line = moment().line(97);
        assert!(line.starts_with(" 19 % ▕███  "), "{line}");
        assert!(line.ends_with(" ▏ 12.3 of 64.0 MiB · 4.4 MiB/s · 1:15 left · 4 connections · 2 retries"), "{line}");
        let line = moment().line(77);
        assert!(line.ends_with("▏ 12.3 of 64.0 MiB · 4.4 MiB/s · 1:15 left · 4 connections"), "{line}");
        assert!(moment().line(40).ends_with("  ▏ 12.3 of 64.0 MiB"), "{}", moment().line(40));
        assert_eq!(Moment { len: None, ..moment() }.line(40), "12.3 MiB · 4.4 MiB/s · 4 connections");
    }

    #[test]
    fn hours_are_shown_only_where_there_are_any() {
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
    }
}
