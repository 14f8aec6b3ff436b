//! The plot: for each condition a curve for each contender, on two diagrams.

use super::{
    report::{
        latencies::Latencies,
        plot::{Anchor, LogAxis, Svg, label},
    },
    runs::{Cell, Condition},
    waits::Contender,
};

const WIDTH: f64 = 1_000.0;
const HEAD: f64 = 96.0;
const PANEL: f64 = 290.0;
/// The title of a panel, and the labels of its axes.
const AROUND: f64 = 104.0;

/// Percentiles, on a scale that gives each nine as much room.
struct Nines {
    from: f64,
    to: f64,
    /// How many nines there are.
    most: f64,
}

impl Nines {
    fn at(&self, share: f64) -> f64 {
        let nines = -(1.0 - share).max(1e-9).log10();
        self.from + (nines / self.most).min(1.0) * (self.to - self.from)
    }
}

const TICKS: [(f64, &str); 6] =
    [(0.0, "best"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];

pub fn draw(cells: &[Cell], what: &str) -> Svg {
    let of = |condition: Condition| cells.iter().filter(move |cell| cell.condition == condition);
    let shown: Vec<_> = Condition::ALL.into_iter().filter(|&condition| of(condition).next().is_some()).collect();
    let height = HEAD + shown.len() as f64 * (PANEL + AROUND);
    let mut svg = Svg::new(WIDTH, height, "Waking a thread that sleeps for bytes");
    svg.text(20.0, 32.0, "head", Anchor::Start, "Waking a thread that sleeps for bytes");
    svg.text(
        20.0,
        52.0,
        "small faint",
        Anchor::Start,
        format!("Parked for a millisecond at least, on another core than the publisher. {what}"),
    );
    svg.legend(20.0, 80.0, &Contender::ALL.map(Contender::name));
    for (i, &condition) in shown.iter().enumerate() {
        panel(&mut svg, HEAD + i as f64 * (PANEL + AROUND), condition, &of(condition).collect::<Vec<_>>());
    }
    svg
}

fn panel(svg: &mut Svg, y: f64, condition: Condition, cells: &[&Cell]) {
    svg.text(20.0, y + 16.0, "bold", Anchor::Start, condition.title());
    let (top, bottom) = (y + 46.0, y + 46.0 + PANEL);
    let latency: fn(&Cell) -> &Latencies = |cell| &cell.latency;
    let publication: fn(&Cell) -> &Latencies = |cell| &cell.publication;
    for (from, name, low, of) in [
        (72.0, "from the publication to the sleeper's next instruction", 1_000, latency),
        (562.0, "time in the publication", 10, publication),
    ] {
        let count = cells.iter().map(|cell| of(cell).count()).max().unwrap_or(1).max(2);
        let times = LogAxis { low, high: 100_000_000, from: bottom, to: top };
        let nines = Nines { from, to: from + 400.0, most: (count as f64).log10().max(1.0) };
        svg.text(from, y + 36.0, "small faint", Anchor::Start, name);
        for nanos in times.decades() {
            let y = times.at(nanos);
            svg.line((nines.from, y), (nines.to, y), "grid");
            svg.text(from - 6.0, y + 3.5, "tiny faint", Anchor::End, label(nanos));
        }
        for (share, name) in TICKS {
            if -(1.0 - share).log10() <= nines.most + 0.01 {
                let x = nines.at(share);
                svg.line((x, bottom), (x, top), "grid");
                svg.text(x, bottom + 15.0, "tiny faint", Anchor::Middle, name);
            }
        }
        for cell in cells {
            let latencies = of(cell);
            if latencies.count() == 0 {
                continue;
            }
            let series = Contender::ALL.iter().position(|&c| c == cell.contender).unwrap_or(0);
            // Twenty points for each nine, up to the last that is a wait.
            let last = (latencies.count() as f64).log10();
            let steps = (last * 20.0).ceil().max(1.0);
            let points: Vec<_> = (0..=steps as u32)
                .map(|step| {
                    let share = 1.0 - 10f64.powf(-last * f64::from(step) / steps);
                    (nines.at(share), times.at(latencies.percentile(100.0 * share).0))
                })
                .collect();
            svg.path(&points, &format!("curve s{series}"));
            if let Some(&end) = points.last() {
                svg.circle(end, 3.0, &format!("f{series}"));
            }
        }
    }
    let counts: Vec<_> =
        cells.iter().map(|cell| format!("{} {:.1}", cell.contender.name(), cell.sleeps_for_a_buffer())).collect();
    let note = format!("Wakes for one wait of 64 KiB, written 1 KiB at a time: {}.", counts.join(", "));
    svg.text(20.0, bottom + 40.0, "small", Anchor::Start, note);
}
