//! What the docs promise about themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Exported types that share nothing with another thread: options, and what calls return.
const PLAIN: [&str; 5] = ["MemOptions", "MmapOptions", "RingOptions", "Span", "StorageError"];

fn source(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The names behind each `pub use` of these files.
fn exported(src: &Path) -> BTreeSet<String> {
    let text: String = ["lib.rs", "pcm.rs"].map(|file| fs::read_to_string(src.join(file)).unwrap()).concat();
    let uses = text.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = uses.flat_map(|names| names.split(|c: char| !c.is_alphanumeric() && c != '_'));
    names.filter(|name| name.starts_with(char::is_uppercase)).map(str::to_owned).collect()
}

/// The type of a line that begins an inherent `impl`.
fn inherent(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?.strip_suffix(" {")?;
    let rest = match rest.strip_prefix('<') {
        // No bound of ours has a bracket of its own.
        Some(generics) => generics.split_once("> ")?.1,
        None => rest.trim_start(),
    };
    (!rest.contains(" for ")).then(|| rest.split('<').next().unwrap_or(rest))
}

#[test]
fn every_shared_method_has_its_real_time_line() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exported = exported(&src);
    assert!(exported.contains("Writer") && exported.contains("PcmReader") && exported.contains("Slices"));
    let (mut files, mut methods, mut silent) = (vec![], 0, vec![]);
    source(&src, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let (mut of_public, mut says) = (name == "lib.rs" || name == "pcm.rs", false);
        for line in text.lines() {
            let code = line.trim_start();
            if line.starts_with("impl") {
                of_public = inherent(line).is_some_and(|of| exported.contains(of) && !PLAIN.contains(&of));
            } else if let Some(doc) = code.strip_prefix("///") {
                says |= doc == " # Real-time";
                continue;
            } else if code.starts_with("#[") {
                continue;
            } else if let Some(function) = code.strip_prefix("pub fn ").or_else(|| code.strip_prefix("pub const fn ")) {
                let function = function.split(['(', '<']).next().unwrap_or_default();
                let free = !line.starts_with(' ');
                if of_public && !free || free && (name == "lib.rs" || name == "pcm.rs") {
                    methods += 1;
                    if !says {
                        silent.push(format!("{name}: {function}"));
                    }
                }
            }
            says = false;
        }
    }
    assert!(methods > 130, "{methods} are too few: the check looks past them");
    assert!(silent.is_empty(), "no `# Real-time` line: {silent:#?}");
}

/// GitHub shows the lines that rustdoc hides.
#[test]
fn the_readme_hides_no_line() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut programs = 0;
    for program in readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        programs += 1;
        assert!(program.contains("fn main()"), "a whole program");
        let hidden: Vec<&str> = program.lines().filter(|line| *line == "#" || line.starts_with("# ")).collect();
        assert!(hidden.is_empty(), "{hidden:?}");
    }
    assert!(programs > 0);
}
