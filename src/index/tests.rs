use super::*;
use proptest::prelude::*;
use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

/// A folder of a test's own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roundelay-index-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn index(&self) -> PathBuf {
        self.0.join("a.part.index")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn header() -> Header {
    Header { len: Some(100_000), tag: b"\"an etag\"".to_vec(), generation: false }
}

fn record(range: Range<u64>) -> Record {
    Record { data_crc: !(range.start as u32), range }
}

fn records(n: u64) -> Vec<Record> {
    (0..n).map(|i| record(i * 1000..i * 1000 + 1 + i)).collect()
}

/// An index as a whole.
fn encode(header: &Header, records: &[Record]) -> Vec<u8> {
    let (mut bytes, crc) = header.encode();
    bytes.extend(records.iter().zip(0..).flat_map(|(record, sequence)| record.encode(crc, sequence)));
    bytes
}

/// A header whose checksum is right, whatever it says.
fn hostile_header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let (mut bytes, _) = header().encode();
    let covered = bytes.len() - 4;
    change(&mut bytes[..covered]);
    let crc = crc32fast::hash(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn reopen(path: &Path) -> (Index, Parsed) {
    Index::open(path).unwrap().unwrap()
}

#[test]
fn the_bytes_are_where_the_picture_has_them() {
    let header = Header { len: Some(0x0102), tag: b"tag".to_vec(), generation: true };
    let (bytes, crc) = header.encode();
    assert_eq!(&bytes[..16], b"rlayindx\x01\0\0\0\x27\0\0\0");
    assert_eq!(&bytes[16..32], b"\x02\x01\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0");
    assert_eq!(&bytes[32..35], b"tag");
    assert_eq!(bytes[35..], crc.to_le_bytes());
    assert_eq!(crc, crc32fast::hash(&bytes[..35]));

    let bytes = Record { range: 3..0x0102, data_crc: 0x0405_0607 }.encode(crc, 9);
    assert_eq!(&bytes[..20], b"\x03\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x07\x06\x05\x04");
    let covered = [&crc.to_le_bytes()[..], &9_u64.to_le_bytes(), &bytes[..20]].concat();
    assert_eq!(bytes[20..], crc32fast::hash(&covered).to_le_bytes());
}

#[test]
fn what_was_appended_is_there_after_a_reopen() {
    let folder = Folder::new("reopen");
    let path = folder.index();
    let mut index = Index::create(&path, &header()).unwrap();
    let all = records(5);
    index.append(&all[..2]).unwrap();
    index.append(&[]).unwrap();
    index.append(&all[2..3]).unwrap();
    drop(index);
    let (mut index, parsed) = reopen(&path);
    assert_eq!((&parsed.header, &parsed.records[..]), (&header(), &all[..3]));
    index.append(&all[3..]).unwrap();
    drop(index);
    assert_eq!(reopen(&path).1.records, all);
    assert_eq!(fs::read(&path).unwrap(), encode(&header(), &all));
}

#[test]
fn an_index_that_somebody_has_open_is_not_touched() {
    let folder = Folder::new("locked");
    let path = folder.index();
    let mut index = Index::create(&path, &header()).unwrap();
    index.append(&records(1)).unwrap();
    assert_eq!(Index::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(Index::create(&path, &header()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(index.is_at(&path));
    fs::rename(&path, folder.0.join("elsewhere")).unwrap();
    assert!(!index.is_at(&path));
    drop(Index::create(&path, &header()).unwrap());
    assert!(!index.is_at(&path));
}

#[test]
fn a_new_index_takes_the_place_of_an_old_one() {
    let folder = Folder::new("anew");
    let path = folder.index();
    Index::create(&path, &header()).unwrap().append(&records(9)).unwrap();
    let other = Header { len: None, tag: Vec::new(), generation: true };
    drop(Index::create(&path, &other).unwrap());
    assert_eq!(reopen(&path).1, Parsed { header: other, records: Vec::new(), valid_bytes: 36 });
}

#[test]
fn a_file_cut_anywhere_yields_the_records_that_are_whole() {
    let all = records(4);
    let bytes = encode(&header(), &all);
    let head = header().encode().0.len();
    for cut in 0..=bytes.len() {
        match parse(&bytes[..cut]) {
            Err(problem) => assert!(cut < head && problem == IndexProblem::Damaged, "{problem:?} at {cut}"),
            Ok(parsed) => {
                let whole = (cut - head) / RECORD_BYTES;
                assert_eq!(parsed.records, all[..whole]);
                assert_eq!(parsed.valid_bytes, (head + whole * RECORD_BYTES) as u64);
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_its_record_and_those_behind_and_never_yields_a_wrong_one() {
    let all = records(4);
    let bytes = encode(&header(), &all);
    let head = header().encode().0.len();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match parse(&bytes) {
            Err(_) => assert!(bit / 8 < head, "a record's bit {bit} is no business of the header"),
            Ok(parsed) => {
                assert!(bit / 8 >= head, "bit {bit} of the header was not missed");
                assert_eq!(parsed.header, header());
                assert_eq!(parsed.records, all[..(bit / 8 - head) / RECORD_BYTES]);
            }
        }
    }
}

#[test]
fn a_record_of_another_place_or_index_is_not_valid() {
    let all = records(3);
    let bytes = encode(&header(), &all);
    let head = header().encode().0.len();
    let (first, second) = (head..head + RECORD_BYTES, head + RECORD_BYTES..head + 2 * RECORD_BYTES);

    let mut twice = bytes.clone();
    twice.copy_within(first.clone(), second.start);
    assert_eq!(parse(&twice).unwrap().records, all[..1]);
    let mut skipped = bytes.clone();
    skipped.drain(first);
    assert_eq!(parse(&skipped).unwrap().records, []);

    let other = Header { generation: true, ..header() };
    let mut foreign = other.encode().0;
    foreign.extend(&bytes[head..]);
    assert_eq!(parse(&foreign).unwrap().records, []);
}

#[test]
fn a_whole_record_behind_a_torn_one_does_not_count() {
    let all = records(3);
    let mut bytes = encode(&header(), &all);
    let torn = bytes.len() - 2 * RECORD_BYTES;
    bytes[torn..torn + RECORD_BYTES].fill(0);
    assert_eq!(parse(&bytes).unwrap().records, all[..1]);
}

#[test]
fn stretches_that_are_empty_or_inverted_or_beyond_the_end_are_not_valid() {
    for (len, range) in [
        (Some(10), 3..3),
        (Some(10), Range { start: 4, end: 3 }),
        (Some(10), 3..11),
        (Some(0), 0..1),
        (None, MAX_OFFSET..MAX_OFFSET + 1),
        (None, 0..u64::MAX),
    ] {
        let header = Header { len, ..Header::default() };
        let parsed = parse(&encode(&header, &[record(range.clone())])).unwrap();
        assert_eq!(parsed.records, [], "{range:?} of {len:?}");
    }
    for (len, range) in [(Some(10), 3..10), (Some(MAX_OFFSET), 0..MAX_OFFSET), (None, MAX_OFFSET - 1..MAX_OFFSET)] {
        let header = Header { len, ..Header::default() };
        let all = [record(range)];
        assert_eq!(parse(&encode(&header, &all)).unwrap().records, all);
    }
}

#[test]
fn a_header_that_lies_is_damaged_even_if_its_checksum_is_right() {
    assert_eq!(parse(&hostile_header(|_| ())).unwrap().header, header());
    let hostile: [(usize, &[u8]); 8] = [
        (12, &[0; 4]),
        (12, &[0xff; 4]),
        (28, &[0xff; 4]),
        (28, &1025_u32.to_le_bytes()),
        (28, &[0; 4]),
        (16, &(MAX_OFFSET + 1).to_le_bytes()),
        (16, &(u64::MAX - 1).to_le_bytes()),
        (24, &2_u32.to_le_bytes()),
    ];
    for (at, lie) in hostile {
        let bytes = hostile_header(|bytes| bytes[at..at + lie.len()].copy_from_slice(lie));
        assert_eq!(parse(&bytes), Err(IndexProblem::Damaged), "{lie:?} at {at}");
    }
    // A tag of every byte that is there, and of one more, with a length of the header that agrees.
    for tag_len in [13_u32, 14, 1024] {
        let bytes = hostile_header(|bytes| {
            bytes[12..16].copy_from_slice(&(HEADER_MIN + tag_len).to_le_bytes());
            bytes[28..32].copy_from_slice(&tag_len.to_le_bytes());
        });
        assert_eq!(parse(&bytes), Err(IndexProblem::Damaged), "a tag of {tag_len}");
    }
}

#[test]
fn another_version_and_another_kind_of_file_are_called_so() {
    let bytes = hostile_header(|bytes| bytes[8] = 2);
    assert_eq!(parse(&bytes), Err(IndexProblem::Version { found: 2, known: 1 }));
    for other in [&b"ID3\x04"[..], b"rlayindy\x01\0\0\0", &[0; 4096]] {
        assert_eq!(parse(other), Err(IndexProblem::NotAnIndex));
    }
}

#[test]
fn the_next_record_follows_the_last_valid_one() {
    let folder = Folder::new("torn");
    let path = folder.index();
    let all = records(4);
    let whole = encode(&header(), &all[..3]);
    for torn in 1..=RECORD_BYTES {
        // Torn in the last record; at 24 it is gone altogether, and two of zeros are in its place.
        let mut bytes = whole[..whole.len() - torn].to_vec();
        if torn == RECORD_BYTES {
            bytes.extend([0; 2 * RECORD_BYTES]);
        }
        fs::write(&path, bytes).unwrap();
        let (mut index, parsed) = reopen(&path);
        assert_eq!(parsed.records, all[..2]);
        assert_eq!(fs::metadata(&path).unwrap().len(), parsed.valid_bytes, "the tail is cut off");
        index.append(&all[3..]).unwrap();
        drop(index);
        assert_eq!(reopen(&path).1.records, [&all[..2], &all[3..]].concat());
    }
}

#[test]
fn a_problem_leaves_the_file_as_it_is() {
    let folder = Folder::new("problem");
    let path = folder.index();
    assert_eq!(Index::open(&path).unwrap().unwrap_err(), IndexProblem::Missing);
    assert!(!path.exists());
    for (bytes, problem) in [
        (Vec::new(), IndexProblem::Damaged),
        (b"a song".to_vec(), IndexProblem::NotAnIndex),
        (hostile_header(|bytes| bytes[8] = 7), IndexProblem::Version { found: 7, known: 1 }),
        (header().encode().0[..20].to_vec(), IndexProblem::Damaged),
    ] {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Index::open(&path).unwrap().unwrap_err(), problem);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(Index::open(&path).unwrap().unwrap_err(), IndexProblem::NotAnIndex);
    assert_eq!(Index::create(&path, &header()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_not_followed() {
    let folder = Folder::new("link");
    let target = folder.0.join("precious");
    let whole = encode(&header(), &records(2));
    fs::write(&target, &whole).unwrap();
    std::os::unix::fs::symlink(&target, folder.index()).unwrap();
    assert_eq!(Index::open(&folder.index()).unwrap().unwrap_err(), IndexProblem::NotAnIndex);
    assert_eq!(Index::create(&folder.index(), &header()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(fs::read(&target).unwrap(), whole);
}

#[test]
fn an_index_is_never_larger_than_what_is_read() {
    let folder = Folder::new("large");
    let path = folder.index();
    let mut index = Index::create(&path, &header()).unwrap();
    index.records = (INDEX_MAX_BYTES - index.end()) / RECORD_BYTES as u64;
    assert_eq!(index.append(&records(1)).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    index.records = 0;
    index.append(&records(1)).unwrap();
    // All that is behind the records is a hole: it takes no room.
    index.file.set_len(INDEX_MAX_BYTES + 1).unwrap();
    drop(index);
    assert_eq!(Index::open(&path).unwrap().unwrap_err(), IndexProblem::NotAnIndex);
}

#[test]
fn what_a_parser_would_not_take_is_not_written() {
    let folder = Folder::new("refused");
    let path = folder.index();
    for header in [
        Header { tag: vec![0; TAG_MAX + 1], ..Header::default() },
        Header { len: Some(MAX_OFFSET + 1), ..Header::default() },
    ] {
        assert_eq!(Index::create(&path, &header).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(!path.exists());
    }
    let largest = Header { tag: vec![7; TAG_MAX], len: Some(MAX_OFFSET), generation: true };
    drop(Index::create(&path, &largest).unwrap());
    assert_eq!(reopen(&path).1.header, largest);

    let mut index = Index::create(&path, &header()).unwrap();
    for range in [5..5, Range { start: 5, end: 4 }, 99_999..100_001] {
        assert_eq!(index.append(&[record(0..1), record(range)]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    index.append(&[record(99_999..100_000)]).unwrap();
    drop(index);
    assert_eq!(reopen(&path).1.records, [record(99_999..100_000)]);
}

/// A device that fills up in the middle of a write: a file in memory that is sealed against growth.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_half_way_leaves_what_was_there_and_nothing_more() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let full = 64 << 10;
    let all = records(50);
    let mut file = File::from(memfd_create("index", MemfdFlags::ALLOW_SEALING).unwrap());
    let head = Header::default();
    let (bytes, header_crc) = head.encode();
    file.write_all(&bytes).unwrap();
    file.set_len(full).unwrap();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    let header_bytes = bytes.len() as u64;
    let mut index = Index { file, header_bytes, header_crc, limit: head.limit(), records: 0, torn: false };
    index.append(&all).unwrap();

    index.append(&records(full / RECORD_BYTES as u64)).unwrap_err();
    assert!(!index.torn);
    assert_eq!(index.records, 50);
    let mut left = Vec::new();
    index.file.rewind().unwrap();
    index.file.read_to_end(&mut left).unwrap();
    assert_eq!(left, encode(&head, &all), "the write got as far as {full} bytes, and was taken back");
}

#[test]
fn what_could_not_be_cut_off_is_cut_off_before_the_next_append() {
    let folder = Folder::new("stuck");
    let path = folder.index();
    let all = records(3);
    let mut index = Index::create(&path, &header()).unwrap();
    index.append(&all[..1]).unwrap();
    // A file that is open for reading only takes no bytes and cannot be cut.
    let good = std::mem::replace(&mut index.file, File::open(&path).unwrap());
    index.append(&all[1..]).unwrap_err();
    index.append(&all[1..]).unwrap_err();
    index.file = good;
    // What a failed append may have left: whole records, and one that is not.
    let crc = index.header_crc;
    let mut left = [all[1].encode(crc, 1), all[2].encode(crc, 2), all[2].encode(crc, 3)].concat();
    left.truncate(60);
    let end = index.end();
    (&index.file).seek(SeekFrom::Start(end)).unwrap();
    (&index.file).write_all(&left).unwrap();

    index.append(&all[2..]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), encode(&header(), &[all[0].clone(), all[2].clone()]));
}

#[test]
fn a_problem_says_what_it_means() {
    for problem in [
        IndexProblem::Missing,
        IndexProblem::NotAnIndex,
        IndexProblem::Version { found: 2, known: 1 },
        IndexProblem::Damaged,
        IndexProblem::TagDiffers,
    ] {
        assert!(problem.to_string().ends_with("fetched again"), "{problem}");
    }
    let differs = IndexProblem::LengthDiffers { found: None, given: Some(3) };
    assert_eq!(
        differs.to_string(),
        "the unfinished file is one of unknown length, and the one wanted is one of 3 bytes; \
         the data are fetched again"
    );
}

prop_compose! {
    fn any_header()(
        len in prop::option::of(0..=MAX_OFFSET),
        tag in prop::collection::vec(any::<u8>(), 0..100),
        generation in any::<bool>(),
    ) -> Header {
        Header { len, tag, generation }
    }
}

/// Records that an index with such a header can hold; none if it is of no bytes.
fn any_records(header: &Header) -> BoxedStrategy<Vec<Record>> {
    let limit = header.limit();
    if limit == 0 {
        return Just(Vec::new()).boxed();
    }
    let one = (0..limit, 0..limit, any::<u32>())
        .prop_map(|(a, b, data_crc)| Record { range: a.min(b)..a.max(b) + 1, data_crc });
    prop::collection::vec(one, 0..20).boxed()
}

fn any_index() -> impl Strategy<Value = (Header, Vec<Record>)> {
    any_header().prop_flat_map(|header| (Just(header.clone()), any_records(&header)))
}

proptest! {
    #[test]
    fn any_index_reads_back_as_it_was_written((header, records) in any_index()) {
        let bytes = encode(&header, &records);
        prop_assert_eq!(parse(&bytes), Ok(Parsed { header, records, valid_bytes: bytes.len() as u64 }));
    }

    /// Whatever a crash makes of the unsynced tail, what was synced is read, and then nothing or true records.
    #[test]
    fn whatever_happens_to_the_tail_what_was_synced_is_read(
        (header, records) in any_index(),
        synced in any::<prop::sample::Index>(),
        kept in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        junk in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let bytes = encode(&header, &records);
        let synced = synced.index(records.len() + 1);
        let floor = bytes.len() - (records.len() - synced) * RECORD_BYTES;
        let kept = floor + kept.index(bytes.len() - floor + 1);
        let mut tail = bytes[floor..kept].to_vec();
        for (at, byte) in damage {
            if !tail.is_empty() {
                let at = at.index(tail.len());
                tail[at] = byte;
            }
        }
        let crashed = [&bytes[..floor], &tail, &junk].concat();
        let parsed = parse(&crashed).unwrap();
        prop_assert!(parsed.records.len() >= synced);
        prop_assert!(records.starts_with(&parsed.records));
        prop_assert_eq!(encode(&parsed.header, &parsed.records), &crashed[..parsed.valid_bytes as usize]);
    }

    #[test]
    fn any_bytes_are_an_index_or_a_problem(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes).is_err());
        let _ = parse(&[&header().encode().0, &bytes[..]].concat()).unwrap();
    }
}
