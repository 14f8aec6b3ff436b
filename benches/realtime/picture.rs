//! The plot: for each condition a strip for each period and contender, on two axes.

use super::{
    cell::{Cell, Condition, PERIODS},
    pipes::{Contender, duration},
    report::plot::{Anchor, LogAxis, Svg, label},
};

const WIDTH: f64 = 1_000.0;
const READ: LogAxis = LogAxis { low: 10, high: 100_000_000, from: 92.0, to: 504.0 };
const LATE: LogAxis = LogAxis { low: 1_000, high: 100_000_000, from: 564.0, to: 872.0 };

/// From one strip to the next, and from one period to the next.
const STRIP: f64 = 9.5;
const GAP: f64 = 9.0;

const PANEL: f64 = 4.0 * (4.0 * STRIP + GAP);
const HEAD: f64 = 122.0;
/// The title of a panel, and the labels of its axes.
const AROUND: f64 = 66.0;

pub fn draw(cells: &[Cell], what: &str) -> Svg {
    let of = |condition: Condition| cells.iter().filter(move |cell| cell.condition == condition);
    let shown: Vec<_> = Condition::ALL.into_iter().filter(|&condition| of(condition).next().is_some()).collect();
    let height = HEAD + shown.len() as f64 * (PANEL + AROUND) + 12.0;
    let mut svg = Svg::new(WIDTH, height, "Time in the read, and lateness of a real-time audio callback");
    svg.text(20.0, 32.0, "head", Anchor::Start, "A real-time audio callback and what it reads from");
    svg.text(20.0, 52.0, "small faint", Anchor::Start, format!("Stereo f32 at 48 kHz. {what}"));
    svg.legend(20.0, 80.0, &Contender::ALL.map(Contender::name));
    svg.strip_key(835.0, 76.0);
    let note = "Broken line: the period. All to its left is in time. A strip that goes on to the right is a stall: the contender's, or the machine's.";
    svg.text(20.0, 104.0, "small faint", Anchor::Start, note);
    for (i, &condition) in shown.iter().enumerate() {
        panel(&mut svg, HEAD + i as f64 * (PANEL + AROUND), condition, &of(condition).collect::<Vec<_>>());
    }
    svg
}

fn panel(svg: &mut Svg, y: f64, condition: Condition, cells: &[&Cell]) {
    svg.text(20.0, y + 16.0, "bold", Anchor::Start, condition.title());
    let (top, bottom) = (y + 42.0, y + 42.0 + PANEL - GAP / 2.0);
    for (axis, name) in [(READ, "time in the read"), (LATE, condition.lateness())] {
        svg.text(axis.from, y + 34.0, "small faint", Anchor::Start, name);
        for nanos in axis.decades() {
            let x = axis.at(nanos);
            svg.line((x, top), (x, bottom), "grid");
            svg.text(x, bottom + 13.0, "tiny faint", Anchor::Middle, label(nanos));
        }
    }
    let jack = condition == Condition::Jack;
    let counted = if jack { "xruns · underruns" } else { "missed · underruns" };
    svg.text(WIDTH - 16.0, y + 34.0, "small faint", Anchor::End, counted);
    for (group, period_frames) in PERIODS.into_iter().enumerate() {
        let first = top + GAP / 2.0 + group as f64 * (4.0 * STRIP + GAP);
        svg.text(82.0, first + 2.0 * STRIP + 4.0, "small", Anchor::End, format!("{period_frames} frames"));
        for axis in [READ, LATE] {
            let x = axis.at(duration(period_frames).as_nanos() as u64);
            svg.line((x, first - 1.0), (x, first + 4.0 * STRIP + 1.0), "rule");
        }
        for (series, contender) in Contender::ALL.into_iter().enumerate() {
            let mine = |cell: &&&Cell| cell.period_frames == period_frames && cell.contender == contender;
            let Some(cell) = cells.iter().find(mine) else { continue };
            let y = first + (series as f64 + 0.5) * STRIP;
            svg.strip(&READ, y, series, &cell.read);
            svg.strip(&LATE, y, series, &cell.late);
            // What JACK's server counts, it counts better than its client.
            let missed = if jack { cell.xruns } else { cell.missed };
            if missed + cell.underruns > 0 {
                let count = format!("{missed} · {} of {}", cell.underruns, cell.read.count());
                svg.text(WIDTH - 16.0, y + 3.0, "micro", Anchor::End, count);
            }
        }
    }
}
