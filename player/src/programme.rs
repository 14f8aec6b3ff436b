//! What there is at an address: a station, a file, or a list of others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use url::Url;

use crate::address::{Address, AddressError, without_credentials};
use crate::bit_rate::BitRate;
use crate::playlist::{Base, Entry, Kind, List, MOST_BYTES, MOST_NESTED, Playlist, PlaylistError};
use crate::source::{Again, Client, SourceError, Tuned};
use crate::text::printable_path;

/// After so many addresses in a row that cannot be played, no more are tried: a list may name thousands.
pub const MOST_FAILURES: usize = 50;

/// Something to play.
#[derive(Debug)]
pub enum Programme {
    /// A stream that goes on by itself.
    Live {
        /// The station.
        tuned: Tuned,
        /// The bit rate of what it sends, where the station does not say, and it could be measured.
        measured: Option<BitRate>,
        /// How it is called again.
        route: Route,
    },
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
    Programme(Box<Programme>),
    /// A list of addresses.
    List(List),
}

/// Why there is nothing to play.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgrammeError {
    /// Neither an address that is spoken here, nor a file.
    #[error("{} is no address that can be played: give http:// or https://, or a file", without_credentials(.address))]
    Scheme {
        /// As it was given.
        address: String,
    },
    /// The file here cannot be read.
    #[error("cannot open {}: {reason}", printable_path(.path))]
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
    /// An address in the network that cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A list that makes no sense, or is of a kind that is not played here.
    #[error("the playlist {}: {reason}", without_credentials(.address))]
    Playlist {
        /// Where it is.
        address: String,
        /// What is wrong.
        #[source]
        reason: PlaylistError,
    },
    /// A list that was cut.
    #[error("the playlist {} was cut: {reason}", without_credentials(.address))]
    Cut {
        /// Where it is.
        address: String,
        /// How that showed.
        #[source]
        reason: io::Error,
    },
    /// Lists name lists that name lists.
    #[error(
        "the playlist {} names another playlist, and that another, and so on: nothing is ever played", without_credentials(.address)
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
    let address = address.trim();
    let unknown = || ProgrammeError::Scheme { address: address.to_owned() };
    match address.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
            find_remote(&Address::read(address)?)
        }
        Some((scheme, rest)) if rest.starts_with("//") && scheme.eq_ignore_ascii_case("file") => {
            let path = Url::parse(address).ok().and_then(|url| url.to_file_path().ok());
            find_local(&path.ok_or_else(unknown)?)
        }
        Some((scheme, rest)) if rest.starts_with("//") && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(unknown())
        }
        _ => find_local(Path::new(address)),
    }
}

fn find_remote(address: &Address) -> Result<Found, ProgrammeError> {
    let mut tuned = Tuned::call(address)?;
    if let Some(kind) = tuned.list_kind() {
        let found_at = tuned.address().clone();
        let address = found_at.to_string();
        // One more than is taken: what is too long shows.
        let read = tuned.read(MOST_BYTES as u64 + 1);
        let bytes = read.map_err(|reason| ProgrammeError::Cut { address: address.clone(), reason })?;
        return read_list(kind, &bytes, Base::Address(found_at.with_credentials()), &address);
    }
    Ok(Found::Programme(Box::new(match tuned.file_len() {
        Some(len) if has_room(len) => Programme::Remote(tuned),
        // What is too long to be kept is heard as a stream.
        _ => {
            let route = Route { addresses: vec![tuned.called().with_credentials().to_owned()], ..Route::default() };
            let measured = if tuned.bits_per_second().is_some() { None } else { tuned.measure() };
            Programme::Live { tuned, measured, route }
        }
    })))
}

/// Whether a download of this length can be kept while it is played.
#[cfg(unix)]
fn has_room(len: u64) -> bool {
    // For the index beside it, and whatever else is written there.
    const MARGIN_BYTES: u64 = 16 << 20;
    let found = rustix::fs::statvfs(std::env::temp_dir());
    found.is_ok_and(|system| len.saturating_add(MARGIN_BYTES) <= system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn has_room(_: u64) -> bool {
    true
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
    Ok(Found::Programme(Box::new(Programme::Local { path: path.to_owned() })))
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
    /// What was taken last.
    taken: Waiting,
    /// In a row.
    failures: usize,
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    address: String,
    /// Said to be the same.
    others: Vec<String>,
    /// How many lists lead there.
    lists: usize,
    /// The list that it is in, and its place there.
    list: Option<(Arc<Listed>, usize)>,
}

/// A list, as it was.
#[derive(Debug)]
struct Listed {
    /// Where it is.
    address: String,
    /// All that is in it.
    addresses: Vec<String>,
}

impl Queue {
    /// Begins with an address.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        let first = Waiting { address: address.into(), ..Waiting::default() };
        Self { waiting: vec![first], taken: Waiting::default(), failures: 0 }
    }

    /// Takes the next address.
    pub fn take_next(&mut self) -> Option<String> {
        self.taken = self.waiting.pop()?;
        Some(self.taken.address.clone())
    }

    /// Puts what is in a list, which was found at the address that was taken last, in its place.
    ///
    /// # Errors
    /// [`ProgrammeError::Endless`].
    pub fn put(&mut self, address: &str, entries: Vec<Entry>) -> Result<(), ProgrammeError> {
        if self.taken.lists > MOST_NESTED {
            return Err(ProgrammeError::Endless { address: address.to_owned() });
        }
        let lists = self.taken.lists + 1;
        let addresses = entries.iter().map(|entry| entry.address.clone()).collect();
        let list = Arc::new(Listed { address: address.to_owned(), addresses });
        let waiting = entries.into_iter().enumerate().map(|(place, Entry { address, others, .. })| Waiting {
            address,
            others,
            lists,
            list: Some((list.clone(), place)),
        });
        self.waiting.extend(waiting.rev());
        Ok(())
    }

    /// How the address that was taken last, a station's, is called again.
    #[must_use]
    pub fn route(&self) -> Route {
        let Waiting { address, others, list, .. } = &self.taken;
        let mut addresses = vec![address.clone()];
        addresses.extend_from_slice(others);
        if let Some((list, place)) = list {
            let (before, behind) = list.addresses.split_at(*place);
            addresses.extend(behind.iter().skip(1).chain(before).take(MOST_FAILURES).cloned());
        }
        Route { addresses, at: 0, list: list.as_ref().map(|(list, _)| list.address.clone()) }
    }

    /// The address that was taken last was played.
    pub fn played(&mut self) {
        self.failures = 0;
    }

    /// Whether what was taken last is said to be elsewhere, too.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !self.taken.others.is_empty()
    }

    /// The address that was taken last cannot be played: what is said to be the same comes next. Returns whether there is
    /// more to try.
    pub fn failed(&mut self) -> bool {
        self.failures += 1;
        let mut taken = std::mem::take(&mut self.taken);
        if !taken.others.is_empty() {
            taken.address = taken.others.remove(0);
            self.waiting.push(taken);
        }
        self.failures < MOST_FAILURES && !self.waiting.is_empty()
    }
}

/// How a station is called again that has hung up: its address, what else is in the list that named it, and that list.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// At least one.
    addresses: Vec<String>,
    /// The one that is called next.
    at: usize,
    list: Option<String>,
}

impl Route {
    /// Calls the station, as `client`.
    ///
    /// A station that is away is waited for. Where it refuses for good, what comes next in the list is called, and after the
    /// last of them the list is asked again: it may lead elsewhere now. If these refuse as well they are waited for, since
    /// servers refuse while the program that feeds them starts anew. If what comes next is no station, this one has gone.
    pub fn call(&mut self, client: &Client) -> Again {
        let again = self.call_each(client);
        if again.is_err() && self.ask_list() { self.call_each(client) } else { again }.unwrap_or_else(Again::Away)
    }

    /// Fails if all of them refuse for good.
    fn call_each(&mut self, client: &Client) -> Result<Again, Option<SourceError>> {
        let mut refused = None;
        for _ in 0..self.addresses.len() {
            let called = Address::read(&self.addresses[self.at]).map(|address| Tuned::call_by(client, &address));
            match called {
                Ok(Ok(tuned)) if tuned.list_kind().is_none() && tuned.file_len().is_none() => {
                    return Ok(Again::Here(Box::new(tuned)));
                }
                Ok(Err(error)) if error.is_lasting() => refused = Some(error),
                // A page may come from a station under repair.
                Ok(Err(error)) => return Ok(Again::Away(Some(error))),
                // A file or a list.
                Ok(Ok(_)) | Err(_) => {
                    if let Some(error) = refused {
                        return Ok(Again::Gone(error));
                    }
                }
            }
            self.at = (self.at + 1) % self.addresses.len();
        }
        Err(refused)
    }

    /// Whether the list still leads somewhere.
    fn ask_list(&mut self) -> bool {
        let Some(Ok(Found::List(list))) = self.list.as_deref().map(find) else { return false };
        let all = list.entries.into_iter().flat_map(|entry| std::iter::once(entry.address).chain(entry.others));
        self.addresses = all.take(MOST_FAILURES).collect();
        self.at = 0;
        true
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
