//! What there is at an address: a station, a file, or a list of others.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::playlist::{Base, Entry, Kind, MOST_BYTES, MOST_NESTED, Playlist, PlaylistError};
use crate::source::{SourceError, Tuned};
use crate::text::without_code;

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
pub struct Found {
    /// The first that there is.
    pub programme: Programme,
    /// The addresses that come after it in the list, if it was one.
    pub rest: Vec<String>,
}

/// Why there is nothing to play.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgrammeError {
    /// Neither an address that is spoken here, nor a file.
    #[error("{address} is no address that can be played: give http:// or https://, or a file")]
    Scheme {
        /// As it was given.
        address: String,
    },
    /// The file here cannot be read.
    #[error("cannot open {}: {}", .path.display(), without_code(.reason))]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
    /// It is a folder, or something else that has no beginning and end.
    #[error("{} is no file: give one, or a playlist", .path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// The server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A list that makes no sense, or is of a kind that is not played here.
    #[error("the playlist {address}: {reason}")]
    Playlist {
        /// Where it is.
        address: String,
        /// What is wrong.
        #[source]
        reason: PlaylistError,
    },
    /// A list that was cut.
    #[error("the playlist {address} was cut: {reason}")]
    Cut {
        /// Where it is.
        address: String,
        /// How that showed.
        #[source]
        reason: io::Error,
    },
    /// Lists name lists that name lists.
    #[error("the playlist {address} names another playlist, and that another, and so on: nothing is ever played")]
    Endless {
        /// The one that was not looked at any more.
        address: String,
    },
    /// Nothing in a list can be played.
    #[error("nothing in the playlist {address} can be played; the last one: {last}")]
    NoneOf {
        /// Where it is.
        address: String,
        /// Why the last entry cannot.
        last: Box<Self>,
    },
}

/// Looks what there is at `address`: a URL, or a path.
///
/// # Errors
/// [`ProgrammeError`].
pub fn find(address: &str) -> Result<Found, ProgrammeError> {
    find_in(address, 0)
}

fn find_in(address: &str, lists: usize) -> Result<Found, ProgrammeError> {
    if lists > MOST_NESTED {
        return Err(ProgrammeError::Endless { address: address.to_owned() });
    }
    match address.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
            find_remote(address, lists)
        }
        Some((scheme, path)) if scheme.eq_ignore_ascii_case("file") => find_local(Path::new(path), lists),
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(ProgrammeError::Scheme { address: address.to_owned() })
        }
        _ => find_local(Path::new(address), lists),
    }
}

fn find_remote(url: &str, lists: usize) -> Result<Found, ProgrammeError> {
    let tuned = Tuned::call(url)?;
    let address = tuned.address();
    if let Some(kind) = Playlist::recognise(tuned.content_type(), &address, &[]) {
        let bytes =
            tuned.read(MOST_BYTES as u64).map_err(|reason| ProgrammeError::Cut { address: address.clone(), reason })?;
        return find_listed(kind, &bytes, Base::Address(&address), &address, lists);
    }
    let programme = match tuned.file_len() {
        Some(_) => Programme::Remote(tuned),
        None => Programme::Live(tuned),
    };
    Ok(Found { programme, rest: Vec::new() })
}

fn find_local(path: &Path, lists: usize) -> Result<Found, ProgrammeError> {
    let failed = |reason| ProgrammeError::File { path: path.to_owned(), reason };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ProgrammeError::NotAFile { path: path.to_owned() });
    }
    let mut beginning = Vec::new();
    (&file).take(4096).read_to_end(&mut beginning).map_err(failed)?;
    let address = path.to_string_lossy();
    if let Some(kind) = Playlist::recognise(None, &address, &beginning) {
        (&file).take(MOST_BYTES as u64).read_to_end(&mut beginning).map_err(failed)?;
        return find_listed(kind, &beginning, Base::File(path), &address, lists);
    }
    Ok(Found { programme: Programme::Local { path: path.to_owned() }, rest: Vec::new() })
}

/// The first entry of a list that there is.
fn find_listed(kind: Kind, bytes: &[u8], base: Base<'_>, address: &str, lists: usize) -> Result<Found, ProgrammeError> {
    let entries = Playlist::parse(kind, bytes, base)
        .map_err(|reason| ProgrammeError::Playlist { address: address.to_owned(), reason })?;
    let mut addresses = entries.into_iter().map(|Entry { address, .. }| address);
    let mut last = None;
    while let Some(entry) = addresses.next() {
        match find_in(&entry, lists + 1) {
            Ok(mut found) => {
                found.rest.extend(addresses);
                return Ok(found);
            }
            Err(error @ ProgrammeError::Endless { .. }) => return Err(error),
            Err(error) => last = Some(Box::new(error)),
        }
    }
    match last {
        Some(last) => Err(ProgrammeError::NoneOf { address: address.to_owned(), last }),
        None => Err(ProgrammeError::Playlist { address: address.to_owned(), reason: PlaylistError::Empty }),
    }
}
