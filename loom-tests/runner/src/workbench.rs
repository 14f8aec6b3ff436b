//! Everything that has to lie ready before a model can run: the patched loom, the copy of the library with its
//! mutants, and the program that holds the models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::mutants::Mutant;
use crate::switchboard::{self, Sources};

const LOOM: &str = "loom-0.7.3";

/// Prepares everything and returns the path of the model program.
pub fn prepare(mutants: &[(u32, &Mutant)]) -> Result<PathBuf, String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the runner lies in loom-tests/");
    let root = tests.parent().expect("loom-tests/ lies in the repository");
    let bench = root.join("target/loom");

    patch_loom(&loom_source(root)?, &tests.join("loom.patch"), &bench.join(LOOM))?;
    copy_library(root, &bench.join("roundelay"), mutants)?;
    build(&tests.join("models"), &bench.join("build"))
}

/// Where cargo keeps the source of loom that the library's manifest asks for; it is downloaded if need be.
fn loom_source(root: &Path) -> Result<PathBuf, String> {
    let metadata = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !metadata.status.success() {
        return Err(format!("cargo metadata failed:\n{}", String::from_utf8_lossy(&metadata.stderr)));
    }
    // One path is all that is wanted of some megabytes of JSON; a parser would be most of this program.
    let metadata = String::from_utf8_lossy(&metadata.stdout);
    metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| Some(PathBuf::from(rest[..rest.find('"')?].replace("\\\\", "\\"))))
        .filter_map(|manifest| Some(manifest.parent()?.to_owned()))
        .find(|folder| folder.ends_with(LOOM))
        .ok_or_else(|| format!("the library does not depend on {LOOM}: the patch fits no other version"))
}

fn patch_loom(source: &Path, patch: &Path, to: &Path) -> Result<(), String> {
    let mut files = BTreeMap::new();
    read_tree(source, Path::new(""), &mut files).map_err(|error| format!("{}: {error}", source.display()))?;
    let text = fs::read_to_string(patch).map_err(|error| format!("{}: {error}", patch.display()))?;
    for file in diffy::patch_set::PatchSet::parse(&text, diffy::patch_set::ParseOptions::unidiff()) {
        let file = file.map_err(|error| format!("loom.patch: {error}"))?;
        let operation = file.operation().strip_prefix(1);
        let diffy::patch_set::FileOperation::Modify { modified, .. } = &operation else {
            return Err("loom.patch: it may only change files".to_owned());
        };
        let modified: &str = modified.as_ref();
        let patch = file.patch().as_text().ok_or("loom.patch: not a text patch")?;
        let old = files.get(modified).ok_or_else(|| format!("loom.patch: {LOOM} has no {modified}"))?;
        let old = std::str::from_utf8(old).map_err(|error| format!("{modified}: {error}"))?;
        let new = diffy::apply(old, patch).map_err(|error| format!("loom.patch, {modified}: {error}"))?;
        files.insert(modified.to_owned(), new.into_bytes());
    }
    write_tree(to, &files).map_err(|error| format!("{}: {error}", to.display()))
}

fn copy_library(root: &Path, to: &Path, mutants: &[(u32, &Mutant)]) -> Result<(), String> {
    let mut files = BTreeMap::new();
    read_tree(&root.join("src"), Path::new(""), &mut files).map_err(|error| format!("src/: {error}"))?;
    let mut sources = Sources::new();
    files.retain(|path, bytes| match (path.ends_with(".rs"), std::str::from_utf8(bytes)) {
        (true, Ok(text)) => {
            sources.insert(path.clone(), text.to_owned());
            false
        }
        _ => true,
    });
    switchboard::install(&mut sources, mutants).map_err(|stale| stale.join("\n"))?;
    sources.insert("mutants.rs".to_owned(), switchboard::SWITCHES.to_owned());
    let library = sources.get_mut("lib.rs").ok_or("no src/lib.rs")?;
    // The switches leave parentheses and branches about which the compiler has much to say.
    *library = format!("#![allow(warnings)]\n{library}\n#[doc(hidden)]\npub mod mutants;\n");

    let mut package: BTreeMap<String, Vec<u8>> = files
        .into_iter()
        .chain(sources.into_iter().map(|(path, text)| (path, text.into_bytes())))
        .map(|(path, bytes)| (format!("src/{path}"), bytes))
        .collect();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).map_err(|error| format!("Cargo.toml: {error}"))?;
    package.insert("Cargo.toml".to_owned(), alone(&manifest).into_bytes());
    // The crate's documentation may include it.
    if let Ok(readme) = fs::read(root.join("README.md")) {
        package.insert("README.md".to_owned(), readme);
    }
    write_tree(to, &package).map_err(|error| format!("{}: {error}", to.display()))
}

/// The library's manifest without what needs the rest of the repository: the other members of the workspace, and
/// targets, lints and dependencies that only tests and benches have.
fn alone(manifest: &str) -> String {
    let mut kept = String::new();
    let mut keep = true;
    for line in manifest.lines() {
        if line.starts_with('[') && line.trim_end().ends_with(']') {
            let section = line.trim_end().trim_matches(['[', ']']);
            let dropped = ["bench", "bin", "test", "example", "lints", "profile", "dev-dependencies"];
            keep = !dropped.iter().any(|d| section == *d || section.starts_with(&format!("{d}.")))
                && !section.ends_with(".dev-dependencies");
            if section == "workspace" {
                kept += "[workspace]\nresolver = \"3\"\n\n";
                keep = false;
            }
        }
        if keep {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

fn build(models: &Path, to: &Path) -> Result<PathBuf, String> {
    let status = Command::new(cargo())
        .args(["build", "--release", "--manifest-path"])
        .arg(models.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(to)
        .env("RUSTFLAGS", "--cfg loom")
        // Either of these would outrank the line above.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !status.success() {
        return Err("the models do not build (see above; if the library builds, a mutant does not)".to_owned());
    }
    Ok(to.join("release").join(format!("models{}", env::consts::EXE_SUFFIX)))
}

fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Reads all files below `root`, keyed by their path with forward slashes.
fn read_tree(root: &Path, below: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read_tree(root, &path, files)?;
        } else {
            let name = path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
            files.insert(name, fs::read(root.join(&path))?);
        }
    }
    Ok(())
}

/// Makes the folder hold these files and no others. A file that is the same already is left alone, so that its time
/// does not change and cargo need not build it again.
fn write_tree(root: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut there = BTreeMap::new();
    read_tree(root, Path::new(""), &mut there)?;
    // A lock file that cargo wrote there is none of ours, and harmless.
    for (path, _) in there.iter().filter(|(path, _)| !files.contains_key(*path) && *path != "Cargo.lock") {
        fs::remove_file(root.join(path))?;
    }
    for (path, bytes) in files.iter().filter(|(path, bytes)| there.get(*path) != Some(*bytes)) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifest_keeps_what_the_library_alone_needs() {
        let manifest = "[workspace]\nmembers = [\n  \"player\",\n]\n[workspace.package]\nversion = \"1\"\n\
            [package]\nname = \"r\"\n[[bench]]\nname = \"b\"\n[target.'cfg(unix)'.dev-dependencies]\na = \"1\"\n\
            [target.'cfg(loom)'.dependencies]\nloom = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(
            super::alone(manifest),
            "[workspace]\nresolver = \"3\"\n\n[workspace.package]\nversion = \"1\"\n[package]\nname = \"r\"\n\
             [target.'cfg(loom)'.dependencies]\nloom = \"1\"\n"
        );
    }
}
