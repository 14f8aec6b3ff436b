//! What a benchmark is told.

use std::path::PathBuf;

pub struct Arguments {
    /// Whether the answers are all that matters: `cargo test` and `cargo bench -- --test` ask for that.
    pub check: bool,
    /// How long to measure, if that was said.
    pub seconds: Option<f64>,
    /// Where the plot goes, if it was said.
    svg: Option<PathBuf>,
    /// Only what has one of these in its name.
    filters: Vec<String>,
    name: &'static str,
}

impl Arguments {
    /// Those of this process; ends it if they make no sense.
    pub fn parse(name: &'static str, seconds: &str) -> Self {
        let mut parsed = Self { check: false, seconds: None, svg: None, filters: Vec::new(), name };
        let mut is_bench = false;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| usage(name, seconds));
            match argument.as_str() {
                // From cargo, as criterion takes them.
                "--bench" => is_bench = true,
                "--test" => parsed.check = true,
                "--seconds" => {
                    let value = value().parse().ok().filter(|value| (0.001..=86_400.0).contains(value));
                    parsed.seconds = Some(value.unwrap_or_else(|| usage(name, seconds)));
                }
                "--svg" => parsed.svg = Some(value().into()),
                filter if !filter.starts_with('-') => parsed.filters.push(argument),
                _ => usage(name, seconds),
            }
        }
        parsed.check |= !is_bench;
        parsed
    }

    /// Whether something of this name is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Where the plot goes. Not over that of the repository, unless all of it was measured.
    pub fn plot(&self) -> PathBuf {
        let file = format!("{}.svg", self.name);
        match &self.svg {
            Some(path) => path.clone(),
            None if self.check || !self.filters.is_empty() => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file),
            None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plots")).join(file),
        }
    }
}

fn usage(name: &str, seconds: &str) -> ! {
    eprintln!(
        "cargo bench --bench {name} -- [--test] [--seconds N] [--svg PATH] [NAME…]\n\
         --test     only checks the answers, in some seconds\n\
         --seconds  {seconds}\n\
         --svg      where the plot goes, if not under benches/plots\n\
         NAME       only what has this in its name"
    );
    std::process::exit(2);
}
