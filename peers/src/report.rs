//! What is printed.

use crate::race::{Gap, Races, Row};
use std::io::{self, Write};

/// For people, in Markdown: an overview, the tables with all the figures, why cells are empty, and what was counted and
/// not timed.
pub fn tables(races: &Races) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let rows = races.rows();
    if !rows.is_empty() {
        writeln!(out, "The rival's median time over ours: above 1 we are faster.\n")?;
        overview(&mut out, rows, races.gaps())?;
    }
    for work in distinct(rows, |row| row.work.as_str()) {
        table(&mut out, work, rows.iter().filter(|row| row.work == work).collect())?;
    }
    writeln!(out)?;
    for note in races.notes() {
        item(&mut out, note)?;
    }
    Ok(())
}

/// The least and the greatest of a rival's ratios in each work, and why there are none.
fn overview(out: &mut impl Write, rows: &[Row], gaps: &[Gap]) -> io::Result<()> {
    let parts = distinct(rows, |row| row.part);
    let raced = rows.iter().map(|row| family(&row.rival));
    let named: Vec<_> = raced.chain(gaps.iter().flat_map(|gap| gap.rivals.iter().map(|rival| family(rival)))).collect();
    let rivals = distinct(&named, |&rival| rival);
    let mut lines = vec![[&["least, greatest"], &*parts].concat().into_iter().map(str::to_owned).collect()];
    for rival in rivals {
        let cell = |part: &&str| {
            let cells = rows.iter().filter(|row| row.part == *part && family(&row.rival) == rival);
            let ratios: Vec<_> = cells.map(|row| row.ratio).collect();
            range(&ratios)
        };
        lines.push(std::iter::once(rival.to_owned()).chain(parts.iter().map(cell)).collect());
    }
    grid(out, &lines)?;
    writeln!(out, "\nEmpty cells:\n")?;
    for gap in gaps {
        item(out, &format!("{}: {}: {}.", gap.part, gap.rivals.join(", "), gap.why))?;
    }
    Ok(())
}

/// One work: a section for each of ours, a line for each rival, a column for each size, with the spread over the rounds.
fn table(out: &mut impl Write, work: &str, rows: Vec<&Row>) -> io::Result<()> {
    let columns = distinct(&rows, |row| row.column.as_str());
    let heading = |column: &&str| if column.is_empty() { "ratio, spread".to_owned() } else { (*column).to_owned() };
    let mut lines = vec![std::iter::once(work.to_owned()).chain(columns.iter().map(heading)).collect()];
    for ours in distinct(&rows, |row| row.ours.as_str()) {
        let rows: Vec<_> = rows.iter().filter(|row| row.ours == ours).collect();
        lines.push(std::iter::once(format!("**{ours}**")).chain(columns.iter().map(|_| String::new())).collect());
        for rival in distinct(&rows, |row| row.rival.as_str()) {
            let cell = |column: &&str| {
                let row = rows.iter().find(|row| row.rival == rival && row.column == *column);
                row.map_or(String::new(), |row| {
                    format!("{} {}–{}", figure(row.ratio), figure(row.low), figure(row.high))
                })
            };
            lines.push(std::iter::once(rival.to_owned()).chain(columns.iter().map(cell)).collect::<Vec<_>>());
        }
    }
    writeln!(out)?;
    grid(out, &lines)
}

/// The first line is the heading.
fn grid(out: &mut impl Write, lines: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..lines[0].len()).map(width).collect();
    for (i, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            write!(out, "| {cell:width$} ")?;
        }
        writeln!(out, "|")?;
        if i == 0 {
            widths.iter().try_for_each(|width| write!(out, "|{:-<1$}", "", width + 2))?;
            writeln!(out, "|")?;
        }
    }
    Ok(())
}

/// A line of a list, in as many lines as it takes.
fn item(out: &mut impl Write, text: &str) -> io::Result<()> {
    const WIDTH: usize = 100;
    write!(out, "-")?;
    let mut width = 1;
    for word in text.split(' ') {
        let len = word.chars().count() + 1;
        if width + len > WIDTH {
            write!(out, "\n ")?;
            width = 1;
        }
        write!(out, " {word}")?;
        width += len;
    }
    writeln!(out)
}

/// For programs.
pub fn json(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, rows)?;
    writeln!(out)
}

/// The works for which a rival has neither rows nor a reason why not.
pub fn forgotten(races: &Races) -> Vec<String> {
    let (rows, gaps) = (races.rows(), races.gaps());
    let mut forgotten = Vec::new();
    for rival in distinct(rows, |row| family(&row.rival)) {
        for part in distinct(rows, |row| row.part) {
            let raced = rows.iter().any(|row| row.part == part && family(&row.rival) == rival);
            let cannot = gaps.iter().any(|gap| gap.part == part && gap.rivals.contains(&rival));
            if raced == cannot {
                forgotten.push(format!("{part}: {rival}"));
            }
        }
    }
    forgotten
}

/// The crate or the type, without which of its ways it was.
fn family(rival: &str) -> &str {
    rival.split(',').next().unwrap_or(rival)
}

/// What `of` says of each, in order, and once.
fn distinct<'a, T, U: PartialEq + 'a>(all: &'a [T], of: impl Fn(&'a T) -> U) -> Vec<U> {
    let mut distinct = Vec::new();
    for one in all.iter().map(of) {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

fn range(ratios: &[f64]) -> String {
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    match ratios {
        [] => String::new(),
        [ratio] => short(*ratio),
        _ => format!("{}–{}", short(low), short(high)),
    }
}

/// Two digits, or as many as there are before the point.
fn short(ratio: f64) -> String {
    let digits = if ratio < 0.995 { 2 } else { usize::from(ratio < 9.95) };
    format!("{ratio:.digits$}")
}

/// Three digits, or as many as there are before the point.
fn figure(ratio: f64) -> String {
    let digits = if ratio < 9.995 { 2 } else { usize::from(ratio < 99.95) };
    format!("{ratio:.digits$}")
}
