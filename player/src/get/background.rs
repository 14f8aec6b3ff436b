//! A download that is read while it comes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use roundelay::{CancelToken, MmapDriver, MmapOptions, Reader, Resource};
use ureq::Body;
use ureq::http::Response;

use super::client::{Client, take_over};
use super::progress::{Counts, Progress};
use super::transfer::{Focus, Transfer};
use super::{GetError, GetOptions, Stopper, unlike_any_other};
use crate::address::Address;
use crate::source;

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
    /// Goes on with an answer from `address` that begins the whole of a file, and comes by a connection of `caller`. `ended` is called
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
        let options = GetOptions {
            url: address.to_string(),
            file: folder.path.join("stream"),
            connections,
            force: false,
            tries: 8,
            patience,
            // It is gone with the program in any case.
            flush_every_bytes: u64::MAX,
        };
        let stopper = Stopper::default();
        let client = Client::beside(Some(caller), &address, connections.into(), patience)?;
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
            address,
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

/// A folder of our own, gone when this is; at the latest when the next one is made, if the program is killed meanwhile.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Locked while the folder is in use. The system lets go of it whatever ends the program.
    lock: Option<File>,
}

/// The file that is locked.
const LOCK: &str = "lock";

impl Folder {
    fn make() -> Result<Self, GetError> {
        /// Of this process.
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        remove_leftovers(&std::env::temp_dir());
        // Held while it is made: what is not in the list is not there.
        let mut folders = folders();
        loop {
            // Relaxed: only different numbers are wanted.
            let number = FOLDERS.fetch_add(1, Relaxed);
            let path = std::env::temp_dir().join(format!("{NAME}{}-{number}", std::process::id()));
            match make(&path).and_then(|()| lock(&path)) {
                Ok(Some(lock)) => {
                    folders.push(path.clone());
                    return Ok(Self { path, lock: Some(lock) });
                }
                // Another process took it for a leftover before it was locked.
                Ok(None) => {}
                // Left by a process of that number which was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(reason) => return Err(GetError::Folder { path, reason }),
            }
        }
    }
}

/// What the names of such folders begin with. The number of a process follows, and one of the folder.
const NAME: &str = "roundelay-";

/// Locks a new folder; `None` if it has gone again.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let file = File::create_new(&path);
    let is_ours = |file: &File| file.try_lock().is_ok() && path.exists();
    match file {
        Ok(file) => Ok(Some(file).filter(is_ours)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the folders of processes that were killed. What cannot be removed, or looked at, is left as it is.
fn remove_leftovers(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let numbers =
            name.to_str().and_then(|name| name.strip_prefix(NAME)).and_then(|numbers| numbers.split_once('-'));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !numbers.is_some_and(|(process, folder)| is_number(process) && is_number(folder)) {
            continue;
        }
        // Not a link, and not another user's: that could not be locked.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let lock = OpenOptions::new().write(true).open(path.join(LOCK)).ok().filter(|_| is_folder);
        if let Some(lock) = lock.filter(|lock| lock.try_lock().is_ok()) {
            // Where an open file cannot be removed, it is enough that it was locked.
            if cfg!(windows) {
                drop(lock);
            }
            let _ = fs::remove_dir_all(path);
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
        self.lock = None;
        let _ = fs::remove_dir_all(&self.path);
        folders().retain(|folder| *folder != self.path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_a_leftover() {
        let temporary = std::env::temp_dir().join(format!("roundelay-leftovers-{}", std::process::id()));
        let folder = |name: &str| {
            let path = temporary.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("stream.part"), b"x").unwrap();
            path
        };
        let left = folder("roundelay-1-0");
        drop(lock(&left).unwrap().unwrap());
        let used = folder("roundelay-1-1");
        let held = lock(&used).unwrap();
        assert!(held.is_some());
        // Not locked yet, or by something else.
        let fresh = folder("roundelay-1-2");
        let others = folder("roundelay-play-1");
        fs::write(others.join(LOCK), b"").unwrap();
        remove_leftovers(&temporary);
        let there = [&left, &used, &fresh, &others].map(|path| path.join("stream.part").exists());
        assert_eq!(there, [false, true, true, true]);
        assert!(lock(&left).unwrap().is_none(), "a folder that has gone");
        fs::remove_dir_all(&temporary).unwrap();
    }
}
