//! Plots of times on a logarithmic axis, as an SVG that is readable on light and on dark pages.

use super::latencies::{Latencies, SUMMARY};
use std::{
    fmt::{Display, Write as _},
    io,
    path::Path,
};

/// How each contender is drawn, in the order of the legend. Told apart by those who see few colours, too, and strong
/// enough on either background.
const LIGHT: [&str; 4] = ["#0b62c4", "#d1480c", "#0a8a63", "#7a4fb5"];
const DARK: [&str; 4] = ["#5aa9ff", "#ff8a4c", "#3fcf9e", "#c19bf5"];

/// From the first power of ten to the last, in nanoseconds, over so many pixels.
#[derive(Clone, Copy)]
pub struct LogAxis {
    pub low: u64,
    pub high: u64,
    pub from: f64,
    pub to: f64,
}

impl LogAxis {
    pub fn at(&self, nanos: u64) -> f64 {
        let log = |nanos: u64| (nanos as f64).ln();
        let nanos = nanos.clamp(self.low, self.high);
        self.from + (log(nanos) - log(self.low)) / (log(self.high) - log(self.low)) * (self.to - self.from)
    }

    pub fn decades(&self) -> impl Iterator<Item = u64> + use<> {
        let high = self.high;
        std::iter::successors(Some(self.low), |nanos| nanos.checked_mul(10)).take_while(move |&nanos| nanos <= high)
    }
}

/// "10 µs".
pub fn label(nanos: u64) -> String {
    match nanos {
        nanos if nanos < 1_000 => format!("{nanos} ns"),
        nanos if nanos < 1_000_000 => format!("{} µs", nanos / 1_000),
        nanos if nanos < 1_000_000_000 => format!("{} ms", nanos / 1_000_000),
        nanos => format!("{} s", nanos / 1_000_000_000),
    }
}

/// Where a text has its anchor.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

pub struct Svg {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

impl Svg {
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        Self { width, height, title: title.to_owned(), body: String::new() }
    }

    pub fn text(&mut self, x: f64, y: f64, class: &str, anchor: Anchor, text: impl Display) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(&text.to_string());
        let _ =
            writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#);
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
    }

    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="{class}"/>"#
        );
    }

    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let _ = writeln!(self.body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" class="{class}"/>"#);
    }

    pub fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let mut path = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        }
        let _ = writeln!(self.body, r#"<path d="{path}" class="{class}"/>"#);
    }

    /// A strip: from the median to 99 % broad, to 99.9 % narrow, to the worst a line that ends in a mark.
    pub fn strip(&mut self, axis: &LogAxis, y: f64, series: usize, latencies: &Latencies) {
        let [p50, p99, p999, max] = latencies.summary().map(|nanos| axis.at(nanos.0));
        self.strip_at([p50, p99, p999, max], y, series);
    }

    fn strip_at(&mut self, [p50, p99, p999, max]: [f64; 4], y: f64, colour: impl Display) {
        self.line((p999, y), (max, y), &format!("thin s{colour}"));
        self.line((max, y - 3.0), (max, y + 3.0), &format!("thin s{colour}"));
        self.rect((p99, y - 1.5), (p999 - p99, 3.0), &format!("f{colour}"));
        self.rect((p50, y - 3.2), (p99 - p50, 6.4), &format!("soft f{colour}"));
        self.circle((p50, y), 3.2, &format!("f{colour}"));
    }

    /// The names of the contenders, each beside its colour.
    pub fn legend(&mut self, x: f64, y: f64, names: &[&str]) {
        let mut x = x;
        for (series, name) in names.iter().enumerate() {
            self.rect((x, y - 9.0), (14.0, 9.0), &format!("f{series}"));
            self.text(x + 19.0, y, "small", Anchor::Start, name);
            x += 19.0 + 7.0 * name.chars().count() as f64 + 16.0;
        }
    }

    /// How to read a strip.
    pub fn strip_key(&mut self, x: f64, y: f64) {
        let at = [x, x + 50.0, x + 85.0, x + 125.0];
        self.strip_at(at, y, "k");
        for (x, name) in at.into_iter().zip(SUMMARY) {
            self.text(x, y + 15.0, "tiny", Anchor::Middle, name);
        }
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, self.finish())
    }

    fn finish(&self) -> String {
        let Self { width, height, body, .. } = self;
        let title = escaped(&self.title);
        let series = |colours: [&str; 4]| {
            colours.iter().enumerate().fold(String::new(), |mut css, (i, colour)| {
                let _ = write!(css, ".s{i}{{stroke:{colour}}}.f{i}{{fill:{colour}}}");
                css
            })
        };
        let theme = |page: &str, ink: &str, faint: &str, grid: &str, colours| {
            let series = series(colours);
            format!(
                ".page{{fill:{page}}}text,.fk{{fill:{ink}}}.sk{{stroke:{ink}}}.faint{{fill:{faint}}}.grid{{stroke:{grid}}}\
                 .rule{{stroke:{faint}}}{series}"
            )
        };
        let light = theme("#ffffff", "#1f2328", "#59636e", "#dde1e6", LIGHT);
        let dark = theme("#0d1117", "#e6edf3", "#9198a1", "#2b323b", DARK);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>{title}</title>
<style>
text{{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;font-size:13px}}
.head{{font-size:17px;font-weight:600}}.bold{{font-weight:600}}.small{{font-size:12px}}.tiny{{font-size:10.5px}}.micro{{font-size:9px}}
.grid{{stroke-width:1}}.rule{{stroke-width:1;stroke-dasharray:3 3}}.thin{{stroke-width:1.4}}
.soft{{fill-opacity:.45}}.curve{{fill:none;stroke-width:2.2;stroke-linejoin:round}}
{light}
@media (prefers-color-scheme:dark){{{dark}}}
</style>
<rect x="0" y="0" width="{width}" height="{height}" rx="8" class="page"/>
{body}</svg>
"#
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
