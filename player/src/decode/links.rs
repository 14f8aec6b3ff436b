//! The links of a chain in Ogg: streams that follow one another, each with header pages of its own, and possibly each
//! with another codec.

use super::format::Container;
use super::recognise::{Recognised, recognise};
use super::stream::Stop;

/// The header of a page before its table of segments, by RFC 3533.
const PAGE_HEADER_BYTES: usize = 27;

/// The flag of a page that begins a logical stream.
const FIRST_PAGE: u8 = 2;

/// In search of a page, so much is looked at at once.
const SEARCH_BYTES: usize = 4 << 10;

/// Looks at bytes of the stream: as many as are wanted, or fewer at the end.
pub(super) trait Look {
    fn look(&self, at: u64, wanted: usize) -> Result<Vec<u8>, Stop>;
}

/// A page of Ogg.
struct Page {
    is_first: bool,
    /// Another one begins before its end.
    is_cut: bool,
    serial: u32,
    /// The end of its last packet in the time of its stream; negative if none ends.
    granule: i64,
    /// Its header, and all of it.
    header_bytes: usize,
    bytes: u64,
}

/// The page that begins at `at`, if one does.
fn page(source: &impl Look, at: u64) -> Result<Option<Page>, Stop> {
    let header = source.look(at, PAGE_HEADER_BYTES)?;
    if header.len() < PAGE_HEADER_BYTES || !header.starts_with(b"OggS\0") {
        return Ok(None);
    }
    let segments = usize::from(header[PAGE_HEADER_BYTES - 1]);
    let table = source.look(at + PAGE_HEADER_BYTES as u64, segments)?;
    let body: usize = table.iter().map(|&len| usize::from(len)).sum();
    let header_bytes = PAGE_HEADER_BYTES + segments;
    // Whoever reads it needs all of it anyway. One that is cut has the next one inside.
    let bytes = source.look(at, header_bytes + body)?;
    let next = find_page(&bytes[1..]).map(|behind| 1 + behind);
    let bytes = next.unwrap_or(header_bytes + body) as u64;
    let (&granule, rest) = header[6..].split_first_chunk().expect("a header is longer");
    let &serial = rest.first_chunk().expect("a header is longer");
    Ok(Some(Page {
        is_first: header[5] & FIRST_PAGE != 0,
        is_cut: next.is_some(),
        serial: u32::from_le_bytes(serial),
        granule: i64::from_le_bytes(granule),
        header_bytes,
        bytes,
    }))
}

/// Whether a file of `len` bytes ends before the last page in it does.
pub(super) fn ends_in_a_page(source: &impl Look, len: u64) -> Result<bool, Stop> {
    /// With all its segments, and each of them full.
    const MOST_PAGE_BYTES: u64 = (PAGE_HEADER_BYTES + 255 + 255 * 255) as u64;
    let at = len.saturating_sub(MOST_PAGE_BYTES);
    let bytes = source.look(at, (len - at) as usize)?;
    let Some(page) = bytes.windows(5).rposition(|window| window == b"OggS\0").map(|at| &bytes[at..]) else {
        return Ok(false);
    };
    let table = page.get(PAGE_HEADER_BYTES - 1).and_then(|&segments| page[PAGE_HEADER_BYTES..].get(..segments.into()));
    let page_bytes =
        table.map(|table| PAGE_HEADER_BYTES + table.len() + table.iter().map(|&len| usize::from(len)).sum::<usize>());
    Ok(page_bytes.is_none_or(|page_bytes| page.len() < page_bytes))
}

/// Where a page begins in `bytes`.
fn find_page(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"OggS\0";
    let begins = |at: usize| bytes[at..].starts_with(NAME);
    (0..bytes.len()).filter(|&at| bytes[at] == NAME[0]).find(|&at| begins(at))
}

/// Whether a logical stream begins at `at`.
pub(super) fn begins(source: &impl Look, at: u64) -> Result<bool, Stop> {
    Ok(page(source, at)?.is_some_and(|page| page.is_first))
}

/// Where a link of the chain ends.
#[derive(Debug)]
pub(super) struct Links {
    /// Up to there, it does not.
    free_to: u64,
    /// Pages other than the first ones have come.
    has_begun: bool,
    /// The last page on which a packet ended: its stream, and when that was.
    last: Option<(u32, i64)>,
}

impl Links {
    /// For reading from `start`, which is inside of a link, or begins one.
    pub(super) fn new(start: u64, is_inside: bool) -> Self {
        Self { free_to: start, has_begun: is_inside, last: None }
    }

    /// Up to where may be read from `at` on. [`Stop::Boundary`] where another link begins there.
    pub(super) fn free_from(&mut self, source: &impl Look, at: u64) -> Result<u64, Stop> {
        if at < self.free_to {
            return Ok(self.free_to);
        }
        self.free_to = match page(source, at)? {
            Some(page) if page.is_first && self.has_begun => return Err(Stop::Boundary(at)),
            // Time does not go back: it is a link whose first page is lost.
            Some(page)
                if self.last.is_some_and(|(serial, end)| serial == page.serial && (0..end).contains(&page.granule)) =>
            {
                return Err(Stop::Boundary(at));
            }
            Some(page) => {
                if page.granule >= 0 && !page.is_cut {
                    self.last = Some((page.serial, page.granule));
                }
                self.has_begun |= !page.is_first || page.is_cut;
                at + page.bytes
            }
            // Out of step: the next page begins somewhere behind.
            None => {
                let bytes = source.look(at, SEARCH_BYTES)?;
                let ended = bytes.len() < SEARCH_BYTES;
                match recognise(&bytes, ended, true) {
                    Recognised::Stream(Container::Ogg, _) => {}
                    Recognised::Stream(_, 0) | Recognised::Tag(_) => return Err(Stop::Boundary(at)),
                    _ => {}
                }
                match find_page(bytes.get(1..).unwrap_or_default()) {
                    Some(behind) => at + 1 + behind as u64,
                    None if ended => u64::MAX,
                    None => at + (SEARCH_BYTES - 4) as u64,
                }
            }
        };
        Ok(self.free_to)
    }
}

/// What is in the link that begins at `start`: the name of a codec that cannot be decoded, if that is all.
pub(super) fn foreign_codec(source: &impl Look, start: u64) -> Result<Option<&'static str>, Stop> {
    /// By what their first packets begin with. An empty name stands for what can be decoded.
    const CODECS: &[(&[u8], &str)] = &[
        (b"\x01vorbis", ""),
        (b"\x7fFLAC", ""),
        (b"OpusHead", "Opus"),
        (b"Speex   ", "Speex"),
        (b"CELT    ", "CELT"),
        (b"PCM     ", "PCM in Ogg"),
        (b"\x80theora", "Theora"),
        (b"BBCD\0", "Dirac"),
        (b"OVP80", "VP8"),
        (b"\x80kate", "Kate"),
    ];
    /// More streams at once are none that anybody made.
    const MOST_STREAMS: usize = 32;
    let (mut at, mut foreign) = (start, None);
    for _ in 0..MOST_STREAMS {
        let Some(page) = page(source, at)?.filter(|page| page.is_first) else { break };
        let packet = source.look(at + page.header_bytes as u64, 8)?;
        match CODECS.iter().find(|(name, _)| packet.starts_with(name)) {
            Some((_, "")) => return Ok(None),
            // Sound is better named than what is seen with it.
            Some(&(_, name)) if foreign.is_none_or(|before| ["Theora", "Dirac", "VP8", "Kate"].contains(&before)) => {
                foreign = Some(name);
            }
            _ => {}
        }
        at += page.bytes;
    }
    Ok(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Look for Vec<u8> {
        fn look(&self, at: u64, wanted: usize) -> Result<Vec<u8>, Stop> {
            let at = self.len().min(at as usize);
            Ok(self[at..self.len().min(at + wanted)].to_vec())
        }
    }

    fn page(flags: u8, packet: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 20]);
        page.extend([1, packet.len() as u8]);
        page.extend(packet);
        page
    }

    fn timed(granule: u8) -> Vec<u8> {
        let mut page = page(0, &[3; 40]);
        page[6] = granule;
        page
    }

    #[test]
    fn a_link_ends_where_time_goes_back() {
        let link = [page(2, b"\x01vorbis"), timed(0), timed(10), timed(20)].concat();
        let headless = [timed(0), timed(10)].concat();
        assert_eq!(boundary(&[&link[..], &headless].concat(), 0), Some(link.len() as u64));
        assert_eq!(boundary(&link, 0), None);
    }

    fn boundary(stream: &Vec<u8>, start: u64) -> Option<u64> {
        let mut links = Links::new(start, false);
        let mut at = start;
        while at < stream.len() as u64 {
            match links.free_from(stream, at) {
                Ok(to) => at = to,
                Err(Stop::Boundary(boundary)) => return Some(boundary),
                Err(stop) => panic!("{stop:?}"),
            }
        }
        None
    }

    #[test]
    fn a_link_ends_at_the_next_first_page() {
        let link = [page(2, b"\x01vorbis"), page(2, b"\x80theora"), page(0, &[1; 200]), page(4, &[2; 90])].concat();
        let chain = [&link[..], &link].concat();
        assert_eq!(boundary(&chain, 0), Some(link.len() as u64));
        assert_eq!(boundary(&chain, link.len() as u64), None);
        // Also behind noise, however it is cut.
        for noise in [1, 3, 500, 5_000, SEARCH_BYTES, SEARCH_BYTES + 1] {
            let noisy = [&link[..], &vec![b'O'; noise], &link].concat();
            assert_eq!(boundary(&noisy, 0), Some((link.len() + noise) as u64));
        }
    }

    #[test]
    fn a_file_that_ends_inside_of_its_last_page_is_cut() {
        let stream = [page(2, b"\x01vorbis"), page(0, &[1; 200]), page(4, &[2; 90])].concat();
        let last = stream.len() - page(4, &[2; 90]).len();
        for len in 0..=stream.len() {
            let file = stream[..len].to_vec();
            // Of less than its name nothing can be said.
            let is_cut = if len > last { len >= last + 5 && len < stream.len() } else { continue };
            assert_eq!(ends_in_a_page(&file, len as u64).unwrap(), is_cut, "{len}");
        }
        let tagged = [&stream[..], &[b'x'; 128]].concat();
        assert!(!ends_in_a_page(&tagged, tagged.len() as u64).unwrap());
        assert!(!ends_in_a_page(&Vec::new(), 0).unwrap());
    }

    #[test]
    fn a_link_is_foreign_if_all_of_it_is() {
        let of = |packets: &[&[u8]]| {
            let pages: Vec<u8> = packets.iter().flat_map(|packet| page(2, packet)).collect();
            foreign_codec(&pages, 0).unwrap()
        };
        assert_eq!(of(&[b"OpusHead\x01"]), Some("Opus"));
        assert_eq!(of(&[b"\x80theora", b"OpusHead\x01"]), Some("Opus"));
        assert_eq!(of(&[b"OpusHead\x01", b"\x01vorbis"]), None);
        assert_eq!(of(&[b"something"]), None);
    }
}
