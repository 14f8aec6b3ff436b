//! Where the bytes of a programme are kept while it is played: a ring for what goes on by itself, a store for a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roundelay::pcm::PcmReader;
use roundelay::{
    CancelToken, MmapDriver, MmapOptions, OnLap, OpenMode, Reader, Resource, RingDriver, RingOptions, Span,
    StorageError,
};
use thiserror::Error;

use crate::bit_rate::BitRate;
use crate::decode::{DecodeError, DecodeOptions, Decoding, Format, LeftOut, Reports};
use crate::get::{Download, GetError};
use crate::programme::Programme;
use crate::source::{Client, Source, SourceError, Tuned};
use crate::text::{printable, printable_path};
use crate::timeline::{Connection, Timeline};

/// A server that is silent for so long is called again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A window is no smaller, and no larger.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=8 << 30;

/// No station sends fewer bits a second.
const LEAST_RATE: u64 = 8_000;

/// How much of a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSize {
    /// So many bytes.
    Bytes(u64),
    /// About so long, by what the station says of its bit rate, or by what was measured of it, or, if neither can be, by
    /// the most that is usual. The window may last longer then.
    Time(Duration),
}

impl WindowSize {
    fn bytes(self, tuned: &Tuned, measured: Option<BitRate>) -> usize {
        let bytes = match self {
            Self::Bytes(bytes) => bytes,
            Self::Time(time) => {
                let most = usual_rate(tuned.content_type());
                // Some say bits where kilobits are meant, and some what is not so: a window is memory.
                let said = tuned.bits_per_second().filter(|said| (LEAST_RATE..=most * 2).contains(said));
                // A little more: bit rates are averages, and a beginning may be quiet.
                let (bits_per_second, more) = match (said, measured) {
                    (Some(said), _) => (said, 1.1),
                    (None, Some(rate)) if rate.is_constant => (rate.bits_per_second.max(LEAST_RATE), 1.1),
                    (None, Some(rate)) => (rate.bits_per_second.max(most / 16), 1.5),
                    (None, None) => (most, 1.1),
                };
                (time.as_secs_f64() * bits_per_second as f64 / 8.0 * more) as u64
            }
        };
        usize::try_from(bytes.clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end())).unwrap_or(usize::MAX)
    }
}

/// The most that stations of a kind send, in bits a second.
fn usual_rate(content_type: Option<&str>) -> u64 {
    match content_type {
        Some(name) if name.contains("flac") || name.contains("wav") => 1_600_000,
        Some(name) if name.contains("ogg") => 1_200_000,
        _ => 320_000,
    }
}

/// Why there is nothing to be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The station.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The download.
    #[error(transparent)]
    Get(#[from] GetError),
    /// The decoder.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The ring, or the file.
    #[error("cannot open {what}: {reason}")]
    Storage {
        /// What was to be opened.
        what: String,
        /// Why not.
        #[source]
        reason: StorageError,
    },
}

/// What is told while a programme is played.
pub struct Told {
    /// The format is known, and here is the end from which frames are played.
    pub opened: Box<dyn FnOnce(PcmReader<f32>, Format) + Send>,
    /// Nothing more comes.
    pub received: Box<dyn FnOnce(Result<(), MediaError>) + Send>,
    /// Something is not heard.
    pub left_out: Box<dyn Fn(LeftOut) + Send>,
    /// Nothing more is decoded.
    pub decoded: Box<dyn FnOnce(Result<(), DecodeError>) + Send>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

/// The bytes of a programme, and where they come from.
#[derive(Debug)]
pub enum Media {
    /// A station, and the ring behind it.
    Live {
        /// What writes.
        source: Source,
        /// Looks at the window.
        reader: Reader<RingDriver>,
    },
    /// A file on a server, and what is here of it.
    Remote {
        /// What writes.
        download: Download,
        /// Looks at what is here.
        reader: Reader<MmapDriver>,
    },
    /// A file.
    Local {
        /// Looks at it.
        reader: Reader<MmapDriver>,
    },
}

impl Media {
    /// Whether a programme goes on by itself.
    #[must_use]
    pub fn is_live(programme: &Programme) -> bool {
        matches!(programme, Programme::Live { .. })
    }

    /// Begins to receive a programme, and to decode it.
    ///
    /// # Errors
    /// [`MediaError`].
    pub fn start(
        programme: Programme,
        window: WindowSize,
        connections: u8,
        options: DecodeOptions,
        timeline: &Arc<Timeline>,
        cancel: &CancelToken,
        told: Told,
    ) -> Result<(Self, Decoding), MediaError> {
        let Told { opened, received, left_out, decoded } = told;
        let reports = Reports { opened, left_out, ended: decoded };
        let (timeline, cancel) = (timeline.clone(), cancel.clone());
        match programme {
            Programme::Live { tuned, measured, mut route } => {
                let failed = |reason| MediaError::Storage { what: "the ring".into(), reason };
                let capacity = window.bytes(&tuned, measured);
                let ring = Resource::open(cancel.clone(), RingOptions::new(capacity)).map_err(failed)?;
                let cursor = ring.cursor(OnLap::Error);
                let writer = ring.writer().map_err(failed)?;
                let decoding = Decoding::start(cursor, Arc::new(|_| {}), options, timeline.clone(), cancel, reports)?;
                let ended = |result: Result<(), SourceError>| received(result.map_err(Into::into));
                let again = move |client: &Client| route.call(client);
                let source = Source::listen(tuned, again, writer, timeline, decoding.state(), ended)?;
                Ok((Self::Live { source, reader: ring.reader() }, decoding))
            }
            Programme::Remote(tuned) => {
                let ended = |result: Result<(), GetError>| received(result.map_err(Into::into));
                let name = tuned.called().file_name();
                timeline.connected(0, Connection { station_name: name, content_type: None });
                let download = Download::start(tuned.into_answer(), connections, PATIENCE, cancel.clone(), ended)?;
                let cursor = download.reader().into_cursor(OnLap::Error);
                let moved = Arc::new(download.follows());
                let decoding = Decoding::start(cursor, moved, options, timeline, cancel, reports)?;
                Ok((Self::Remote { reader: download.reader(), download }, decoding))
            }
            Programme::Local { path } => {
                let (resource, name) = open_local(path, cancel.clone())?;
                timeline.connected(0, Connection { station_name: name, content_type: None });
                let decoding = Decoding::start(
                    resource.cursor(OnLap::Error),
                    Arc::new(|_| {}),
                    options,
                    timeline,
                    cancel,
                    reports,
                )?;
                received(Ok(()));
                Ok((Self::Local { reader: resource.reader() }, decoding))
            }
        }
    }

    /// What can be played, and what it could be at most, in bytes of the stream.
    #[must_use]
    pub fn window(&self) -> (Span, u64) {
        match self {
            Self::Live { reader, .. } => (reader.valid_window().unwrap_or_default(), reader.capacity()),
            Self::Remote { reader, download } => (Span { start: 0, end: reader.live_edge() }, download.len()),
            Self::Local { reader } => {
                let end = reader.live_edge();
                (Span { start: 0, end }, end)
            }
        }
    }

    /// What is here of the stream at and behind `offset`, without a gap.
    #[must_use]
    pub fn here_from(&self, offset: u64) -> u64 {
        match self {
            Self::Live { reader, .. } => reader.live_edge().saturating_sub(offset),
            Self::Remote { reader, .. } | Self::Local { reader } => {
                let available = reader.available();
                available.get(&offset).map_or(0, |range| range.end - offset)
            }
        }
    }

    /// How long the file is, if it is one, and that is known.
    #[must_use]
    pub fn file_len(&self) -> Option<u64> {
        match self {
            Self::Live { .. } => None,
            Self::Remote { download, .. } => Some(download.len()).filter(|&len| len > 0),
            Self::Local { reader } => reader.final_len(),
        }
    }

    /// Whether there is a connection now, or need be none.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Live { source, .. } => source.is_connected(),
            Self::Remote { .. } | Self::Local { .. } => true,
        }
    }

    /// Why there is no connection, if there should be one, and that is known.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Live { source, .. } => source.trouble(),
            Self::Remote { .. } | Self::Local { .. } => None,
        }
    }

    /// Bytes of audio received.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        match self {
            Self::Live { source, .. } => source.bytes_in(),
            Self::Remote { download, .. } => download.fetched(),
            Self::Local { reader } => reader.live_edge(),
        }
    }

    /// Times that a connection was made again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        match self {
            Self::Live { source, .. } => source.reconnects(),
            Self::Remote { download, .. } => download.retries(),
            Self::Local { .. } => 0,
        }
    }

    /// Hangs up. Cancel the stream first.
    pub fn stop(self) {
        match self {
            Self::Live { source, .. } => source.stop(),
            Self::Remote { download, .. } => drop(download),
            Self::Local { .. } => {}
        }
    }
}

fn open_local(path: PathBuf, cancel: CancelToken) -> Result<(Resource<MmapDriver>, Option<String>), MediaError> {
    let name = path.file_name().map(|name| printable(&name.to_string_lossy()));
    let what = printable_path(&path);
    let options = MmapOptions { mode: OpenMode::ReadOnly, ..MmapOptions::new(path) };
    let resource = Resource::open(cancel, options).map_err(|reason| MediaError::Storage { what, reason })?;
    Ok((resource, name))
}
