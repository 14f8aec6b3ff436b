//! The bytes that a decoder gets: of one connection, from one place on, and none that come after a seek.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roundelay::{Cursor, DriverIo, Reader, ResourceStatus, StorageError, WaitOutcome};
use symphonia::core::io::MediaSource;

use super::format::Container;
use super::links::{Links, Look};
use super::{Moved, Shared, lock};
use crate::timeline::Timeline;

/// Symphonia reads ahead, by up to 32 KiB at a time if it gets them: two seconds of a 128 kbit/s stream, in which a
/// title would be shown too late. In pieces of this size, the offset of a frame is known to a fraction of a second.
pub(super) const READ_AHEAD_BYTES: u64 = 2 << 10;

/// In so many bytes without a packet there is something else than was there before: blocks of FLAC and pages of Ogg may
/// be long, and frames of MPEG and AAC are not.
const MOST_SILENT_BYTES: u64 = 256 << 10;
const MOST_SILENT_FRAMES_BYTES: u64 = 16 << 10;

/// A station has said what it sends within so many, pictures and all: they are held until then. A file has an end.
const MOST_SILENT_LIVE_BYTES: u64 = 16 << 20;

/// Why there are no more bytes.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// Somebody wants to hear something else.
    Interrupted,
    /// Nobody listens any more.
    Cancelled,
    /// The stream is at its end.
    Complete,
    /// The connection is at its end, and another one begins there.
    Boundary(u64),
    /// The bytes have left the window.
    Lapped,
    /// The source failed.
    Failed(Arc<StorageError>),
    /// There are bytes, and no packets in them.
    Silent,
}

/// How far the reading went. Numbers that order nothing else: `Relaxed`.
#[derive(Debug)]
pub(super) struct Progress {
    read_to: AtomicU64,
    /// Up to where there were bytes when the last packet came.
    packet_at: AtomicU64,
    /// Up to where there were bytes when the last packet came that could be decoded.
    good_to: AtomicU64,
    live: bool,
    /// In so many bytes there has to be a packet.
    most_silent: AtomicU64,
    settled: AtomicBool,
    stop: Mutex<Option<Stop>>,
}

impl Progress {
    /// Of reading from `start`.
    pub(super) fn new(start: u64, container: Option<Container>, live: bool) -> Self {
        Self {
            read_to: start.into(),
            packet_at: start.into(),
            good_to: start.into(),
            live,
            most_silent: most_silent(container, live).into(),
            settled: false.into(),
            stop: Mutex::default(),
        }
    }

    /// The offset up to which bytes were read.
    pub(super) fn read_to(&self) -> u64 {
        self.read_to.load(Relaxed)
    }

    /// It is known what is read.
    pub(super) fn opened(&self, container: Container) {
        self.most_silent.store(most_silent(Some(container), self.live), Relaxed);
        self.packet_at.store(self.read_to(), Relaxed);
    }

    /// The end of the last packet that could be decoded, as near as can be told; the start before.
    pub(super) fn good_to(&self) -> u64 {
        self.good_to.load(Relaxed)
    }

    /// A packet was decoded that ends there.
    pub(super) fn good(&self, end: u64) {
        self.good_to.store(end, Relaxed);
    }

    /// No matter what is read, it is not looked for packets.
    pub(super) fn expect_nothing(&self) {
        self.most_silent.store(u64::MAX, Relaxed);
    }

    /// What was read last is something: a packet, or a tag.
    pub(super) fn is_alive(&self) {
        self.packet_at.store(self.read_to(), Relaxed);
    }

    /// Whether nobody wants to hear what is read: the end of what was read is no end of the stream.
    pub(super) fn is_called_off(&self) -> bool {
        matches!(self.stop(), Some(Stop::Interrupted | Stop::Cancelled))
    }

    /// The place is the right one.
    pub(super) fn settle(&self) {
        self.settled.store(true, Relaxed);
    }

    pub(super) fn has_settled(&self) -> bool {
        self.settled.load(Relaxed)
    }

    /// Why there are no more bytes, if that was the case.
    pub(super) fn stop(&self) -> Option<Stop> {
        lock(&self.stop).clone()
    }
}

fn most_silent(container: Option<Container>, live: bool) -> u64 {
    match container {
        Some(Container::Mpeg | Container::Adts) => MOST_SILENT_FRAMES_BYTES,
        Some(Container::Flac | Container::Ogg | Container::Wav) => MOST_SILENT_BYTES,
        // What there is before the first packet may be long: of MP4, even in front of any other.
        _ if live => MOST_SILENT_LIVE_BYTES,
        _ => u64::MAX,
    }
}

/// What Symphonia reads from.
pub(super) struct StreamReader<'a, D: DriverIo> {
    pub(super) cursor: &'a mut Cursor<D>,
    pub(super) timeline: Arc<Timeline>,
    pub(super) shared: Arc<Shared>,
    /// A byte of the connection.
    pub(super) connection: u64,
    /// What comes first.
    pub(super) front: Arc<[u8]>,
    /// How much of that was taken.
    pub(super) taken: usize,
    pub(super) progress: Arc<Progress>,
    /// Hears where the reading goes.
    pub(super) moved: Moved,
    /// The length of what may be sought in.
    pub(super) seekable_len: Option<u64>,
    /// Of Ogg: where another link of the chain begins, the stream is at its end.
    pub(super) links: Option<Links>,
}

impl<D: DriverIo> StreamReader<'_, D> {
    fn read_on(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        let at = self.cursor.position();
        let silent = at.saturating_sub(self.progress.packet_at.load(Relaxed));
        if silent > self.progress.most_silent.load(Relaxed) {
            return Err(Stop::Silent);
        }
        wait(self.cursor.reader(), &self.shared, at)?;
        // Only now that there is a byte is it known which connection it belongs to: connections are noted before their
        // first byte is published.
        let end = self.timeline.next_connection(self.connection).unwrap_or(u64::MAX);
        if end <= at {
            return Err(Stop::Boundary(end));
        }
        let free_to = match &mut self.links {
            Some(links) => links.free_from(&peek(self.cursor.reader(), &self.shared, &self.timeline, at), at)?,
            None => u64::MAX,
        };
        let most = (end.min(free_to) - at).min(READ_AHEAD_BYTES).min(buf.len() as u64) as usize;
        let length = read(self.cursor, &self.shared, &mut buf[..most])?;
        self.progress.read_to.store(self.cursor.position(), Relaxed);
        Ok(length)
    }
}

impl<D: DriverIo> Read for StreamReader<'_, D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let front = &self.front[self.taken..];
        if !front.is_empty() {
            let length = front.len().min(buf.len());
            buf[..length].copy_from_slice(&front[..length]);
            self.taken += length;
            return Ok(length);
        }
        // Once somebody wants to hear something else, nothing follows: what came after that would be joined to a cut frame.
        if self.progress.is_called_off() {
            return Ok(0);
        }
        match self.read_on(buf) {
            Ok(length) => Ok(length),
            Err(stop) => {
                *lock(&self.progress.stop) = Some(stop);
                // An end is what all of it is to whoever decodes.
                Ok(0)
            }
        }
    }
}

impl<D: DriverIo> Seek for StreamReader<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if self.seekable_len.is_none() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a stream goes only one way"));
        }
        let position = self.cursor.seek(to)?;
        (self.moved)(position);
        self.progress.read_to.store(position, Relaxed);
        self.progress.packet_at.store(position, Relaxed);
        Ok(position)
    }
}

impl<D: DriverIo> MediaSource for StreamReader<'_, D> {
    fn is_seekable(&self) -> bool {
        self.seekable_len.is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.seekable_len
    }
}

/// Looks at bytes of one connection, and takes none.
pub(super) struct Peek<'a, D: DriverIo> {
    reader: &'a Reader<D>,
    shared: &'a Shared,
    timeline: &'a Timeline,
    connection: u64,
}

/// Of the connection that the byte at `connection` is of.
pub(super) fn peek<'a, D: DriverIo>(
    reader: &'a Reader<D>,
    shared: &'a Shared,
    timeline: &'a Timeline,
    connection: u64,
) -> Peek<'a, D> {
    Peek { reader, shared, timeline, connection }
}

impl<D: DriverIo> Peek<'_, D> {
    /// Looks at what is there, or waits until there is something; nothing at the end.
    pub(super) fn some(&self, at: u64, buf: &mut [u8]) -> Result<usize, Stop> {
        let length = read_at(self.reader, self.shared, at, buf)?;
        // Known before the first byte behind it is there.
        let end = self.timeline.next_connection(self.connection).unwrap_or(u64::MAX);
        Ok(length.min(end.saturating_sub(at).try_into().unwrap_or(usize::MAX)))
    }
}

impl<D: DriverIo> Look for Peek<'_, D> {
    fn look(&self, at: u64, wanted: usize) -> Result<Vec<u8>, Stop> {
        let (mut bytes, mut there) = (vec![0; wanted], 0);
        while there < wanted {
            match self.some(at + there as u64, &mut bytes[there..])? {
                0 => break,
                length => there += length,
            }
        }
        bytes.truncate(there);
        Ok(bytes)
    }
}

/// Waits until the byte at `at` is there.
fn wait<D: DriverIo>(reader: &Reader<D>, shared: &Shared, at: u64) -> Result<(), Stop> {
    loop {
        if shared.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if reader.contains_range(at..at + 1) {
            return Ok(());
        }
        let waited = reader.wait_range(at..at + 1);
        match waited {
            Ok(WaitOutcome::Ready) => {
                shared.meals.fetch_add(1, Relaxed);
                return Ok(());
            }
            Ok(WaitOutcome::Eof) => return Err(Stop::Complete),
            // An interrupt that came too late for the seek before means nothing to this one.
            Ok(WaitOutcome::Interrupted | WaitOutcome::TimedOut) if shared.is_asked() => return Err(Stop::Interrupted),
            Ok(WaitOutcome::Interrupted | WaitOutcome::TimedOut) => {}
            Err(error) => return Err(stop_of(error, reader)),
        }
    }
}

/// Reads where the cursor is, of what is there.
fn read<D: DriverIo>(cursor: &mut Cursor<D>, shared: &Shared, buf: &mut [u8]) -> Result<usize, Stop> {
    loop {
        match cursor.read_timeout(buf, Duration::from_secs(3600)) {
            Ok(0) => return Err(Stop::Complete),
            Ok(length) => return Ok(length),
            Err(StorageError::Interrupted) if shared.is_asked() => return Err(Stop::Interrupted),
            Err(StorageError::Interrupted | StorageError::TimedOut) => {}
            Err(error) => return Err(stop_of(error, cursor.reader())),
        }
    }
}

/// Reads at `at`; 0 at the end of the stream.
pub(super) fn read_at<D: DriverIo>(
    reader: &Reader<D>,
    shared: &Shared,
    at: u64,
    buf: &mut [u8],
) -> Result<usize, Stop> {
    match wait(reader, shared, at) {
        Ok(()) => {}
        Err(Stop::Complete) => return Ok(0),
        Err(stop) => return Err(stop),
    }
    loop {
        match reader.read_at(at, buf) {
            Ok(length) => return Ok(length),
            Err(StorageError::Interrupted) if shared.is_asked() => return Err(Stop::Interrupted),
            Err(StorageError::Interrupted) => {}
            Err(error) => return Err(stop_of(error, reader)),
        }
    }
}

fn stop_of<D: DriverIo>(error: StorageError, reader: &Reader<D>) -> Stop {
    match error {
        StorageError::Evicted { .. } => Stop::Lapped,
        StorageError::Cancelled => Stop::Cancelled,
        error => match reader.status() {
            ResourceStatus::Cancelled => Stop::Cancelled,
            ResourceStatus::Failed(reason) => Stop::Failed(reason),
            _ => Stop::Failed(Arc::new(error)),
        },
    }
}
