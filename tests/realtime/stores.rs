//! Scenes over stores that keep everything, in memory and in a mapped file. While the callback reads, another thread
//! asks for what only the lock of the stray pieces can tell, again and again: a read that took it would meet it held.

use crate::{
    live::{Others, repeat},
    pattern,
    tally::{Call, Tally},
};
use roundelay::{
    AnyDriver, CancelToken, Cursor, MemOptions, MmapOptions, OnLap, OpenOptions, ReadError, Reader, Resource,
    StorageError, Writer,
};

/// Bytes that are there without a gap, and end inside a block of 4 KiB.
const THERE: u64 = 300_008;
/// In the block where they end, apart from them.
const STRAY: u64 = THERE + 800;
const STRAY_LEN: u64 = 80;

fn open<O: OpenOptions>(options: O) -> Resource<AnyDriver> {
    Resource::open_any(CancelToken::new(), options).expect("a small store")
}

/// A store with a stray piece behind what is there.
fn filled<O: OpenOptions>(options: O) -> (Resource<AnyDriver>, Writer<AnyDriver>) {
    let store = open(options);
    let mut writer = store.writer().expect("the first writer");
    for (at, len) in [(0, THERE), (STRAY, STRAY_LEN)] {
        let mut data = vec![0; len as usize];
        pattern::write(at, &mut data);
        writer.write_at(at, &data).expect("there is room");
    }
    (store, writer)
}

pub struct Stores {
    /// Being written, of each kind.
    active: Vec<(Reader<AnyDriver>, Cursor<AnyDriver>)>,
    /// Committed, failed and cancelled, of each kind.
    over: Vec<Reader<AnyDriver>>,
    buf: Vec<u8>,
    /// Drop nothing while the callback runs.
    _kept: Vec<(Resource<AnyDriver>, Option<Writer<AnyDriver>>)>,
    _folder: Folder,
}

/// A folder that goes when the scene does.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stores {
    pub fn new(others: &mut Others) -> Self {
        let unique = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let folder = std::env::temp_dir().join(format!("roundelay-callback-{}-{unique}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let file = |name: &str| MmapOptions { flush_every_bytes: None, ..MmapOptions::new(folder.join(name)) };
        let mut kept = vec![];
        let mut active = vec![];
        for (store, writer) in [filled(MemOptions::default()), filled(file("active"))] {
            others.add(repeat(&others.stop, store.reader(), |reader, _| {
                // A miss next to a stray piece: nothing but the lock tells.
                !reader.contains_range(THERE..THERE + 1) && reader.contains_range(STRAY..STRAY + STRAY_LEN)
            }));
            active.push((store.reader(), store.cursor(OnLap::Error)));
            kept.push((store, Some(writer)));
        }
        let mut over = vec![];
        for way in 0..3 {
            let name = format!("over-{way}");
            for (store, mut writer) in [filled(MemOptions::default()), filled(file(&name))] {
                match way {
                    0 => writer.commit(Some(THERE)).expect("no hole"),
                    1 => writer.fail(StorageError::other("the source went away")),
                    _ => store.cancel(),
                }
                over.push(store.reader());
                kept.push((store, None));
            }
        }
        Self { active, over, buf: vec![0; 4096], _kept: kept, _folder: Folder(folder) }
    }

    pub fn step(&mut self, tally: &mut Tally, n: u32) {
        // All over the segments, of which the first ends at 64 KiB.
        let at = u64::from(n).wrapping_mul(7 * 64 + 8) % (THERE - 4096) / 8 * 8;
        for (reader, cursor) in &mut self.active {
            for (at, len) in [(at, 64 + n as usize % 4000), (THERE - 64, 128), (1 << 40, 64)] {
                let _ = read_at(tally, reader, at, &mut self.buf[..len]);
            }
            let stray = read_at(tally, reader, STRAY, &mut self.buf[..64]);
            tally.check(stray == Err(ReadError::NotYet));
            let right = cursor.seek_to(at).is_ok() && cursor.try_read(&mut self.buf[..64]) == Ok(64);
            tally.check(right && pattern::holds(at, &self.buf[..64]));
        }
        for reader in &self.over {
            for at in [at, THERE - 8, THERE, 1 << 40] {
                let _ = read_at(tally, reader, at, &mut self.buf[..64]);
            }
        }
    }
}

fn read_at(tally: &mut Tally, reader: &Reader<AnyDriver>, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
    let result = reader.try_read_at(at, buf);
    tally.read(Call::StoreRead, result, buf.len());
    tally.check(result.is_err() || pattern::holds(at, &buf[..result.unwrap_or(0)]));
    result
}
