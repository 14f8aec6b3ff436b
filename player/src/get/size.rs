//! Numbers of bytes as people read them.

use std::fmt;

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes, shown in the unit that suits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(
    /// In bytes.
    pub u64,
);

impl Size {
    /// "12.3 of 64.0 MiB": both in the unit that suits the whole.
    pub(super) fn of(self, whole: Size) -> impl fmt::Display {
        match whole.unit() {
            None => format!("{} of {whole}", self.0),
            Some((divisor, unit)) => {
                format!("{:.1} of {:.1} {unit}", self.0 as f64 / divisor, whole.0 as f64 / divisor)
            }
        }
    }

    /// `None`: plain bytes.
    fn unit(self) -> Option<(f64, &'static str)> {
        let thousands = usize::try_from(self.0.checked_ilog2()? / 10).ok()?;
        let unit = UNITS.get(thousands.checked_sub(1)?)?;
        Some(((1_u64 << (10 * thousands)) as f64, unit))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit() {
            None if self.0 == 1 => f.write_str("1 byte"),
            None => write!(f, "{} bytes", self.0),
            Some((divisor, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / divisor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!(shown(0), "0 bytes");
        assert_eq!(shown(1), "1 byte");
        assert_eq!(shown(1023), "1023 bytes");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown(64 << 20), "64.0 MiB");
        assert_eq!(shown(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn a_part_is_shown_in_the_unit_of_the_whole() {
        assert_eq!(Size(12_897_485).of(Size(64 << 20)).to_string(), "12.3 of 64.0 MiB");
        assert_eq!(Size(3).of(Size(10)).to_string(), "3 of 10 bytes");
        assert_eq!(Size(0).of(Size(1 << 30)).to_string(), "0.0 of 1.0 GiB");
    }
}
