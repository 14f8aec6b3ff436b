//! Fetches a file: over several connections at once where the server sends parts, and so that whatever cuts it short
//! leaves something to go on from.
//!
//! ```text
//!   Client ──▶ Offer: length, version, parts?
//!                │
//!                ├─ in parts ─▶ connection 1 … n ─▶ Claim ─▶ FILE.part ─▶ FILE
//!                └─ as a whole ─▶ one connection ──────────▶ FILE.part ─▶ FILE
//! ```
//!
//! Parts are put together only if they are surely of one version of the file: each is asked for with `If-Range` and has to
//! name the version that was offered, and a leftover of an earlier run is resumed only if the server names the same
//! version as then. A server that names no version is asked for the whole, by one connection, and once more from the start
//! if that is cut; what is here by then has to be what comes again. So is a server whose parts do not fit together: its
//! nodes name the same file differently, or it answers a question for a part with something else.

mod background;
mod client;
mod error;
mod fields;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod halt;
mod hangup;
mod progress;
mod proxy;
mod retry;
mod size;
mod transfer;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use roundelay::{
    CancelToken, Leftover, MmapDriver, MmapOptions, OpenMode, Resource, ResourceStatus, Resume, StorageError,
    StorageResult,
};
use serde::Serialize;

pub use background::{Download, remove_downloads};
pub use error::{
    EXIT_CHANGED, EXIT_DONE, EXIT_FAILURE, EXIT_FILE, EXIT_INTERRUPTED, EXIT_SERVER, EXIT_USAGE, GetError,
};
pub use halt::Stopper;
pub use size::Size;

use client::{Client, Offer, Stream};
use progress::{Progress, note};
use retry::{Retries, Trouble};
use transfer::{Ended, Transfer};

use crate::address::Address;

/// The most connections at once.
pub const MAX_CONNECTIONS: u8 = 16;

/// A library's tag holds no more.
const MAX_TAG_BYTES: usize = 1024;

const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct GetOptions {
    /// The address.
    pub url: String,
    /// Where it is to be.
    pub file: PathBuf,
    /// At most so many connections at once.
    pub connections: u8,
    /// Replace a file that is there.
    pub force: bool,
    /// Give up after so many tries in which nothing came.
    pub tries: u32,
    /// A connection that is silent for so long is taken for cut.
    pub patience: Duration,
    /// What is here is made safe each time so many bytes have come.
    pub flush_every_bytes: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was fetched.
    Done,
    /// There was nothing to fetch.
    AlreadyThere,
}

/// What it came to, in the order in which it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The length of the file.
    pub bytes: u64,
    /// What was fetched of it now.
    pub fetched: u64,
    /// What was there from an earlier run.
    pub resumed: u64,
    /// How long it took.
    pub seconds: f64,
    /// How many connections were used.
    pub connections: usize,
    /// How often one had to be made again.
    pub retries: u64,
    /// How it ended.
    pub status: Status,
}

impl Summary {
    /// One line of JSON.
    ///
    /// # Errors
    /// None in practice: there is nothing in it that JSON cannot say.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Fetches a file.
///
/// # Errors
/// [`GetError`]. Unless it says otherwise, what has come so far is kept beside the file, for the same command to go on
/// with.
pub fn run(options: &GetOptions, stopper: &Stopper) -> Result<Summary, GetError> {
    let address = Address::read(&options.url)?;
    let file = Place::look(&options.file)?;
    let client = Client::new(&address, options.connections.into(), options.patience)?;
    stopper.watch(client.halt().clone());

    let replaces = file.len.filter(|_| options.force).is_some();
    // An answer that begins to flow is of use only to those who want its first byte.
    let here = file.len.filter(|_| !replaces).or(file.leftover);
    let ask = || here.map_or_else(|| client.open(), |here| client.look(here));
    let (offer, stream) = persist(ask, options, &client)?;

    if let Some(there) = file.len.filter(|_| !replaces) {
        if offer.len != Some(there) {
            let expected = offer.len.map(Size);
            return Err(GetError::Exists { path: options.file.clone(), there: Size(there), expected });
        }
        return Ok(already_there(options, there));
    }
    fetch(options, stopper, address, client, (offer, stream), replaces)
}

/// There is nothing to fetch.
fn already_there(options: &GetOptions, len: u64) -> Summary {
    note(format_args!("{} is there already, with the same {}", options.file.display(), Size(len)));
    let status = Status::AlreadyThere;
    Summary { bytes: len, fetched: 0, resumed: 0, seconds: 0.0, connections: 0, retries: 0, status }
}

/// What there is where the file is to be.
struct Place {
    /// The length of a file of that name.
    len: Option<u64>,
    /// How long one is to be of which an earlier run fetched a part.
    leftover: Option<u64>,
}

impl Place {
    fn look(path: &Path) -> Result<Self, GetError> {
        let not_a_file = |what| Err(GetError::NotAFile { path: path.to_owned(), what });
        let len = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return not_a_file("a folder"),
            Ok(found) if !found.is_file() => return not_a_file("no plain file"),
            Ok(found) => Some(found.len()),
            // What cannot be looked at is the store's to say: it has to write there.
            Err(_) => None,
        };
        if path.file_name().is_none() {
            return not_a_file("a folder");
        }
        Ok(Self { len, leftover: fs::metadata(beside(path, ".part")).map(|part| part.len()).ok() })
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Asks until there is an answer, or none is to be expected.
fn persist<T>(ask: impl Fn() -> Result<T, Trouble>, options: &GetOptions, client: &Client) -> Result<T, GetError> {
    let mut retries = Retries::new(options.tries);
    loop {
        let trouble = match ask() {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        if let Err(Trouble::Lasting(error) | Trouble::Passing { error, .. }) = retries.wait(trouble, client.halt()) {
            return Err(error);
        }
    }
}

/// Fetches what was offered.
fn fetch(
    options: &GetOptions,
    stopper: &Stopper,
    address: Address,
    client: Client,
    (offer, stream): (Offer, Option<Stream>),
    replaces: bool,
) -> Result<Summary, GetError> {
    let mode = if replaces { OpenMode::Replace } else { OpenMode::Auto };
    let tag = offer.version.validator().and_then(|validator| version_tag(address.as_str(), validator));
    // Without a length and a version no run can resume what the one before left, and that may have filled the disk.
    let resume = if tag.is_none() && offer.len.is_none() { Resume::Never } else { Resume::SameTag };
    let open = |offer: Offer, client, tag: Option<Vec<u8>>, resume| -> Result<Transfer, GetError> {
        let resumable = offer.in_parts && tag.is_some();
        let store = MmapOptions {
            mode,
            len: offer.len,
            tag: tag.unwrap_or_else(unlike_any_other),
            resume,
            flush_every_bytes: Some(options.flush_every_bytes),
            ..MmapOptions::new(&options.file)
        };
        let resource = open_patiently(&store)?;
        let resumed = announce(&resource.leftover(), &offer);
        Ok(Transfer {
            options: options.clone(),
            stopper: stopper.clone(),
            address: address.clone(),
            client,
            resource,
            resumed,
            resumable,
            progress: Progress::begin(offer.len, resumed),
            counts: Arc::default(),
            focus: Arc::default(),
            offer: Arc::new(offer),
        })
    };
    let transfer = open(offer, client, tag, resume)?;
    if let ResourceStatus::Committed { final_len } = transfer.resource.status() {
        // Another process has fetched it since we looked.
        return Ok(already_there(options, final_len));
    }
    let mut ended = transfer.run(stream);
    if let Ok(Ended::InOnePiece(answer)) = ended {
        let (client, offer, stream) = *answer;
        // What is here of other versions is of no use.
        ended = open(offer.nameless(), client, None, Resume::Never)?.run(Some(stream));
    }
    match ended {
        Ok(Ended::Done(summary)) => Ok(summary),
        // Nobody asks for a part of what has no version.
        Ok(Ended::InOnePiece(_)) => Err(GetError::Panicked),
        Err(error) => {
            if matches!(error, GetError::Differs { .. }) {
                // It would differ again. What cannot be removed is said by the next run.
                let _ = MmapDriver::discard(&options.file);
            }
            Err(error)
        }
    }
}

/// Opens a store. One that another process has locked is given a moment: the kernel may still be busy to let go of what
/// a process had that was killed just now.
///
/// # Errors
/// As [`Resource::open`].
pub fn open_patiently(options: &MmapOptions) -> StorageResult<Resource<MmapDriver>> {
    let began = Instant::now();
    loop {
        match Resource::open(CancelToken::new(), options.clone()) {
            Err(StorageError::Locked { .. }) if began.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
}

/// By what a leftover is recognised as part of the very same file: the address, without a user's name and password, and
/// what the server calls the version. `None` if that is too long to be remembered.
#[must_use]
pub fn version_tag(url: &str, validator: &str) -> Option<Vec<u8>> {
    let tag = format!("{url}\n{validator}").into_bytes();
    (tag.len() <= MAX_TAG_BYTES).then_some(tag)
}

/// For what no later run can go on with: a moment, and a process.
fn unlike_any_other() -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("\n{} {}", now.as_nanos(), std::process::id()).into_bytes()
}

/// Says what was found of an earlier run. Returns how many of its bytes are good.
fn announce(leftover: &Leftover, offer: &Offer) -> u64 {
    match leftover {
        Leftover::Resumed { bytes, dropped } => {
            let here = offer.len.map_or_else(|| Size(*bytes).to_string(), |len| Size(*bytes).of(Size(len)).to_string());
            let all_again = if offer.in_parts { "" } else { ", but the server sends the whole file again" };
            note(format_args!("resuming: {here} are there{all_again}"));
            if *dropped > 0 {
                note(format_args!("{} more were damaged, and are fetched again", Size(*dropped)));
            }
            *bytes
        }
        Leftover::SetAside { why } => {
            note(format_args!("starting over, what was there is set aside: {why}"));
            0
        }
        _ => 0,
    }
}
