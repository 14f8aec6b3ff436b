//! Why a file was not fetched, in one sentence, and the exit code that tells a script.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use roundelay::StorageError;
use thiserror::Error;

use super::size::Size;
use crate::address::AddressError;

/// The file is there.
pub const EXIT_DONE: u8 = 0;
/// Something else.
pub const EXIT_FAILURE: u8 = 1;
/// The command line, an address included, makes no sense. The same as clap's own.
pub const EXIT_USAGE: u8 = 2;
/// The server refused, cannot be reached, or answers nonsense.
pub const EXIT_SERVER: u8 = 3;
/// The file on the server is another one now.
pub const EXIT_CHANGED: u8 = 4;
/// The file here cannot be written, or is in the way.
pub const EXIT_FILE: u8 = 5;
/// What a shell reports for a program that an interrupt ended.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a file was not fetched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GetError {
    /// The address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The environment names a proxy that cannot be used.
    #[error(
        "the proxy {address} of the variable {name} cannot be used: give the address of an HTTP proxy, or unset {name}"
    )]
    Proxy {
        /// The variable.
        name: String,
        /// What it says, without a password.
        address: String,
    },
    /// A station.
    #[error(
        "{url} is a station's stream, which has no end and makes no file: `roundelay play` plays it, and keeps what was \
         played with `--output wav:FILE`"
    )]
    Endless {
        /// What was called.
        url: String,
    },
    /// There is no place to keep what comes while it is read.
    #[error("cannot make the folder {}: {reason}; TMPDIR names another place for it", .path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        reason: io::Error,
    },
    /// No connection.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was called.
        url: String,
        /// What went wrong.
        #[source]
        reason: Box<ureq::Error>,
    },
    /// The server's certificate, or what it says in TLS.
    #[error("no secure connection to {url}: {reason}")]
    Insecure {
        /// What was called.
        url: String,
        /// What is wrong with the certificate.
        #[source]
        reason: Box<ureq::Error>,
    },
    /// The server sends the client somewhere that it must not or cannot go.
    #[error("{url} redirects to where nothing can be fetched: {reason}")]
    Redirect {
        /// What was called.
        url: String,
        /// What is wrong there.
        reason: String,
    },
    /// A status that is no success.
    #[error("the server refused {url}: {status}")]
    Refused {
        /// What was called.
        url: String,
        /// The status, with its usual reason.
        status: String,
    },
    /// The connection was cut, stalled, or the body ended before its end.
    #[error("the connection to {url} was cut: {reason}")]
    Cut {
        /// What was called.
        url: String,
        /// How that showed.
        #[source]
        reason: io::Error,
    },
    /// An answer that contradicts the question or itself.
    #[error("the server answers nonsense: {0}")]
    Nonsense(String),
    /// Nothing came in any of several tries.
    #[error("gave up after {tries} tries in which nothing came: {last}")]
    GaveUp {
        /// How many.
        tries: u32,
        /// Why the last one failed.
        #[source]
        last: Box<GetError>,
    },
    /// The server asks for more patience than there is.
    #[error("the server asks to come back in {} s: {last}", .wait.as_secs())]
    ComeBackLater {
        /// What it asks for.
        wait: Duration,
        /// The answer that said so.
        #[source]
        last: Box<GetError>,
    },
    /// What is on the server now is not what the bytes that are here came from.
    #[error("the file changed on the server meanwhile ({what}); the same command fetches it anew")]
    Changed {
        /// By what it was noticed.
        what: String,
    },
    /// What came again is not what is here.
    #[error(
        "the file changed on the server meanwhile (other bytes came at {at} the second time); what was here is discarded, \
         and the same command fetches it anew"
    )]
    Differs {
        /// The offset of the first byte that differs.
        at: u64,
    },
    /// There is a file of that name.
    #[error("{} is there already, with {there}, and {}; --force replaces it", .path.display(), Expected(*.expected))]
    Exists {
        /// The file.
        path: PathBuf,
        /// Its length.
        there: Size,
        /// The length of the server's, if it says.
        expected: Option<Size>,
    },
    /// There is something else of that name.
    #[error("{} is {what}, and no file can be written there", .path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No thread for a connection.
    #[error("cannot start a thread for a connection: {0}")]
    Thread(#[source] io::Error),
    /// A thread ended without a word; it has said why on standard error.
    #[error("a connection ended by an error of this program")]
    Panicked,
    /// The user had enough.
    #[error("interrupted{}", Kept(*.kept, *.is_there))]
    Interrupted {
        /// What is kept of how much, if the same command can resume from there.
        kept: Option<(Size, Size)>,
        /// The unfinished file is still where it was made.
        is_there: bool,
    },
}

impl GetError {
    /// Of a connection: what is kept is said by who watches over all of them.
    pub(super) fn interrupted() -> Self {
        Self::Interrupted { kept: None, is_there: true }
    }

    /// The code that the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::Proxy { .. } => EXIT_USAGE,
            Self::Endless { .. }
            | Self::Unreachable { .. }
            | Self::Insecure { .. }
            | Self::Redirect { .. }
            | Self::Refused { .. }
            | Self::Cut { .. }
            | Self::Nonsense(_)
            | Self::GaveUp { .. }
            | Self::ComeBackLater { .. } => EXIT_SERVER,
            Self::Changed { .. } | Self::Differs { .. } => EXIT_CHANGED,
            Self::Exists { .. } | Self::NotAFile { .. } | Self::Folder { .. } => EXIT_FILE,
            Self::Storage(error) => storage_exit_code(error),
            Self::Thread(_) | Self::Panicked => EXIT_FAILURE,
            Self::Interrupted { .. } => EXIT_INTERRUPTED,
        }
    }

    /// Whether this ends the whole download, and not only the connection that it happened to: a server may refuse one
    /// connection too many and go on with the others.
    pub(super) fn ends_all(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Differs { .. } | Self::Storage(_) | Self::Insecure { .. })
    }

    /// Why parts do not fit together, in a few words.
    pub(super) fn in_parts(&self) -> String {
        match self {
            Self::Changed { what } => what.clone(),
            Self::Differs { at } => format!("other bytes came at {at} the second time"),
            error => error.to_string(),
        }
    }

    /// Whether the server may do better if it is asked for the whole file at once: it answered, and not as it should when
    /// it is asked for parts.
    pub(super) fn is_of_parts(&self) -> bool {
        match self {
            Self::Changed { .. }
            | Self::Differs { .. }
            | Self::Nonsense(_)
            | Self::Refused { .. }
            | Self::Cut { .. } => true,
            Self::GaveUp { last, .. } => last.is_of_parts(),
            _ => false,
        }
    }
}

fn storage_exit_code(error: &StorageError) -> u8 {
    match error {
        StorageError::Failed(reason) => storage_exit_code(reason),
        StorageError::Io(_)
        | StorageError::Locked { .. }
        | StorageError::NotAFile { .. }
        | StorageError::File { .. }
        | StorageError::DiskFull { .. }
        | StorageError::FileSizeLimit { .. }
        | StorageError::FolderMissing { .. }
        | StorageError::Removed { .. }
        | StorageError::Unfinished { .. }
        | StorageError::ReadOnly => EXIT_FILE,
        _ => EXIT_FAILURE,
    }
}

struct Expected(Option<Size>);

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(len) => write!(f, "the server's has {len}"),
            None => f.write_str("the server does not say how long its own is"),
        }
    }
}

struct Kept(Option<(Size, Size)>, bool);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self(Some((kept, len)), _) => {
                write!(f, "; {} are kept, and the same command goes on from there", kept.of(*len))
            }
            Self(None, true) => {
                f.write_str("; this server cannot go on in the middle, so the same command starts over")
            }
            Self(None, false) => f.write_str("; nothing is kept, so the same command starts over"),
        }
    }
}
