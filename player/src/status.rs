//! The live status: a few lines on standard error that are drawn over and over.
//!
//! ```text
//! ♪ Kestrel Society - Amber Windows                                 0:07 / 0:20
//! window ▕▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒████          ▏ 6.9 s behind · 1.9 s ahead · 684 kbit/s
//! L ▕█████████████████████     |   ▏ -14.2   R ▕████████████████████    |   ▏ -15.0 dBFS
//! 0 underruns · callback 0.4 µs p50, 1.2 µs p99, 9.8 µs at worst
//! ```
//!
//! *Behind* is what the window still holds of what was heard, and how far one could go back. *Ahead* is what is there
//! to be heard, which is also how far the playhead is behind the live edge.

mod meter;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show};
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType};
use crossterm::{execute, queue, terminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use meter::{Level, Meter};

use crate::summary::{CallbackNs, Micros};
use crate::text;

/// Without a terminal, a line is printed this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Wider than this the bars say no more.
const MAX_COLUMNS: usize = 100;

/// Narrower than this a bar says nothing.
const MIN_BAR_CELLS: usize = 4;

/// What the player is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the station to answer.
    #[default]
    Connecting,
    /// Collecting enough to start, or to go on.
    Buffering {
        /// How much audio is there.
        there: Duration,
        /// How much there has to be.
        wanted: Duration,
    },
    /// Audio goes to the output.
    Playing,
    /// The listener has paused.
    Paused,
    /// Audio goes to the output, from what is left; the connection is being made again.
    Reconnecting,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Since it began.
    pub seconds: f64,
    /// How long it lasts, as far as is known.
    pub duration: Option<f64>,
    /// Whether that is what the file says, and no estimate.
    pub is_exact: bool,
}

/// Everything that is shown, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the player is doing.
    pub phase: Phase,
    /// The title that is heard, or the station's name.
    pub title: Option<String>,
    /// What is more important than the title, for a while.
    pub notice: Option<String>,
    /// How much was played.
    pub played: Duration,
    /// How much is to be played, if not until the end.
    pub limit: Option<Duration>,
    /// Whether the stream goes on by itself.
    pub is_live: bool,
    /// Of a file, where in it.
    pub position: Option<Position>,
    /// What the window can hold, in bytes.
    pub window_capacity: u64,
    /// What it holds of what was heard, in bytes.
    pub behind_bytes: u64,
    /// What it holds of what is still to be heard, in bytes.
    pub ahead_bytes: u64,
    /// How long the first of these lasts, as far as is known.
    pub behind_seconds: Option<f64>,
    /// How long the second lasts.
    pub ahead_seconds: Option<f64>,
    /// Bits in a second of audio, as far as is known.
    pub bits_per_second: Option<f64>,
    /// What is decoded.
    pub codec: Option<String>,
    /// How much faster than it says the stream is played, in millionths.
    pub drift_ppm: i64,
    /// One for each channel.
    pub levels: Vec<Level>,
    /// Calls of the callback that found fewer frames than they wanted.
    pub underruns: u64,
    /// Times that playing paused for want of audio.
    pub rebuffers: u64,
    /// How long the callback takes.
    pub callback_ns: CallbackNs,
}

impl Snapshot {
    /// The lines, none of them wider than `columns`.
    fn lines(&self, columns: usize) -> Vec<String> {
        let columns = columns.min(MAX_COLUMNS);
        let lines =
            [self.title_line(columns), self.window_line(columns), self.level_line(columns), self.figures_line()];
        lines.into_iter().chain(self.codec_line()).map(|line| fit(&line, columns)).collect()
    }

    fn title_line(&self, columns: usize) -> String {
        let title = self.notice.as_deref().or(self.title.as_deref());
        let what = match self.phase {
            Phase::Connecting => format!("connecting …  {}", title.unwrap_or("")).trim_end().to_owned(),
            Phase::Buffering { there, wanted } => {
                let title = title.unwrap_or("");
                format!("buffering {} / {} ms …  {title}", there.min(wanted).as_millis(), wanted.as_millis())
            }
            Phase::Reconnecting => format!("reconnecting …  ♪ {}", title.unwrap_or("")),
            Phase::Paused => format!("‖ {}", title.unwrap_or("paused")),
            Phase::Playing => format!("♪ {}", title.unwrap_or("(no title)")),
        };
        let clock = self.clock();
        let room = columns.saturating_sub(clock.width() + 2);
        let what = fit(&what, room);
        let gap = room.saturating_sub(what.width()) + 2;
        format!("{what}{:gap$}{clock}", "")
    }

    /// Where in a file, or how much of a stream was heard.
    fn clock(&self) -> String {
        match (self.position, self.limit) {
            (Some(Position { seconds, duration, is_exact }), _) => {
                let mut clock = minutes(Duration::from_secs_f64(seconds.max(0.0)));
                if let Some(duration) = duration {
                    let about = if is_exact { "" } else { "about " };
                    let _ = write!(clock, " / {about}{}", minutes(Duration::from_secs_f64(duration.max(0.0))));
                }
                clock
            }
            (None, Some(limit)) => format!("{} / {}", minutes(self.played), minutes(limit)),
            (None, None) => minutes(self.played),
        }
    }

    fn window_line(&self, columns: usize) -> String {
        let mut figures = match (self.behind_seconds, self.ahead_seconds, self.position) {
            (Some(behind), Some(ahead), _) => format!("{} behind · {} ahead", span(behind), span(ahead)),
            (.., Some(_)) if self.window_capacity > 0 => {
                let here = self.behind_bytes + self.ahead_bytes;
                format!("{} % at hand", here.min(self.window_capacity) * 100 / self.window_capacity)
            }
            _ => format!("{} KiB", (self.behind_bytes + self.ahead_bytes) >> 10),
        };
        if let Some(rate) = self.bits_per_second {
            let _ = write!(figures, " · {:.0} kbit/s", rate / 1e3);
        }
        let label = if self.position.is_some() { "file " } else { "window " };
        let cells = columns.saturating_sub(label.width() + figures.width() + 3);
        if cells < MIN_BAR_CELLS {
            return format!("{label}{figures}");
        }
        format!("{label}{} {figures}", self.window_bar(cells))
    }

    /// The window as a bar: what was heard, what is still to be heard, and what is free.
    fn window_bar(&self, cells: usize) -> String {
        let capacity = self.window_capacity.max(1) as f64;
        let cells_of = |bytes: u64| (bytes as f64 / capacity * cells as f64).round() as usize;
        let behind = cells_of(self.behind_bytes).min(cells);
        let held = cells_of(self.behind_bytes + self.ahead_bytes).clamp(behind, cells);
        format!("▕{}{}{}▏", "▒".repeat(behind), "█".repeat(held - behind), " ".repeat(cells - held))
    }

    fn level_line(&self, columns: usize) -> String {
        let names: &[&str] = if self.levels.len() == 2 { &["L", "R"] } else { &[""] };
        let each = (columns + 2) / self.levels.len().max(1);
        let bars = self.levels.iter().enumerate().map(|(channel, level)| {
            let name = names.get(channel).unwrap_or(&"");
            // The name, two edges, "-60.0 dBFS", and the spaces between them and behind.
            level.bar(name, each.saturating_sub(name.width() + 17))
        });
        bars.collect::<Vec<_>>().join("  ")
    }

    /// What is decoded, and how its clock is followed.
    fn codec_line(&self) -> Option<String> {
        let mut line = self.codec.clone()?;
        if self.is_live {
            let _ = match self.drift_ppm {
                0 => write!(line, " · clock steady"),
                ppm => write!(line, " · clock {ppm:+} ppm"),
            };
        }
        if self.rebuffers > 0 {
            let _ = write!(line, " · paused {} for want of audio", times(self.rebuffers));
        }
        Some(line)
    }

    fn figures_line(&self) -> String {
        let CallbackNs { p50, p99, max, .. } = self.callback_ns;
        format!(
            "{} underrun{} · callback {} p50, {} p99, {} at worst",
            self.underruns,
            if self.underruns == 1 { "" } else { "s" },
            Micros(p50),
            Micros(p99),
            Micros(max)
        )
    }

    /// All in one line, for a log.
    fn plain(&self) -> String {
        let what = match self.phase {
            Phase::Connecting => "connecting: ",
            Phase::Buffering { .. } => "buffering: ",
            Phase::Reconnecting => "reconnecting: ",
            Phase::Paused => "paused: ",
            Phase::Playing => "",
        };
        let title = self.notice.as_deref().or(self.title.as_deref()).unwrap_or("(no title)");
        let percent = (self.behind_bytes + self.ahead_bytes) * 100 / self.window_capacity.max(1);
        let behind = self.behind_seconds.unwrap_or(0.0);
        let ahead = self.ahead_seconds.unwrap_or(0.0);
        let kilobits = self.bits_per_second.unwrap_or(0.0) / 1e3;
        let window = if self.is_live {
            format!("window {percent} %, {behind:.1} s behind, {ahead:.1} s ahead, {kilobits:.0} kbit/s")
        } else {
            format!("file {percent} % at hand, {kilobits:.0} kbit/s")
        };
        format!("{}: {what}{title} | {window} | {}", self.clock(), self.figures_line())
    }
}

/// Seconds, or minutes where there are many.
fn span(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { minutes(Duration::from_secs_f64(seconds)) }
}

fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// Cuts `text` to `columns`, and shows that it did.
fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut width = 0;
    let mut cut = String::new();
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        // One column is for the ellipsis.
        if width >= columns {
            break;
        }
        cut.push(c);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// Where the status is shown.
#[derive(Debug)]
pub enum Display {
    /// On a terminal, drawn over.
    Terminal(Drawn),
    /// In a log: a line every few seconds.
    Plain {
        /// When the next line is due.
        next: Instant,
    },
}

/// What is on the terminal now.
#[derive(Debug, Default)]
pub struct Drawn {
    /// Of the lines.
    widths: Vec<usize>,
    /// What keys there are.
    help: Option<&'static str>,
}

impl Display {
    /// The display that suits standard error.
    #[must_use]
    pub fn on_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Terminal(Drawn::default())
        } else {
            Self::Plain { next: Instant::now() + PLAIN_INTERVAL }
        }
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Shows what keys there are, below all else.
    pub fn set_keys(&mut self, help: &'static str) {
        if let Self::Terminal(drawn) = self {
            drawn.help = Some(help);
        }
    }

    /// Says something that is to stay, above the status.
    pub fn announce(&mut self, text: &str) {
        self.finish();
        // A terminal whose keys are read one by one does not go to the beginning of a line by itself. If standard error
        // cannot be written to, the next status says so.
        let end = if self.is_terminal() { "\r\n" } else { "\n" };
        let _ = write!(io::stderr(), "{}{end}", text::for_people(text));
    }

    /// Shows the status.
    ///
    /// # Errors
    /// If standard error cannot be written to.
    pub fn show(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        match self {
            Self::Terminal(drawn) => {
                let (columns, rows) = terminal_size();
                drawn.draw(&mut io::stderr().lock(), snapshot, columns, rows)
            }
            Self::Plain { next } => {
                let now = Instant::now();
                if now < *next {
                    return Ok(());
                }
                *next = now + PLAIN_INTERVAL;
                writeln!(io::stderr(), "{}", snapshot.plain())
            }
        }
    }

    /// Leaves the last status where it is, with the cursor on a line of its own.
    pub fn finish(&mut self) {
        let Self::Terminal(drawn) = self else { return };
        if !drawn.widths.is_empty() {
            drawn.widths.clear();
            show_cursor();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // Also when something failed: nobody should have to type `reset`.
        self.finish();
    }
}

/// Columns and rows of the terminal. A pipe or a serial line may have none, or say that it has no room at all; eighty
/// columns have always been right.
#[must_use]
pub fn terminal_size() -> (usize, usize) {
    match terminal::size() {
        Ok((columns @ 1.., rows @ 1..)) => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}

/// Gives the terminal back as it was: for a program that is about to end where it stands.
pub fn give_back_terminal() {
    // Nothing, if it was never taken. The cursor is then on a line of its own.
    let _ = terminal::disable_raw_mode();
    show_cursor();
}

/// Shows the cursor again, on a terminal.
fn show_cursor() {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // A terminal that is gone needs no cursor.
        let _ = execute!(stderr, Print("\r\n"), Show);
    }
}

impl Drawn {
    fn draw(&mut self, terminal: &mut impl Write, snapshot: &Snapshot, columns: usize, rows: usize) -> io::Result<()> {
        // Not to the last column, where some terminals wrap at once and some do not.
        let mut lines = snapshot.lines(columns.saturating_sub(1));
        lines.extend(self.help.map(|help| fit(help, columns.saturating_sub(1))));
        lines.truncate(rows.max(1));
        // Collected and written at once, so that no half of it is ever seen.
        let mut out = Vec::new();
        queue!(out, Hide, MoveToColumn(0))?;
        let above = self.rows_above_cursor(columns);
        if above > 0 {
            queue!(out, MoveUp(above))?;
        }
        // Line by line over what was there: some terminals keep a copy in their history of a screen that is cleared at
        // once. The whole of each line, or a line that was broken when the terminal became narrower stays a broken one.
        for (row, line) in lines.iter().enumerate() {
            let line_end = if row + 1 < lines.len() { "\r\n" } else { "" };
            queue!(out, Clear(ClearType::CurrentLine), Print(line), Print(line_end))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        self.widths = lines.iter().map(|line| line.width()).collect();
        terminal.write_all(&out)?;
        terminal.flush()
    }

    /// How many rows the lines take up before the one that the cursor is in. When the terminal became narrower since,
    /// it has broken them.
    fn rows_above_cursor(&self, columns: usize) -> u16 {
        let rows = self.widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum::<usize>();
        u16::try_from(rows.saturating_sub(1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut meter = Meter::new(2);
        meter.show(&[0.25, -0.5, 0.1, 0.0], Duration::from_millis(50));
        Snapshot {
            phase: Phase::Playing,
            title: Some("東京スカパラダイスオーケストラ - Kestrel Society & the Half-Lit Windows".into()),
            played: Duration::from_secs(67),
            limit: Some(Duration::from_secs(120)),
            window_capacity: 1 << 20,
            behind_bytes: 600_000,
            ahead_bytes: 160_000,
            behind_seconds: Some(7.02),
            ahead_seconds: Some(1.87),
            is_live: true,
            codec: Some("FLAC, 48 kHz, stereo".into()),
            drift_ppm: 35,
            bits_per_second: Some(684_000.0),
            levels: meter.levels().to_vec(),
            callback_ns: CallbackNs { p50: 400, p99: 1_200, p999: 5_000, max: 9_800 },
            ..Snapshot::default()
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let buffering = Phase::Buffering { there: Duration::from_millis(340), wanted: Duration::from_secs(1) };
        for phase in [Phase::Connecting, buffering, Phase::Playing, Phase::Paused, Phase::Reconnecting] {
            let snapshot = Snapshot { phase, ..snapshot() };
            for columns in 0..200 {
                for line in snapshot.lines(columns) {
                    assert!(line.width() <= columns, "{columns} columns, {} used: {line}", line.width());
                }
            }
        }
    }

    #[test]
    fn eighty_columns_show_everything() {
        let lines = snapshot().lines(79);
        assert!(lines[0].starts_with("♪ 東京") && lines[0].ends_with("1:07 / 2:00"), "{}", lines[0]);
        assert!(lines[1].ends_with("▏ 7.0 s behind · 1.9 s ahead · 684 kbit/s"), "{}", lines[1]);
        assert!(lines[1].contains("▕▒") && lines[1].contains("▒█"), "{}", lines[1]);
        assert!(lines[2].contains("-12.0") || lines[2].contains("-6.0"), "{}", lines[2]);
        assert_eq!(lines[3], "0 underruns · callback 0.4 µs p50, 1.2 µs p99, 9.8 µs at worst");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_counted() {
        let drawn = Drawn { widths: vec![79, 79, 60, 0], help: None };
        assert_eq!(drawn.rows_above_cursor(80), 3);
        assert_eq!(drawn.rows_above_cursor(40), 6);
    }

    #[test]
    fn a_status_is_drawn_over_the_one_before() {
        let mut drawn = Drawn::default();
        let mut out = Vec::new();
        drawn.draw(&mut out, &snapshot(), 80, 24).unwrap();
        assert!(!String::from_utf8(out.clone()).unwrap().contains("\u{1b}[4A"), "nothing to go up to yet");
        out.clear();
        drawn.draw(&mut out, &snapshot(), 80, 24).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\u{1b}[4A"));
    }
}
