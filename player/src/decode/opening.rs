//! How a decoder is opened at a place of the stream: what begins there, and what has to be put in front of it.

use std::sync::Arc;

use roundelay::{Cursor, DriverIo};

use super::format::Container;
use super::links::{self, Links};
use super::recognise::{NAME_BYTES, Recognised, recognise};
use super::session::{Decoder, Place};
use super::stream::{self, Progress, Stop, StreamReader};
use crate::head::{HeadKind, HeadScanner, find_page};

/// What begins with nothing known is searched so far.
const MOST_SEARCHED_BYTES: usize = 1 << 20;

/// Less than this is looked at first: of frames, three are in it.
const FIRST_LOOK_BYTES: usize = 2 << 10;

/// Tags that are longer than this are passed over unread: they hold pictures.
const MOST_TAG_BYTES: u64 = 256 << 10;

/// Pictures longer than this at the beginning are too much for Symphonia.
const MAX_SYMPHONIA_HEAD_BYTES: u64 = 16 << 20;

/// How a decoder is opened.
pub(super) struct Opening {
    /// The first byte of the stream that it gets.
    pub(super) start: u64,
    /// What it gets before that.
    pub(super) front: Arc<[u8]>,
    /// What it is.
    pub(super) container: Container,
    /// Which was known before.
    pub(super) is_known: bool,
    /// The first byte of its stream, if that has a head.
    pub(super) head: Option<u64>,
}

/// Why no decoder can be opened.
pub(super) enum Unopened {
    /// There are no more bytes.
    Stop(Stop),
    /// It is of a format that is not supported.
    Foreign { codec: &'static str, at: u64 },
    /// Up to there, it is nothing that is known.
    Nothing { to: u64 },
}

impl From<Stop> for Unopened {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl<D: DriverIo> Decoder<D> {
    /// How to open a decoder there.
    pub(super) fn opening(&mut self, cursor: &mut Cursor<D>, place: Place) -> Result<Opening, Unopened> {
        let connection = self.timeline.connection_start(place.offset);
        // Whoever begins with a connection looks at what comes, whatever came before; an index has its file begin there.
        let noted = self.containers.latest(connection, place.offset);
        let known = noted.filter(|container| container.has_index() || place.offset != connection);
        let (container, offset) = match known {
            Some(container) if container.has_index() => (container, connection),
            Some(container) => (container, place.offset),
            None => self.recognise(place.offset)?,
        };
        if known.is_none() {
            self.note_head(container, offset);
        }
        if container == Container::Ogg {
            self.note_links(offset);
        }
        let (mut start, mut front) = (offset, Arc::default());
        let head = self.timeline.head_at(offset).filter(|(_, head)| is_of(head.kind, container));
        if let Some((begins, head)) = head.as_ref().filter(|(begins, head)| head.covers(offset - begins)) {
            let behind = begins + head.len;
            // Where it was lost in what was taken for a head, its beginning leads there again.
            let at = if self.lost_at == Some(place.offset) { offset.max(behind) } else { offset };
            if at < behind && head.len <= MAX_SYMPHONIA_HEAD_BYTES {
                start = *begins;
            } else {
                let at = at.max(behind);
                start = match head.kind {
                    HeadKind::Flac => at,
                    HeadKind::Wav { block_bytes, .. } => at - (at - behind) % u64::from(block_bytes),
                    HeadKind::Ogg => self.next_page(cursor, at)?,
                };
                front = head.in_front_of(start - begins);
            }
        }
        (self.moved)(start);
        match cursor.seek_to(start) {
            Ok(_) => {
                let head = head.map(|(start, _)| start);
                Ok(Opening { start, front, container, is_known: known.is_some(), head })
            }
            // The only error that there is.
            Err(_) => Err(Stop::Lapped.into()),
        }
    }

    /// What the decoder of an opening reads, and how far it has come with that.
    pub(super) fn source<'a>(
        &self,
        cursor: &'a mut Cursor<D>,
        opening: &Opening,
    ) -> (StreamReader<'a, D>, Arc<Progress>) {
        let known = Some(opening.container).filter(|_| opening.is_known);
        let progress = Arc::new(Progress::new(opening.start, known, self.options.live));
        let whole_file = !self.options.live && opening.front.is_empty();
        let is_chain = opening.container == Container::Ogg;
        let source = StreamReader {
            cursor,
            timeline: self.timeline.clone(),
            shared: self.shared.clone(),
            connection: opening.start,
            front: opening.front.clone(),
            taken: 0,
            progress: progress.clone(),
            moved: self.moved.clone(),
            // Only what has an index is sought in: a probe that looked for the end would stall.
            seekable_len: self.file_len().filter(|_| whole_file && opening.container.has_index()),
            links: is_chain.then(|| Links::new(opening.start, !opening.front.is_empty())),
        };
        (source, progress)
    }

    /// How long the source of an opening is, if that is known.
    pub(super) fn source_len(&self, opening: &Opening) -> Option<u64> {
        let left = self.file_len().filter(|_| !self.options.live)?.saturating_sub(opening.start);
        Some(left + opening.front.len() as u64)
    }

    /// What begins at `start`, or behind that.
    fn recognise(&self, start: u64) -> Result<(Container, u64), Unopened> {
        let peek = stream::peek(&self.reader, &self.shared, &self.timeline, start);
        let (mut at, mut first) = (start, start);
        let (mut bytes, mut ended, mut wanted) = (Vec::new(), false, FIRST_LOOK_BYTES);
        loop {
            let mut piece = vec![0; wanted - bytes.len()];
            let length = peek.some(at + bytes.len() as u64, &mut piece)?;
            bytes.extend_from_slice(&piece[..length]);
            ended |= length == 0;
            if bytes.len() < NAME_BYTES && !ended {
                continue;
            }
            match recognise(&bytes, ended) {
                Recognised::Stream(container, 0) if container.has_tags() => return Ok((container, first)),
                Recognised::Stream(container, behind) => return Ok((container, at + behind as u64)),
                Recognised::Foreign(codec) => return Err(Unopened::Foreign { codec, at }),
                Recognised::Tag(len) => {
                    at += len;
                    first = if len > MOST_TAG_BYTES { at } else { first };
                    (bytes, wanted, ended) = (Vec::new(), FIRST_LOOK_BYTES, false);
                    (self.moved)(at);
                    continue;
                }
                Recognised::Nothing => {}
            }
            if ended || bytes.len() >= MOST_SEARCHED_BYTES {
                return Err(match self.timeline.next_connection(start) {
                    Some(next) if ended => Stop::Boundary(next).into(),
                    None if ended && bytes.is_empty() => Stop::Complete.into(),
                    _ => Unopened::Nothing { to: at + bytes.len() as u64 },
                });
            }
            if bytes.len() == wanted {
                wanted *= 2;
            }
        }
    }

    /// Notes the head of what begins at `start`, if nobody has noted it while it came.
    fn note_head(&self, container: Container, start: u64) {
        let has_head = matches!(container, Container::Flac | Container::Ogg | Container::Wav);
        if !has_head || self.timeline.head_at(start).is_some_and(|(noted, _)| noted == start) {
            return;
        }
        let mut scanner = HeadScanner::new(start);
        let (mut piece, mut at) = ([0; 4096], start);
        let mut found = false;
        let peek = stream::peek(&self.reader, &self.shared, &self.timeline, start);
        while !found && !scanner.is_behind_head() && !self.shared.cancel.is_cancelled() {
            // Whatever is wrong, whoever reads next is told.
            let Ok(length @ 1..) = peek.some(at, &mut piece) else { return };
            at += length as u64;
            scanner.push(&piece[..length], |head| {
                self.timeline.begun(head);
                found = true;
            });
        }
    }

    /// Notes the links of a file that begin before `offset`, as far as it is here: who goes there may pass over some.
    fn note_links(&mut self, offset: u64) {
        if self.options.live || offset <= self.links_to {
            return;
        }
        let Some((begins, head)) = self.timeline.head_at(offset) else { return };
        let peek = stream::peek(&self.reader, &self.shared, &self.timeline, begins);
        let mut at = self.links_to.max(begins + head.len);
        let (mut links, mut begun) = (Links::new(at, true), begins);
        // The header of a page is no longer than this.
        while at < offset && self.reader.contains_range(at..at + 27 + 255) {
            match links.free_from(&peek, at) {
                Ok(next) => at = next,
                // What is there is no Ogg.
                Err(Stop::Boundary(next)) if next == begun => break,
                Err(Stop::Boundary(next)) => {
                    begun = next;
                    self.note_head(Container::Ogg, next);
                    links = Links::new(next, false);
                    at = next;
                }
                Err(_) => return,
            }
        }
        self.links_to = at;
    }

    /// The codec of a link of Ogg that begins there, if it cannot be decoded.
    pub(super) fn foreign_link(&self, opening: &Opening) -> Result<Option<&'static str>, Stop> {
        if opening.container != Container::Ogg || !opening.front.is_empty() {
            return Ok(None);
        }
        let peek = stream::peek(&self.reader, &self.shared, &self.timeline, opening.start);
        links::foreign_codec(&peek, opening.start)
    }

    /// The first page of Ogg at or behind `offset`.
    fn next_page(&self, cursor: &Cursor<D>, offset: u64) -> Result<u64, Stop> {
        /// No page is longer.
        const MOST_PAGE_BYTES: u64 = 65_307;
        let mut piece = [0; 4096];
        let mut at = offset;
        while at < offset + MOST_PAGE_BYTES {
            let length = stream::read_at(cursor.reader(), &self.shared, at, &mut piece)?;
            if length == 0 {
                break;
            }
            if let Some(found) = find_page(&piece[..length]) {
                return Ok(at + found as u64);
            }
            // A page may begin at the end of one piece and go on in the next.
            at += (length as u64).saturating_sub(3).max(1);
        }
        Ok(offset)
    }
}

fn is_of(kind: HeadKind, container: Container) -> bool {
    match kind {
        HeadKind::Flac => container == Container::Flac,
        HeadKind::Ogg => container == Container::Ogg,
        HeadKind::Wav { .. } => container == Container::Wav,
    }
}

/// What stretches of the stream were found to be, by their first byte; in order.
#[derive(Debug, Default)]
pub(super) struct Containers(Vec<(u64, Container)>);

impl Containers {
    /// What is noted of the connection that began at `connection`, or of the last stretch of it before `offset`.
    fn latest(&self, connection: u64, offset: u64) -> Option<Container> {
        let noted = self.0.iter().rfind(|&&(start, _)| (connection..=offset).contains(&start));
        noted.map(|&(_, container)| container).filter(|&container| container != Container::Unknown)
    }

    /// Notes what begins at `start`.
    pub(super) fn insert(&mut self, start: u64, container: Container) {
        /// Connections of long ago are of no use.
        const MOST: usize = 256;
        self.0.retain(|&(noted, _)| noted != start);
        let at = self.0.partition_point(|&(noted, _)| noted < start);
        self.0.insert(at, (start, container));
        if self.0.len() > MOST {
            self.0.remove(0);
        }
    }
}
