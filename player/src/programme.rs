//! What there is at an address: a station, a file, or a list of others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use url::Url;

use crate::playlist::{Base, Entry, Kind, MOST_BYTES, MOST_NESTED, Playlist, PlaylistError};
use crate::source::{SourceError, Tuned};
use crate::text::{printable, printable_path, without_code};

/// After so many addresses in a row that cannot be played, no more are tried: a list may name thousands.
pub const MOST_FAILURES: usize = 50;

/// Something to play.
#[derive(Debug)]
pub enum Programme {
    /// A stream that goes on by itself.
    Live(Tuned),
    /// A file on a server.
    Remote(Tuned),
    /// A file here.
    Local {
        /// Where.
        path: PathBuf,
    },
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// Something to play.
    Programme(Programme),
    /// A list of addresses.
    List(Vec<Entry>),
}

/// Why there is nothing to play.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgrammeError {
    /// Neither an address that is spoken here, nor a file.
    #[error("{} is no address that can be played: give http:// or https://, or a file", printable(.address))]
    Scheme {
        /// As it was given.
        address: String,
    },
    /// The file here cannot be read.
    #[error("cannot open {}: {}", printable_path(.path), without_code(.reason))]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
    /// It is a folder, or something else that has no beginning and end.
    #[error("{} is no file: give one, or a playlist", printable_path(.path))]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// The server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A list that makes no sense, or is of a kind that is not played here.
    #[error("the playlist {}: {reason}", printable(.address))]
    Playlist {
        /// Where it is.
        address: String,
        /// What is wrong.
        #[source]
        reason: PlaylistError,
    },
    /// A list that was cut.
    #[error("the playlist {} was cut: {reason}", printable(.address))]
    Cut {
        /// Where it is.
        address: String,
        /// How that showed.
        #[source]
        reason: io::Error,
    },
    /// Lists name lists that name lists.
    #[error(
        "the playlist {} names another playlist, and that another, and so on: nothing is ever played", printable(.address)
    )]
    Endless {
        /// The one that was not looked at any more.
        address: String,
    },
}

/// Looks what there is at `address`: a URL, or a path.
///
/// # Errors
/// [`ProgrammeError`].
pub fn find(address: &str) -> Result<Found, ProgrammeError> {
    let unknown = || ProgrammeError::Scheme { address: address.to_owned() };
    match address.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
            find_remote(address)
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("file") => {
            let path = Url::parse(address).ok().and_then(|url| url.to_file_path().ok());
            find_local(&path.ok_or_else(unknown)?)
        }
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Err(unknown()),
        _ => find_local(Path::new(address)),
    }
}

fn find_remote(url: &str) -> Result<Found, ProgrammeError> {
    let tuned = Tuned::call(url)?;
    let address = tuned.address();
    if let Some(kind) = Playlist::recognise(tuned.content_type(), &address, &[]) {
        let bytes =
            tuned.read(MOST_BYTES as u64).map_err(|reason| ProgrammeError::Cut { address: address.clone(), reason })?;
        return read_list(kind, &bytes, Base::Address(&address), &address);
    }
    Ok(Found::Programme(match tuned.file_len() {
        Some(_) => Programme::Remote(tuned),
        None => Programme::Live(tuned),
    }))
}

fn find_local(path: &Path) -> Result<Found, ProgrammeError> {
    let failed = |reason| ProgrammeError::File { path: path.to_owned(), reason };
    // Asked before it is opened: of what is no file, that may wait for somebody at the other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ProgrammeError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let mut beginning = Vec::new();
    (&file).take(4096).read_to_end(&mut beginning).map_err(failed)?;
    let address = path.to_string_lossy();
    if let Some(kind) = Playlist::recognise(None, &address, &beginning) {
        (&file).take(MOST_BYTES as u64).read_to_end(&mut beginning).map_err(failed)?;
        return read_list(kind, &beginning, Base::File(path), &address);
    }
    Ok(Found::Programme(Programme::Local { path: path.to_owned() }))
}

fn read_list(kind: Kind, bytes: &[u8], base: Base<'_>, address: &str) -> Result<Found, ProgrammeError> {
    Playlist::parse(kind, bytes, base)
        .map(Found::List)
        .map_err(|reason| ProgrammeError::Playlist { address: address.to_owned(), reason })
}

/// What is to be played, one after the other: an address, and all that it leads to.
#[derive(Debug)]
pub struct Queue {
    /// The next one last.
    waiting: Vec<Waiting>,
    /// Of the address that was taken last: so many lists name it, and these are said to be the same.
    lists: usize,
    others: Vec<String>,
    /// In a row.
    failures: usize,
}

#[derive(Debug)]
struct Waiting {
    address: String,
    others: Vec<String>,
    lists: usize,
}

impl Queue {
    /// Begins with an address.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        let first = Waiting { address: address.into(), others: Vec::new(), lists: 0 };
        Self { waiting: vec![first], lists: 0, others: Vec::new(), failures: 0 }
    }

    /// Takes the next address.
    pub fn take_next(&mut self) -> Option<String> {
        let Waiting { address, others, lists } = self.waiting.pop()?;
        (self.lists, self.others) = (lists, others);
        Some(address)
    }

    /// Puts what is in a list, which was found at the address that was taken last, in its place.
    ///
    /// # Errors
    /// [`ProgrammeError::Endless`].
    pub fn put(&mut self, list: &str, entries: Vec<Entry>) -> Result<(), ProgrammeError> {
        if self.lists > MOST_NESTED {
            return Err(ProgrammeError::Endless { address: list.to_owned() });
        }
        let lists = self.lists + 1;
        let entries = entries.into_iter().rev();
        self.waiting.extend(entries.map(|Entry { address, others, .. }| Waiting { address, others, lists }));
        Ok(())
    }

    /// The address that was taken last was played.
    pub fn played(&mut self) {
        self.failures = 0;
    }

    /// The address that was taken last cannot be played: what is said to be the same comes next. Returns whether there is
    /// more to try.
    pub fn failed(&mut self) -> bool {
        self.failures += 1;
        let mut others = std::mem::take(&mut self.others).into_iter();
        if let Some(address) = others.next() {
            self.waiting.push(Waiting { address, others: others.collect(), lists: self.lists });
        }
        self.failures < MOST_FAILURES && !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries<const N: usize>(addresses: [&str; N]) -> Vec<Entry> {
        let entry = |address: &str| Entry { address: address.to_owned(), others: Vec::new(), title: None };
        addresses.map(entry).into()
    }

    #[test]
    fn a_list_within_a_list_is_played_in_its_place() {
        let mut queue = Queue::new("outer");
        let mut played = Vec::new();
        while let Some(address) = queue.take_next() {
            match address.as_str() {
                "outer" => queue.put("outer", entries(["a", "inner", "d"])).unwrap(),
                "inner" => queue.put("inner", entries(["b", "c"])).unwrap(),
                _ => played.push(address),
            }
        }
        assert_eq!(played, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_list_that_names_itself_comes_to_an_end() {
        let mut queue = Queue::new("list");
        let mut played = 0;
        while let Some(address) = queue.take_next() {
            match address.as_str() {
                "list" => {
                    let Err(error) = queue.put("list", entries(["song", "list"])) else { continue };
                    assert!(matches!(error, ProgrammeError::Endless { .. }));
                    assert!(!queue.failed());
                }
                _ => played += 1,
            }
        }
        assert_eq!(played, MOST_NESTED + 1);
    }

    #[test]
    fn what_is_said_to_be_the_same_is_tried_before_what_comes_next() {
        let mut queue = Queue::new("list");
        queue.take_next();
        let mut list = entries(["one", "two"]);
        list[0].others = vec!["one elsewhere".to_owned(), "one at last".to_owned()];
        queue.put("list", list).unwrap();
        let mut tried = Vec::new();
        while let Some(address) = queue.take_next() {
            tried.push(address);
            queue.failed();
        }
        assert_eq!(tried, ["one", "one elsewhere", "one at last", "two"]);
    }

    #[test]
    fn a_list_of_what_is_not_there_is_given_up() {
        let mut queue = Queue::new("list");
        queue.take_next();
        queue.put("list", entries(["gone"; 1_000])).unwrap();
        let mut tries = 0;
        while queue.take_next().is_some() {
            tries += 1;
            if !queue.failed() {
                break;
            }
        }
        assert_eq!(tries, MOST_FAILURES);
    }
}
