//! Any bytes as the index of an unfinished file, and the same with every checksum put right, so that what the header
//! and the records say is reached; against the format as its picture has it, read plainly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roundelay::{
    MAX_OFFSET,
    fuzzing::{IndexProblem, Record, parse},
};

const HEADER_MIN: usize = 36;
const RECORD: usize = 24;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// How long the header is, by the length of its tag; `None` if it is cut off.
fn header_bytes(bytes: &[u8]) -> Option<usize> {
    let tag = (bytes.len() >= HEADER_MIN).then(|| u32_at(bytes, 28) as usize)?;
    HEADER_MIN.checked_add(tag).filter(|&header| header <= bytes.len())
}

fn record_crc(header_crc: u32, sequence: u64, record: &[u8]) -> u32 {
    crc32fast::hash(&[&header_crc.to_le_bytes()[..], &sequence.to_le_bytes(), &record[..20]].concat())
}

/// Puts every checksum right.
fn mend(bytes: &mut [u8]) {
    let Some(header) = header_bytes(bytes) else { return };
    let header_crc = crc32fast::hash(&bytes[..header - 4]);
    bytes[header - 4..header].copy_from_slice(&header_crc.to_le_bytes());
    for (record, sequence) in bytes[header..].chunks_exact_mut(RECORD).zip(0..) {
        let crc = record_crc(header_crc, sequence, record);
        record[20..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The records up to the first that is not valid, of bytes whose header is.
fn records(bytes: &[u8], header: usize) -> Vec<Record> {
    let header_crc = u32_at(bytes, header - 4);
    let len = u64_at(bytes, 16);
    let limit = if len == u64::MAX { MAX_OFFSET } else { len };
    let mut records = Vec::new();
    for record in bytes[header..].chunks_exact(RECORD) {
        let range = u64_at(record, 0)..u64_at(record, 8);
        let right = u32_at(record, 20) == record_crc(header_crc, records.len() as u64, record);
        if !right || range.is_empty() || range.end > limit {
            break;
        }
        records.push(Record { range, data_crc: u32_at(record, 16) });
    }
    records
}

/// Whether the header says nothing that it may not.
fn header_is_valid(bytes: &[u8]) -> bool {
    let len = bytes.get(16..24).map_or(0, |_| u64_at(bytes, 16));
    header_bytes(bytes).is_some_and(|header| {
        bytes.starts_with(b"rlayindx\x01\0\0\0")
            && u32_at(bytes, 12) as usize == header
            && (len <= MAX_OFFSET || len == u64::MAX)
            && u32_at(bytes, 24) <= 1
            && header <= HEADER_MIN + 1024
            && u32_at(bytes, header - 4) == crc32fast::hash(&bytes[..header - 4])
    })
}

fn check(bytes: &[u8]) {
    let parsed = match parse(bytes) {
        Ok(parsed) => parsed,
        Err(problem) => {
            assert!(!header_is_valid(bytes), "{problem}");
            if let IndexProblem::Version { found, known } = problem {
                assert_ne!(found, known);
            }
            return;
        }
    };
    assert!(header_is_valid(bytes));
    assert_eq!(parsed.records, records(bytes, header_bytes(bytes).expect("it is valid")));

    // Written again, it is what was read.
    let (mut written, header_crc) = parsed.header.encode();
    for (record, sequence) in parsed.records.iter().zip(0..) {
        written.extend(record.encode(header_crc, sequence));
    }
    assert_eq!(written, bytes[..parsed.valid_bytes as usize]);

    // One more behind what is valid: the same, and one.
    let limit = parsed.header.len.unwrap_or(MAX_OFFSET);
    if limit > 0 {
        let more = Record { range: limit - 1..limit, data_crc: header_crc };
        written.extend(more.encode(header_crc, parsed.records.len() as u64));
        let again = parse(&written).expect("its header is valid");
        assert_eq!(again.header, parsed.header);
        assert_eq!(again.records.split_last(), Some((&more, &parsed.records[..])));
        assert_eq!(again.valid_bytes, written.len() as u64);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    check(&mended);
});
