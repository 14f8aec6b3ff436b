//! Turns mutants into run-time switches inside a copy of the library's source.
//!
//! The code that an edit names is replaced by a choice between it and its mutant:
//!
//! ```text
//! fence(Release);   →   if crate::mutants::on(3) { } else { fence(Release); }
//! ```
//!
//! so that production code carries no hook and all mutants together cost one build.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::mutants::{Edit, Mutant};
use crate::tokens::{Span, tokens};

/// The module that the rewritten code asks. Its own state is a plain static: a loom atomic would be one more thing
/// for the checker to explore.
pub const SWITCHES: &str = r#"//! Generated: tells which mutant is on in this process.
#![allow(missing_docs)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static REACHED: AtomicBool = AtomicBool::new(false);

pub fn on(mutant: u32) -> bool {
    static CHOSEN: OnceLock<u32> = OnceLock::new();
    let chosen = *CHOSEN.get_or_init(|| std::env::var("MUTANT").map_or(0, |n| n.parse().expect("MUTANT is a number")));
    if chosen == mutant {
        REACHED.store(true, Ordering::Relaxed);
    }
    chosen == mutant
}

/// Whether the mutant that is on was ever asked for: one that no model reaches cannot be caught by it.
pub fn reached() -> bool {
    REACHED.load(Ordering::Relaxed)
}
"#;

/// The library's source files by their path below `src/`.
pub type Sources = BTreeMap<String, String>;

/// Rewrites `sources` so that mutant number `i` (from 1, in the order given) can be switched on. The errors name every
/// edit that no longer fits the source.
pub fn install(sources: &mut Sources, mutants: &[(u32, &Mutant)]) -> Result<(), Vec<String>> {
    let mut stale = Vec::new();
    let mut switches: BTreeMap<&str, Vec<Switch>> = BTreeMap::new();
    for &(number, mutant) in mutants {
        for edit in mutant.edits {
            match locate(sources, edit) {
                Ok(span) => {
                    switches.entry(edit.file).or_default().push(Switch { number, name: mutant.name, span, edit })
                }
                Err(why) => stale.push(format!("mutant table out of date: {}: {why}", mutant.name)),
            }
        }
    }
    for (file, mut switches) in switches {
        // Outer spans first, so that what lies inside one is rewritten inside its unmutated branch.
        switches.sort_by_key(|s| (s.span.start, std::cmp::Reverse(s.span.end), s.number));
        let source = &sources[file];
        match rewrite(source, 0..source.len(), &switches) {
            Ok(text) => {
                sources.insert(file.to_owned(), text);
            }
            Err(why) => stale.push(format!("mutant table out of date: {file}: {why}")),
        }
    }
    if stale.is_empty() { Ok(()) } else { Err(stale) }
}

struct Switch {
    number: u32,
    name: &'static str,
    span: Span,
    edit: &'static Edit,
}

fn locate(sources: &Sources, edit: &Edit) -> Result<Span, String> {
    let source = sources.get(edit.file).ok_or_else(|| format!("no file src/{}", edit.file))?;
    let all = tokens(source);
    let mut scope = 0..all.len();
    for anchor in edit.within {
        let found = occurrences(source, &all[scope.clone()], anchor);
        let [at] = found[..] else {
            return Err(format!("`{anchor}` occurs {} times in src/{}", found.len(), edit.file));
        };
        scope = body(source, &all, scope.start + at, scope.end)
            .ok_or_else(|| format!("`{anchor}` in src/{} has no body", edit.file))?;
    }
    let tests = if edit.within.is_empty() { test_modules(source, &all) } else { Vec::new() };
    let here = &all[scope];
    let found: Vec<usize> = occurrences(source, here, edit.find)
        .into_iter()
        .filter(|&at| !tests.iter().any(|t| t.contains(&here[at].start)))
        .collect();
    let [at] = found[..] else {
        let place = edit.within.iter().map(|a| format!("{a} in ")).rev().collect::<String>();
        return Err(format!("`{}` occurs {} times in {place}src/{}", edit.find, found.len(), edit.file));
    };
    let (first, count) = marked(edit.find);
    Ok(here[at + first].start..here[at + first + count - 1].end)
}

/// Which tokens of `find` are to be replaced: those between the marks, or all. The first of them, and how many.
fn marked(find: &str) -> (usize, usize) {
    let count = |text: &str| tokens(text).len();
    match find.split_once('«').and_then(|(before, rest)| Some((before, rest.split_once('»')?.0))) {
        Some((before, inside)) => (count(before), count(inside)),
        None => (0, count(find)),
    }
}

/// The index in `here` of the first token of each occurrence of `pattern`.
fn occurrences(source: &str, here: &[Span], pattern: &str) -> Vec<usize> {
    let pattern = pattern.replace(['«', '»'], " ");
    let wanted: Vec<&str> = tokens(&pattern).into_iter().map(|span| &pattern[span]).collect();
    assert!(!wanted.is_empty(), "a mutant's edit must name some code");
    here.windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| window.iter().zip(&wanted).all(|(span, want)| source[span.clone()] == **want))
        .map(|(at, _)| at)
        .collect()
}

/// The tokens between the first pair of braces that opens after token `at`, outside any parentheses.
fn body(source: &str, all: &[Span], at: usize, end: usize) -> Option<Range<usize>> {
    let text = |i: usize| &source[all[i].clone()];
    let mut parens = 0i32;
    let open = (at..end).find(|&i| {
        match text(i) {
            "(" | "[" => parens += 1,
            ")" | "]" => parens -= 1,
            _ => {}
        }
        parens == 0 && matches!(text(i), "{" | ";")
    })?;
    if text(open) == ";" {
        return None;
    }
    let mut depth = 0i32;
    let close = (open..end).find(|&i| {
        match text(i) {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    Some(open + 1..close)
}

/// Unit tests repeat the code they test, and are no part of what a model runs.
fn test_modules(source: &str, all: &[Span]) -> Vec<Span> {
    occurrences(source, all, "#[cfg(test)] mod")
        .into_iter()
        .filter_map(|at| body(source, all, at + 7, all.len()))
        .filter(|body| !body.is_empty())
        .map(|body| all[body.start].start..all[body.end - 1].end)
        .collect()
}

fn rewrite(source: &str, range: Range<usize>, switches: &[Switch]) -> Result<String, String> {
    let mut text = String::new();
    let mut at = range.start;
    let mut rest = switches;
    while let Some(first) = rest.first() {
        let span = first.span.clone();
        let same = rest.iter().take_while(|s| s.span == span).count();
        let inside = rest[same..].iter().take_while(|s| s.span.start < span.end).count();
        let (here, below) = (&rest[..same], &rest[same..same + inside]);
        if let Some(crossing) = below.iter().find(|s| s.span.end > span.end) {
            return Err(format!("the edits of {} and {} overlap in part", first.name, crossing.name));
        }
        text.push_str(&source[at..span.start]);
        text.push_str(&choice(here, &rewrite(source, span.clone(), below)?)?);
        at = span.end;
        rest = &rest[same + inside..];
    }
    text.push_str(&source[at..range.end]);
    Ok(text)
}

fn choice(here: &[Switch], original: &str) -> Result<String, String> {
    let edit = here[0].edit;
    if let Some(other) = here.iter().find(|s| s.edit.binds != edit.binds) {
        return Err(format!("{} and {} edit the same code and bind different names", here[0].name, other.name));
    }
    if edit.binds.is_empty() && original.starts_with("let ") && original.ends_with(';') {
        return Err(format!("{} replaces a `let` and does not say what it binds", here[0].name));
    }
    // A span that introduces bindings hands them on as the value of its branch.
    let values = edit.binds.replace("mut ", "");
    let mut chain = String::new();
    for switch in here {
        chain += &format!("if crate::mutants::on({}) {{ {} {values} }} else ", switch.number, switch.edit.replace);
    }
    chain += &format!("{{ {original} {values} }}");
    Ok(if !edit.binds.is_empty() {
        format!("let {} = {chain};", edit.binds)
    } else if original.ends_with([';', '}']) {
        chain
    } else {
        format!("({chain})")
    })
}

#[cfg(test)]
mod tests {
    use super::{Sources, install};
    use crate::mutants::{Edit, Mutant};

    const SOURCE: &str = "impl A { fn f(&self) { g(1); h(2, 3) } }\nimpl B { fn f(&self) { let e = h(2, 3); } }\n\
        #[cfg(test)] mod tests { fn t() { g(1); } }";

    fn apply(mutants: Vec<Mutant>) -> Result<String, Vec<String>> {
        let mut sources = Sources::from([("a.rs".to_owned(), SOURCE.to_owned())]);
        let numbered: Vec<_> = (1..).zip(&mutants).collect();
        install(&mut sources, &numbered).map(|()| sources["a.rs"].clone())
    }

    fn mutant(name: &'static str, edits: Vec<Edit>) -> Mutant {
        Mutant { name, edits: edits.leak(), ..Mutant::NONE }
    }

    fn edit(within: &'static [&'static str], find: &'static str, replace: &'static str) -> Edit {
        Edit { file: "a.rs", within, find, replace, binds: "" }
    }

    #[test]
    fn statements_expressions_and_chains() {
        let text = apply(vec![
            mutant("drop", vec![edit(&[], "g(1);", "")]),
            mutant("swap", vec![edit(&[], "g(1);", "g(2);"), edit(&["impl A"], "h(2,3)", "h(3, 2)")]),
        ])
        .unwrap();
        assert!(text.starts_with(
            "impl A { fn f(&self) { if crate::mutants::on(1) {   } else if crate::mutants::on(2) { g(2);  } else \
             { g(1);  } (if crate::mutants::on(2) { h(3, 2)  } else { h(2, 3)  }) } }\n"
        ));
    }

    #[test]
    fn nested_edits_and_bindings() {
        let text = apply(vec![
            mutant("inner", vec![edit(&["impl B", "fn f"], "2", "9")]),
            mutant("outer", vec![Edit { binds: "mut e", ..edit(&["impl B"], "let e = h(2, 3);", "let e = 0;") }]),
        ])
        .unwrap();
        assert!(text.contains(
            "{ let mut e = if crate::mutants::on(2) { let e = 0; e } else { let e = \
             h((if crate::mutants::on(1) { 9  } else { 2  }), 3); e }; }"
        ));
    }

    #[test]
    fn marks_narrow_what_is_replaced() {
        let text = apply(vec![mutant("m", vec![edit(&[], "let e = h(2, «3»)", "4")])]).unwrap();
        assert!(text.contains("let e = h(2, (if crate::mutants::on(1) { 4  } else { 3  }));"));
    }

    #[test]
    fn what_is_not_there_exactly_once_is_out_of_date() {
        for edit in [
            edit(&[], "h(2, 3)", ""),
            edit(&[], "k()", ""),
            edit(&["fn f"], "g(1);", ""),
            edit(&["impl C"], "g(1);", ""),
            Edit { file: "b.rs", ..edit(&[], "g(1);", "") },
        ] {
            let stale = apply(vec![mutant("m", vec![edit])]).unwrap_err();
            assert!(stale[0].starts_with("mutant table out of date: m: "), "{stale:?}");
        }
    }

    #[test]
    fn edits_that_cross_are_refused() {
        let stale = apply(vec![
            mutant("a", vec![edit(&[], "g(1); h", "")]),
            mutant("b", vec![edit(&["impl A"], "h(2, 3)", "")]),
        ])
        .unwrap_err();
        assert!(stale[0].contains("overlap in part"), "{stale:?}");
    }
}
