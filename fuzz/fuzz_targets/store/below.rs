//! What is below the resource, and how it is opened: memory, files in a folder, or a driver of somebody else's.

use crate::{
    actor::Actor,
    assert_refused,
    input::{FileInput, MemoryInput, Mode, StoreInput, data},
    model::{Disk, Generation, Life},
};
use roundelay::{
    AnyDriver, Driver, DriverState, InvalidOptions, Leftover, MemDriver, MemOptions, MmapDriver, StorageError,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub enum Store {
    Memory(MemoryInput),
    File(Box<Files>),
    Actor(Actor),
}

/// A file in a folder of its own, which goes when the files are dropped.
pub struct Files {
    pub folder: PathBuf,
    pub disk: Disk,
    pub input: FileInput,
    pub leftover: Leftover,
    /// The unfinished file is open.
    pub live: bool,
    pub unflushed: u64,
}

impl Files {
    pub fn new(whole: Option<Vec<u8>>, input: FileInput) -> Self {
        let shm = Path::new("/dev/shm");
        let temporary = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let folder = temporary.join(format!("roundelay-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder can be made");
        if let Some(whole) = &whole {
            fs::write(folder.join("f"), whole).expect("a file can be written");
        }
        let disk = Disk { whole, ..Disk::default() };
        Self { folder, disk, input, leftover: Leftover::None, live: false, unflushed: 0 }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("f")
    }

    /// What the folder has, against what it should.
    pub fn check(&self) {
        let mut names: Vec<_> = fs::read_dir(&self.folder)
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("plain names"))
            .collect();
        names.sort();
        assert_eq!(names, self.disk.names());
        let read = |name| fs::read(self.folder.join(name)).expect("it is there");
        if let Some(whole) = &self.disk.whole {
            assert!(read("f") == *whole);
        }
        if let Some(part) = &self.disk.aside {
            let found = read("f.part.old");
            for range in part.durable.iter().map(|range| range.start as usize..range.end as usize) {
                assert!(found[range.clone()] == part.bytes[range], "what was set aside is harmed");
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Store {
    pub fn new(input: &StoreInput) -> Self {
        match *input {
            StoreInput::Memory(input) => Self::Memory(input),
            StoreInput::File(whole, input) => {
                Self::File(Box::new(Files::new(whole.map(|len| data(0, 0..len.into())), input)))
            }
            StoreInput::Actor(found, _) => Self::Actor(Actor::holding(data(0, 0..found.into()))),
        }
    }

    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Actor(_))
    }

    /// Opens what can be opened; other options must be refused first.
    pub fn open(&mut self, before: Option<&Generation>, len: Option<u64>) -> (AnyDriver, DriverState, Generation) {
        match self {
            Self::Memory(input) => Self::open_memory(input),
            Self::File(files) => loop {
                let options = files.input.options(&files.path());
                match files.disk.open(&options) {
                    Ok((generation, leftover, live)) => {
                        let (driver, state) = MmapDriver::open(options).expect("nothing is wrong with it");
                        (files.leftover, files.live, files.unflushed) = (leftover, live, 0);
                        return (Box::new(driver), state, generation);
                    }
                    Err(error) => {
                        assert_refused(MmapDriver::open(options), &error);
                        files.input.len = None;
                        files.input.mode = Mode::Auto;
                    }
                }
            },
            Self::Actor(actor) => {
                let mut generation = before.cloned().unwrap_or_else(|| {
                    let found = Generation::committed(data(0, 0..actor.len()));
                    Generation { life: Life::Active, expected_len: len, ..found }
                });
                if let Some(len) = generation.expected_len.filter(|_| generation.final_len().is_none()) {
                    generation.bytes.truncate(len as usize);
                    generation.there.remove(len..u64::MAX);
                }
                // What is found unfinished is written no more.
                (generation.written, generation.inherited) = (generation.there.clone(), 0);
                let committed = generation.final_len();
                let state = DriverState {
                    final_len: committed.or(generation.expected_len),
                    available: generation.there.clone(),
                    is_committed: committed.is_some(),
                };
                let life = committed.map_or(Life::Active, Life::Committed);
                let expected_len = generation.expected_len.filter(|_| committed.is_none());
                (actor.driver(), state, Generation { life, expected_len, ..generation })
            }
        }
    }

    fn open_memory(input: &mut MemoryInput) -> (AnyDriver, DriverState, Generation) {
        loop {
            let initial = input.initial.map(|len| data(0, 0..len.into()));
            let (capacity_bytes, len) = (input.capacity.map(u64::from), input.len.map(u64::from));
            let found = initial.as_ref().map(|initial| initial.len() as u64);
            let opened = MemDriver::open(MemOptions { initial: initial.clone(), capacity_bytes, len });
            let needed = found.or(len).unwrap_or(0);
            match (found, len, capacity_bytes) {
                (Some(initial), Some(len), _) if initial != len => {
                    assert_refused(opened, &InvalidOptions::InitialLength { initial, len }.into());
                    input.len = None;
                }
                (_, _, Some(capacity)) if needed > capacity => {
                    assert_refused(opened, &StorageError::CapacityExceeded { needed, capacity });
                    input.capacity = None;
                }
                _ => {
                    let (driver, state) = opened.expect("nothing is wrong with it");
                    return (Box::new(driver), state, initial.map_or(Generation::new(len), Generation::committed));
                }
            }
        }
    }
}
