//! The mutants: the library with one ordering, one fence or one step weakened. A model must fail on each of them,
//! else what was weakened is not needed, or the model that needs it is missing.

mod coverage;
mod driver;
mod fetcher;
mod gate;
mod lifecycle;
mod pcm;
mod ready;
mod store;
mod wait;
mod window;

/// One weakened library.
#[derive(Debug)]
pub struct Mutant {
    /// `protocol/what-is-wrong`.
    pub name: &'static str,
    /// What goes wrong with it, in one line.
    pub why: &'static str,
    pub edits: &'static [Edit],
    /// The models that must catch it, each of them.
    pub caught_by: &'static [&'static str],
    /// What the complaint of these models must contain: a mutant caught for another reason was not understood.
    pub symptom: &'static str,
    /// Whether it may show by running for ever. Of any other mutant that proves nothing.
    pub hangs: bool,
}

/// One place to change.
#[derive(Debug)]
pub struct Edit {
    /// Below `src/`.
    pub file: &'static str,
    /// Where in the file: items one inside the other, such as `["impl Window", "fn read"]`.
    pub within: &'static [&'static str],
    /// An expression, or a statement with its `;`, which must occur exactly once there; layout and comments do not
    /// count. With what is around it, if it is not unique by itself, and then between marks: `a.store(x, «Release»)`.
    pub find: &'static str,
    /// What stands there, or between the marks, when the mutant is on.
    pub replace: &'static str,
    /// If `find` is a run of `let` statements: the pattern of the names that they introduce, e.g. `"(start, end)"`.
    pub binds: &'static str,
}

impl Mutant {
    /// What a table's entries are completed from.
    pub const NONE: Self = Self { name: "", why: "", edits: &[], caught_by: &[], symptom: "", hangs: false };
}

/// Short for an edit without bindings.
const fn edit(file: &'static str, within: &'static [&'static str], find: &'static str, replace: &'static str) -> Edit {
    Edit { file, within, find, replace, binds: "" }
}

/// All mutants, with the numbers that switch them on.
pub fn all() -> Vec<(u32, &'static Mutant)> {
    let tables = [
        window::MUTANTS,
        wait::MUTANTS,
        gate::MUTANTS,
        lifecycle::MUTANTS,
        driver::MUTANTS,
        pcm::MUTANTS,
        coverage::MUTANTS,
        store::MUTANTS,
        fetcher::MUTANTS,
        ready::MUTANTS,
    ];
    (1..).zip(tables.into_iter().flatten()).collect()
}
