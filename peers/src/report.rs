//! What is printed.

use crate::race::Row;
use std::io::{self, Write};

/// For people: `Row`s under each other, then what was counted and not timed.
pub fn table(rows: &[Row], notes: &[String]) -> io::Result<()> {
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).len()).max().unwrap_or(0);
    let (work, rival) = (width(|row| &row.work), width(|row| &row.rival));
    let mut out = io::stdout().lock();
    writeln!(out, "{:work$}  {:rival$}  {:>6}   spread over the rounds", "work", "rival", "ratio")?;
    for row in rows {
        let Row { ratio, low, high, .. } = row;
        writeln!(out, "{:work$}  {:rival$}  {ratio:>6.2}   {low:.2} .. {high:.2}", row.work, row.rival)?;
    }
    if !rows.is_empty() {
        writeln!(out, "\nratio: the rival's median time over ours; above 1 we are faster.")?;
    }
    for note in notes {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

/// For programs.
pub fn json(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, rows)?;
    writeln!(out)
}
