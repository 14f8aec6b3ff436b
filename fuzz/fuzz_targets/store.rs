//! Any sequence of operations on the stores that keep everything, and on a driver of somebody else's that fails when it
//! is told to, against a plain model: what is there of each generation, how it ended, and what a crash would leave.
#![no_main]

#[path = "store/actor.rs"]
mod actor;
#[path = "store/below.rs"]
mod below;
#[path = "store/input.rs"]
mod input;
#[path = "store/model.rs"]
mod model;
#[path = "store/reading.rs"]
mod reading;
#[path = "store/witness.rs"]
mod witness;
#[path = "store/writing.rs"]
mod writing;

use actor::Method;
use below::{Files, Store};
use input::{FileInput, Input, Len, Mode, Operation, Place, StoreInput};
use libfuzzer_sys::fuzz_target;
use model::{BLOCK, Generation, Life, NOW};
use roundelay::{
    AnyDriver, CancelToken, Cursor, Driver, DriverState, MmapDriver, OnLap, OpenMode, ReadError, Reader, Resource,
    StorageError, StorageResult, Writer,
};
use std::{
    fmt::Debug,
    fs,
    mem::{self, discriminant},
    ops::Range,
    sync::Arc,
};
use witness::{Event, Witness};
use writing::{Crew, Seat};

fn assert_refused<T: Debug>(found: StorageResult<T>, expected: &StorageError) {
    let found = found.expect_err("it should be refused");
    assert_eq!(discriminant(&found), discriminant(expected), "{found:?}, and not {expected:?}");
    if let (StorageError::Hole { hole: found }, StorageError::Hole { hole }) = (&found, expected) {
        assert_eq!(found, hole);
    }
}

fn assert_is<T: Debug>(found: StorageResult<T>, expected: &StorageResult<()>) -> Option<T> {
    match expected {
        Ok(()) => Some(found.expect("nothing is wrong with it")),
        Err(error) => {
            assert_refused(found, error);
            None
        }
    }
}

/// The resource, all its handles, and what should be true of them.
struct Run {
    // In this order they go: who writes, who reads, the resource, and the folder last.
    seat: Seat,
    /// Each with its generation.
    readers: Vec<(Reader<AnyDriver>, usize)>,
    cursor: (Cursor<AnyDriver>, usize),
    resource: Resource<AnyDriver>,
    witness: Arc<Witness>,
    /// What the observer should have heard in this step.
    expected: Vec<Event>,
    /// The last one is the current one.
    generations: Vec<Generation>,
    store: Store,
    seed: u64,
}

impl Run {
    fn new(input: &StoreInput) -> Self {
        let mut store = Store::new(input);
        let len = if let StoreInput::Actor(_, len) = input { len.map(u64::from) } else { None };
        let opened = store.open(None, len);
        Self::over(store, opened, 1)
    }

    fn over(store: Store, opened: (AnyDriver, DriverState, Generation), seed: u64) -> Self {
        let (driver, state, generation) = opened;
        let witness = Arc::new(Witness::default());
        let resource = Resource::from_driver_observed(CancelToken::new(), driver, state, witness.clone())
            .expect("it is not cancelled and has no hole");
        let (readers, cursor) = (vec![(resource.reader(), 0)], (resource.cursor(OnLap::Error), 0));
        let (expected, generations) = (Vec::new(), vec![generation]);
        Self { seat: Seat::Nobody, readers, cursor, resource, witness, expected, generations, store, seed }
    }

    fn current(&self) -> &Generation {
        self.generations.last().expect("there is one")
    }

    fn current_mut(&mut self) -> &mut Generation {
        self.generations.last_mut().expect("there is one")
    }

    fn files(&mut self) -> Option<&mut Files> {
        if let Store::File(files) = &mut self.store { Some(files) } else { None }
    }

    fn rewrites(&self) -> bool {
        matches!(&self.store, Store::File(files) if matches!(files.input.mode, Mode::ReadWrite))
    }

    /// Whether a call of the driver is about to fail.
    fn fails(&self, method: Method) -> bool {
        matches!(&self.store, Store::Actor(actor) if actor.fails(method))
    }

    fn offset(&self, place: Place) -> u64 {
        match place {
            Place::Here(at) => u64::from(at) % (3 * BLOCK),
            Place::Block(block, by) => (u64::from(block % 24) * BLOCK).saturating_add_signed(by.into()),
            Place::Live(by) => self.current().live_edge().saturating_add_signed(by.into()),
            Place::Hostile(by) if by < 64 => u64::MAX - u64::from(by),
            Place::Hostile(by) => (1 << 62) + u64::from(by),
        }
    }

    fn range(&self, place: Place, len: Len) -> Range<u64> {
        let start = self.offset(place);
        start..start.saturating_add(len.bytes())
    }

    fn step(&mut self, operation: Operation) {
        match operation {
            Operation::TakeWriter => self.take_writer(),
            Operation::DropWriter => {
                if matches!(self.seat, Seat::Writer(..)) {
                    self.leave();
                }
            }
            Operation::WriteAt(place, len) => self.write(self.offset(place), len, |writer, offset, data| {
                writer.write_at(offset, data).map(|()| data.len())
            }),
            Operation::TryWriteAt(place, len) => self.write(self.offset(place), len, Writer::try_write_at),
            Operation::Append(len) => {
                if let Seat::Writer(_, position) = self.seat {
                    self.write(position, len, |writer, _, data| writer.append(data).map(|()| data.len()));
                }
            }
            Operation::Commit(place) => self.commit(place.map(|place| self.offset(place))),
            Operation::Fail(by_writer) => {
                match &mut self.seat {
                    Seat::Writer(writer, _) if by_writer => writer.fail(StorageError::other("on purpose")),
                    Seat::Fetchers(Crew { fetchers, .. }) if by_writer && !fetchers.is_empty() => {
                        fetchers[0].fail(StorageError::other("on purpose"));
                    }
                    _ => self.resource.fail(StorageError::other("on purpose")),
                }
                self.fail();
            }
            Operation::Cancel => {
                self.resource.cancel();
                if self.current().life == Life::Active {
                    self.current_mut().life = Life::Cancelled;
                    self.expected.push(Event::Cancel);
                }
            }
            Operation::Reactivate => self.reactivate(),
            Operation::IntoFetcher => {
                if let Seat::Writer(writer, _) = self.take_pen() {
                    self.seat = Seat::Fetchers(Crew { fetchers: vec![writer.into_fetcher()], claims: vec![], next: 0 });
                }
            }
            Operation::CloneFetcher => self.with_crew(|_, crew| {
                crew.fetchers.extend(crew.fetchers.first().cloned());
            }),
            Operation::DropFetcher => self.with_crew(|_, crew| drop(crew.fetchers.pop())),
            Operation::Claim(max) => self.with_crew(|run, crew| run.claim(crew, max.bytes())),
            Operation::Fill(i, len) => self.with_crew(|run, crew| run.fill(crew, i, len.bytes())),
            Operation::DropClaim(i) => self.with_crew(|_, crew| {
                if !crew.claims.is_empty() {
                    crew.claims.swap_remove(usize::from(i) % crew.claims.len());
                }
            }),
            Operation::Flush => {
                let flushed = self.resource.flush().expect("nothing is wrong with the disk");
                assert_eq!(flushed, self.flushed());
            }
            Operation::KeepReader => {
                if self.readers.len() < 6 {
                    self.readers.push((self.resource.reader(), self.generations.len() - 1));
                }
            }
            Operation::Refresh(i) => {
                let (i, last) = (usize::from(i) % self.readers.len(), self.generations.len() - 1);
                let (reader, of) = &mut self.readers[i];
                // It may also go over from a rewrite to the same, settled.
                assert!(reader.refresh() || *of == last);
                *of = last;
            }
            Operation::Read(i, place, len, blocking) => {
                let (offset, i) = (self.offset(place), usize::from(i) % self.readers.len());
                let (reader, of) = (self.readers[i].0.clone(), self.readers[i].1);
                let mut buf = vec![0xEE; len.bytes() as usize];
                let broken = self.fails(Method::Read);
                if blocking {
                    let read = match self.generations[of].run(offset) {
                        Err(ReadError::NotYet) if !buf.is_empty() => reader.read_at_timeout(offset, &mut buf, NOW),
                        _ => reader.read_at(offset, &mut buf),
                    };
                    self.check_read(of, offset, &buf, broken, read);
                } else {
                    let read = reader.try_read_at(offset, &mut buf);
                    self.check_try_read(of, offset, &buf, broken, read);
                }
            }
            Operation::Ask(i, place, len) => {
                self.ask(usize::from(i) % self.readers.len(), self.range(place, len));
            }
            Operation::AskBackwards(from, to) => {
                for i in 0..self.readers.len() {
                    self.ask(i, self.offset(from)..self.offset(to));
                }
            }
            Operation::Cursor(operation) => self.cursor(operation),
            Operation::Reopen(input, crash) => self.reopen(input, crash),
            Operation::OpenAgain(input) => self.open_again(input),
            Operation::Break(method) => {
                if let Store::Actor(actor) = &self.store {
                    actor.break_next(method);
                }
            }
        }
        self.check();
    }

    // ---- opening again ----

    /// As it is dropped or, from a copy of its files, as after a crash.
    fn reopen(&mut self, input: FileInput, crash: bool) {
        self.check_all();
        let seed = self.seed;
        let bytes = self.current().bytes.clone();
        let mut crashed = None;
        if let Some(files) = self.files() {
            if files.live {
                files.disk.part.as_mut().expect("it is live").bytes = bytes;
            }
            let copy = files.folder.with_extension("crashed");
            if crash {
                fs::create_dir(&copy).expect("a folder can be made");
                for name in files.disk.names() {
                    fs::copy(files.folder.join(name), copy.join(name)).expect("it can be copied");
                }
                crashed = Some((copy, files.disk.clone()));
            }
        }
        self.leave();
        self.check();
        let before = self.current().clone();
        let closed = mem::replace(self, Self::new(&StoreInput::Actor(0, None)));
        let Self { mut store, resource, readers, cursor, .. } = closed;
        drop((resource, readers, cursor));
        if let Store::File(files) = &mut store {
            if mem::take(&mut files.live) {
                files.disk.part = files.disk.part.take().filter(|part| !part.durable.is_empty());
            }
            files.check();
            if let Some((copy, disk)) = crashed {
                fs::remove_dir_all(&files.folder).expect("it can be removed");
                fs::rename(copy, &files.folder).expect("it can be renamed");
                files.disk = disk;
                files.check();
            }
            files.input = input;
        }
        if let Store::Actor(actor) = &store {
            actor.mend();
        }
        let opened = store.open(Some(&before), None);
        *self = Self::over(store, opened, seed);
    }

    /// Opens the file beside whoever has it open.
    fn open_again(&mut self, input: FileInput) {
        let Some(files) = self.files() else { return };
        let options = input.options(&files.path());
        let goes_on = options.mode == OpenMode::Replace || files.disk.whole.is_none();
        if goes_on && options.mode != OpenMode::ReadOnly {
            if files.live {
                let path = files.path();
                assert_refused(MmapDriver::open(options), &StorageError::Locked { path, pid: None });
            }
            return;
        }
        match files.disk.clone().open(&options) {
            Ok((generation, ..)) => {
                let (_, state) = MmapDriver::open(options).expect("nothing is wrong with it");
                assert_eq!(state.final_len, generation.final_len());
            }
            Err(error) => assert_refused(MmapDriver::open(options), &error),
        }
    }

    // ---- what must hold ----

    /// After every step.
    fn check(&mut self) {
        let heard = self.witness.take();
        assert_eq!(heard, mem::take(&mut self.expected));
        let generation = self.current();
        assert!(generation.life.is(&self.resource.status()), "{:?}", self.resource.status());
        let newest = (self.resource.reader(), self.generations.len() - 1);
        for (reader, of) in self.readers.iter().chain([&newest]) {
            let generation = &self.generations[*of];
            assert!(generation.life.is(&reader.status()), "{:?}", reader.status());
            assert_eq!(reader.available(), generation.there);
            assert_eq!(reader.live_edge(), generation.live_edge());
            assert_eq!(reader.final_len(), generation.final_len());
            assert_eq!(reader.expected_len(), generation.expected_len.filter(|_| generation.final_len().is_none()));
            assert_eq!(reader.valid_window(), None);
        }
        match &self.seat {
            Seat::Nobody => {}
            Seat::Writer(writer, position) => assert_eq!(writer.position(), *position),
            Seat::Fetchers(Crew { fetchers, .. }) => {
                let len = generation.expected_len.unwrap_or(0);
                let missing =
                    if len == 0 { 0 } else { generation.there.gaps(&(0..len)).map(|gap| gap.end - gap.start).sum() };
                assert!(fetchers.iter().all(|fetcher| fetcher.missing() == missing));
            }
        }
        if let Store::File(files) = &self.store {
            assert_eq!(self.resource.leftover(), files.leftover);
        }
    }

    /// Each reader reads all that there is of its generation, byte for byte, and nothing fails.
    fn check_all(&mut self) {
        if let Store::Actor(actor) = &self.store {
            actor.mend();
        }
        for (reader, of) in &self.readers {
            for range in self.generations[*of].there.iter() {
                let mut buf = vec![0; (range.end - range.start) as usize];
                let read = reader.read_at(range.start, &mut buf).expect("it is there");
                assert_eq!(read, buf.len());
                self.check_bytes(*of, range.start, &buf);
            }
        }
    }

    /// In the end whoever writes goes, and a store that survives is opened once more.
    fn finish(mut self) {
        match &self.store {
            Store::File(files) => self.reopen(files.input, false),
            _ => self.leave(),
        }
        self.check();
        self.check_all();
    }
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(&input.store);
    run.check();
    for operation in input.operations.into_iter().take(128) {
        run.step(operation);
    }
    run.finish();
});
