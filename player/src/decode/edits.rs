//! Which part of a track is to be heard: the edit list of MP4, or what iTunes notes in its place.
//!
//! An encoder puts a thousand frames or two before the first that it was given, and fills up the last packet. An edit
//! list says where the audio is between them, and may leave out or repeat parts of it. Symphonia reads it and passes it
//! over.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// More parts than these are heard as if there were no list.
const MAX_EDITS: usize = 4_096;

/// No program writes more boxes than these before the index.
const MAX_BOXES: usize = 65_536;

/// Boxes are in one another no deeper than this.
const MAX_DEPTH: usize = 8;

/// What iTunes notes is a line of numbers.
const MAX_NOTE_BYTES: u64 = 1 << 10;

/// A part of a track that is heard, in units of the track's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) start: u64,
    /// Where it ends; `u64::MAX` at the end of the track.
    pub(super) end: u64,
}

/// The parts of a track that are heard, one after the other. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edits {
    edits: Vec<Edit>,
    now: usize,
}

impl Edits {
    fn of(edits: Vec<Edit>) -> Option<Self> {
        let mut merged: Vec<Edit> = Vec::new();
        for edit in edits.into_iter().filter(|edit| edit.start < edit.end) {
            match merged.last_mut() {
                Some(last) if last.end == edit.start => last.end = edit.end,
                _ => merged.push(edit),
            }
        }
        (!merged.is_empty() && merged.len() <= MAX_EDITS).then_some(Self { edits: merged, now: 0 })
    }

    /// All from nought on.
    pub(super) fn from_zero() -> Self {
        Self { edits: vec![Edit { start: 0, end: u64::MAX }], now: 0 }
    }

    /// The same of a track that is so long; `None` if nothing of that would be heard.
    pub(super) fn within(self, len: u64) -> Option<Self> {
        Self::of(self.edits.into_iter().map(|edit| Edit { end: edit.end.min(len), ..edit }).collect())
    }

    /// What is heard now.
    pub(super) fn now(&self) -> Edit {
        self.edits[self.now]
    }

    /// When that begins, in the time of what is heard.
    pub(super) fn begins(&self) -> u64 {
        self.edits[..self.now].iter().map(|edit| edit.end - edit.start).sum()
    }

    /// How long all of it is, if that is known.
    pub(super) fn len(&self) -> Option<u64> {
        let is_open = self.edits.iter().any(|edit| edit.end == u64::MAX);
        (!is_open).then(|| self.edits.iter().map(|edit| edit.end - edit.start).sum())
    }

    /// Goes on to the next part, if there is one.
    pub(super) fn next(&mut self) -> bool {
        let is_next = self.now + 1 < self.edits.len();
        self.now += usize::from(is_next);
        is_next
    }

    /// Goes to a moment of what is heard. Returns the moment of the track.
    pub(super) fn seek(&mut self, moment: u64) -> u64 {
        let mut left = moment;
        for (now, edit) in self.edits.iter().enumerate() {
            self.now = now;
            if left < edit.end - edit.start || now + 1 == self.edits.len() {
                break;
            }
            left -= edit.end - edit.start;
        }
        self.now().start.saturating_add(left)
    }
}

/// What is of interest in an index.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The edits of each track that has any, by its number.
    pub(super) edits: Vec<(u32, Edits)>,
    /// It stands before the audio.
    pub(super) is_first: bool,
}

/// Looks through a file, from its beginning to the end of its index.
pub(super) fn read(source: &mut (impl Read + Seek)) -> io::Result<Found> {
    let len = source.seek(SeekFrom::End(0))?;
    let mut index = Index { source, boxes: 0, is_first: true, movie_scale: 0, tracks: Vec::new(), note: None };
    index.walk(0..len, 0)?;
    let Index { movie_scale, tracks, note, is_first, .. } = index;
    let edits = tracks.into_iter().filter_map(|track| Some((track.id, track.edits(movie_scale, note)?)));
    Ok(Found { edits: edits.collect(), is_first })
}

/// What is read of a file's index.
struct Index<'a, S> {
    source: &'a mut S,
    boxes: usize,
    is_first: bool,
    movie_scale: u32,
    tracks: Vec<Track>,
    /// What iTunes notes: where the audio begins and ends.
    note: Option<Edit>,
}

#[derive(Default)]
struct Track {
    id: u32,
    scale: u32,
    /// How long each part is in the time of the movie, and where it begins in that of the track.
    list: Vec<(u64, Option<u64>)>,
}

impl Track {
    fn edits(self, movie_scale: u32, note: Option<Edit>) -> Option<Edits> {
        let in_track = |time: u64| {
            let scaled = u128::from(time) * u128::from(self.scale) + u128::from(movie_scale) / 2;
            scaled.checked_div(movie_scale.into()).map_or(0, |time| u64::try_from(time).unwrap_or(u64::MAX))
        };
        let edits = self.list.iter().filter_map(|&(len, start)| {
            let start = start?;
            // Without a length, up to the end: so they begin whose end is not known yet.
            let end = if len == 0 { u64::MAX } else { start.saturating_add(in_track(len)) };
            Some(Edit { start, end })
        });
        let edits = edits.collect::<Vec<_>>();
        // A list that says nothing of the encoder's delay leaves that to the note.
        let starts_at_zero = edits.first().is_none_or(|edit| edit.start == 0) && edits.len() < 2;
        Edits::of(note.filter(|_| starts_at_zero).map_or(edits, |note| vec![note]))
    }
}

impl<S: Read + Seek> Index<'_, S> {
    /// Looks at all boxes in a range of the file; at its top, up to the index.
    fn walk(&mut self, range: Range<u64>, depth: usize) -> io::Result<()> {
        let mut at = range.start;
        while at.saturating_add(8) <= range.end && depth < MAX_DEPTH {
            self.boxes += 1;
            if self.boxes > MAX_BOXES {
                break;
            }
            let header: [u8; 8] = self.bytes(at)?;
            let (len, name) = (be32(&header, 0), &header[4..]);
            let (header_len, len) = match len {
                0 => (8, range.end - at),
                1 => (16, be64(&self.bytes::<8>(at + 8)?, 0)),
                len => (8, len.into()),
            };
            if len < header_len {
                break;
            }
            let end = at.saturating_add(len).min(range.end);
            let body = at.saturating_add(header_len).min(end)..end;
            self.open(name, body, depth)?;
            if name == b"moov" {
                break;
            }
            self.is_first &= name != b"mdat";
            at = end;
        }
        Ok(())
    }

    fn open(&mut self, name: &[u8], body: Range<u64>, depth: usize) -> io::Result<()> {
        let len = body.end - body.start;
        match name {
            b"trak" => {
                self.tracks.push(Track::default());
                self.walk(body, depth + 1)
            }
            b"moov" | b"edts" | b"mdia" | b"udta" | b"ilst" => self.walk(body, depth + 1),
            // As a full box, with four bytes more, or as QuickTime has it.
            b"meta" if len >= 8 => {
                let first: [u8; 8] = self.bytes(body.start)?;
                let skip = if first[4..] == *b"hdlr" { 0 } else { 4 };
                self.walk(body.start + skip..body.end, depth + 1)
            }
            b"mvhd" => {
                self.movie_scale = self.number_behind_times(&body, len)?;
                Ok(())
            }
            b"tkhd" | b"mdhd" => {
                let number = self.number_behind_times(&body, len)?;
                if let Some(track) = self.tracks.last_mut() {
                    *(if name == b"tkhd" { &mut track.id } else { &mut track.scale }) = number;
                }
                Ok(())
            }
            b"elst" => {
                let list = self.edit_list(&body)?;
                if let Some(track) = self.tracks.last_mut() {
                    track.list = list;
                }
                Ok(())
            }
            b"----" if len <= MAX_NOTE_BYTES => {
                let mut note = vec![0; len as usize];
                self.source.seek(SeekFrom::Start(body.start))?;
                self.source.read_exact(&mut note)?;
                self.note = self.note.or(itunes_note(&note));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The number that follows the times of creation and of modification.
    fn number_behind_times(&mut self, body: &Range<u64>, len: u64) -> io::Result<u32> {
        if len < 24 {
            return Ok(0);
        }
        let bytes: [u8; 24] = self.bytes(body.start)?;
        Ok(be32(&bytes, if bytes[0] == 1 { 20 } else { 12 }))
    }

    fn edit_list(&mut self, body: &Range<u64>) -> io::Result<Vec<(u64, Option<u64>)>> {
        if body.end - body.start < 8 {
            return Ok(Vec::new());
        }
        let head: [u8; 8] = self.bytes(body.start)?;
        let is_long = head[0] == 1;
        let entry_len = if is_long { 20 } else { 12 };
        let entries = (body.end - body.start - 8) / entry_len;
        let entries = entries.min(be32(&head, 4).into()).min(MAX_EDITS as u64 + 1);
        let entry = |n| {
            let at = body.start + 8 + n * entry_len;
            if is_long {
                let bytes: [u8; 16] = self.bytes(at)?;
                Ok((be64(&bytes, 0), u64::try_from(be64(&bytes, 8) as i64).ok()))
            } else {
                let bytes: [u8; 8] = self.bytes(at)?;
                // Nothing is heard for a time where it would begin before the track.
                Ok((be32(&bytes, 0).into(), u64::try_from(be32(&bytes, 4) as i32).ok()))
            }
        };
        (0..entries).map(entry).collect()
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.seek(SeekFrom::Start(at))?;
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// The encoder's delay, what fills up the last packet, and the number of frames between, as iTunes notes them.
fn itunes_note(note: &[u8]) -> Option<Edit> {
    const NAME: &[u8] = b"iTunSMPB";
    note.windows(NAME.len()).find(|&name| name == NAME)?;
    let data = note.windows(4).position(|name| name == b"data")?;
    // Behind the name, what sort of data it is and in which language.
    let text = std::str::from_utf8(note.get(data + 12..)?).ok()?;
    let mut numbers = text.split_ascii_whitespace().skip(1).map(|number| u64::from_str_radix(number, 16));
    let (delay, _, frames) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Edit { start: delay, end: delay.checked_add(frames)? }).filter(|_| delay < 16_384 && frames > 0)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edits(edits: &[(u64, u64)]) -> Option<Edits> {
        Edits::of(edits.iter().map(|&(start, end)| Edit { start, end }).collect())
    }

    #[test]
    fn parts_that_adjoin_are_one() {
        let edits = edits(&[(100, 200), (200, 300), (500, 600), (50, 50)]).unwrap();
        assert_eq!((edits.edits.len(), edits.len()), (2, Some(300)));
        assert_eq!(edits.now(), Edit { start: 100, end: 300 });
    }

    #[test]
    fn a_moment_is_found_in_the_part_that_has_it() {
        let mut edits = edits(&[(100, 200), (500, 600), (0, 50)]).unwrap();
        for (moment, at, begins) in [(0, 100, 0), (99, 199, 0), (100, 500, 100), (210, 10, 200), (1_000, 800, 200)] {
            assert_eq!((edits.seek(moment), edits.begins()), (at, begins), "{moment}");
        }
        edits.seek(0);
        assert!(edits.next() && edits.next() && !edits.next());
    }

    #[test]
    fn a_list_that_leaves_nothing_is_no_list() {
        assert_eq!(edits(&[(5, 5), (9, 3)]), None);
        assert_eq!(edits(&[(500, 600)]).unwrap().within(400), None);
        assert_eq!(edits(&[(500, u64::MAX)]).unwrap().within(600).unwrap().len(), Some(100));
    }

    proptest! {
        #[test]
        fn no_index_is_too_strange(
            names in proptest::collection::vec(prop_oneof![
                Just(*b"moov"), Just(*b"trak"), Just(*b"edts"), Just(*b"elst"), Just(*b"mvhd"), Just(*b"meta"),
                Just(*b"mdhd"), Just(*b"----"), Just(*b"udta"), Just(*b"ilst"),
            ], 0..12),
            lengths in proptest::collection::vec(prop_oneof![0u32..200, Just(u32::MAX)], 12),
            noise in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = Vec::new();
            for (name, length) in names.iter().zip(lengths) {
                bytes.extend(length.to_be_bytes());
                bytes.extend(name);
                bytes.extend(&noise[..noise.len() / 2]);
            }
            // An error is as good as nothing.
            let _ = read(&mut io::Cursor::new(bytes));
        }
    }
}
