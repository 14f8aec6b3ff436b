//! A download that is read while it comes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use roundelay::{CancelToken, MmapDriver, MmapOptions, Reader, Resource};
use ureq::Body;
use ureq::http::Response;

use crate::address::Address;
use crate::source;

use super::client::{Client, take_over};
use super::progress::{Counts, Progress};
use super::transfer::{Focus, Transfer};
use super::{GetError, GetOptions, Stopper, unlike_any_other};

/// A file that is fetched over several connections into a store that can be read meanwhile: what a reader waits for comes
/// first. The store is a file in the system's folder for such, and is gone with this.
#[derive(Debug)]
pub struct Download {
    resource: Resource<MmapDriver>,
    stopper: Stopper,
    counts: Arc<Counts>,
    focus: Arc<Focus>,
    thread: Option<JoinHandle<()>>,
    len: u64,
    // Dropped last.
    _folder: Folder,
}

impl Download {
    /// Goes on with an answer that begins the whole of a file, and comes by a connection of `caller`. `ended` is called
    /// when all of it is there, or no more will be. Asks nothing here: the server may take its time.
    ///
    /// # Errors
    /// As [`run`](super::run).
    pub(crate) fn start(
        (caller, address, answer): (source::Client, Address, Response<Body>),
        connections: u8,
        patience: Duration,
        cancel: CancelToken,
        ended: impl FnOnce(Result<(), GetError>) + Send + 'static,
    ) -> Result<Self, GetError> {
        let folder = Folder::make()?;
        let url = address.uri().clone();
        let options = GetOptions {
            url: url.to_string(),
            file: folder.0.join("stream"),
            connections,
            force: false,
            tries: 8,
            patience,
            // It is gone with the program in any case.
            flush_every_bytes: u64::MAX,
        };
        let stopper = Stopper::default();
        let client = Client::beside(Some((caller, address)), &url, connections.into(), patience);
        stopper.watch(client.halt().clone());
        let (offer, stream) = take_over(answer)?;
        let store = MmapOptions {
            len: offer.len,
            tag: unlike_any_other(),
            flush_every_bytes: None,
            ..MmapOptions::new(&options.file)
        };
        let resource = Resource::open(cancel, store)?;
        let len = offer.len.unwrap_or(0);
        let counts = Arc::<Counts>::default();
        let focus = Arc::new(Focus::of_a_reader());
        let transfer = Transfer {
            options,
            stopper: stopper.clone(),
            url,
            client,
            resource: resource.clone(),
            resumed: 0,
            resumable: false,
            progress: Progress::silent(offer.len),
            counts: counts.clone(),
            focus: focus.clone(),
            offer: Arc::new(offer),
        };
        let run = move || ended(transfer.run(stream).map(|_| ()));
        let thread = thread::Builder::new().name("download".into()).spawn(run).map_err(GetError::Thread)?;
        Ok(Self { resource, stopper, counts, focus, thread: Some(thread), len, _folder: folder })
    }

    /// Reads what is there, and waits for what is not.
    #[must_use]
    pub fn reader(&self) -> Reader<MmapDriver> {
        self.resource.reader()
    }

    /// How long the file is; 0 if the server does not say.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to fetch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Is to be told where a reader goes on, each time that it does not go on where it was. What is not here of that comes
    /// first then, and what is on its way is broken off.
    pub fn follows(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let (focus, reader, len) = (self.focus.clone(), self.reader(), self.len);
        move |offset| {
            if offset < len && !reader.contains_range(offset..offset + 1) {
                focus.change();
            }
        }
    }

    /// Bytes that came.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.counts.fetched()
    }

    /// Tries after the first, of all connections.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.counts.retries()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Nothing is kept of it in any case.
        let _ = self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// A folder of our own, gone when this is.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, GetError> {
        /// Of this process.
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        // Held while it is made: what is not in the list is not there.
        let mut folders = folders();
        loop {
            // Relaxed: only different numbers are wanted.
            let number = FOLDERS.fetch_add(1, Relaxed);
            let path = std::env::temp_dir().join(format!("roundelay-{}-{number}", std::process::id()));
            match make(&path) {
                Ok(()) => {
                    folders.push(path.clone());
                    return Ok(Self(path));
                }
                // Left by a process of that number which was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(reason) => return Err(GetError::Folder { path, reason }),
            }
        }
    }
}

/// For nobody else's eyes.
fn make(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }
    // The folder for such is the user's own.
    #[cfg(not(unix))]
    fs::create_dir(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up, as that folder is.
        let _ = fs::remove_dir_all(&self.0);
        folders().retain(|folder| *folder != self.0);
    }
}

/// All that there are.
fn folders() -> MutexGuard<'static, Vec<PathBuf>> {
    static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what was downloaded to be read meanwhile: for a program that is about to end where it stands.
pub fn remove_downloads() {
    for folder in folders().drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}
