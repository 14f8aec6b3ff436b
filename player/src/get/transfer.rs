//! Brings what was offered into the store, and watches over the connections that do.

mod connection;
mod focus;
mod shares;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::{Fetcher, MmapDriver, Resource, ResourceStatus, Writer};

use self::connection::{Begun, Connection, MIN_PART_BYTES};
use self::shares::Shares;
use super::client::{Client, Offer, Stream};
use super::progress::{Counts, Progress};
use super::retry::Trouble;
use super::size::Size;
use super::{GetError, GetOptions, Status, Stopper, Summary, beside};
use crate::address::Address;
pub(super) use focus::Focus;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// On a slow line, too, what has come is made safe now and then.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// How long connections are given to hang up. One that is only being made cannot be interrupted.
const GRACE: Duration = Duration::from_secs(2);

/// How a connection ended.
type End = Result<(), Trouble>;

/// A download under way.
pub(super) struct Transfer {
    pub(super) options: GetOptions,
    pub(super) stopper: Stopper,
    /// Where the file was asked for.
    pub(super) address: Address,
    pub(super) client: Client,
    pub(super) offer: Arc<Offer>,
    pub(super) resource: Resource<MmapDriver>,
    /// What was here when it began.
    pub(super) resumed: u64,
    /// A later run can go on with what this one leaves.
    pub(super) resumable: bool,
    pub(super) progress: Progress,
    pub(super) counts: Arc<Counts>,
    /// Whether, and where, somebody reads what comes.
    pub(super) focus: Arc<Focus>,
}

/// What became of a transfer.
pub(super) enum Ended {
    /// All is there, and the file has its name.
    Done(Summary),
    /// The parts that came do not fit together. This is an answer with the whole file; the bytes that are here may be of
    /// others.
    InOnePiece(Box<(Client, Offer, Stream)>),
}

/// As [`Ended`], of a file of known length.
enum Fetched {
    /// By so many connections.
    All(usize),
    InOnePiece(Box<(Offer, Stream)>),
}

impl Transfer {
    /// Fetches what is missing. `stream` is the body of an answer that has begun.
    pub(super) fn run(mut self, stream: Option<Stream>) -> Result<Ended, GetError> {
        let mut writer = self.resource.writer()?;
        self.stopper.hold();
        if !self.comes_in_parts() && self.resumed == 0 {
            // What is here is always the beginning of one answer, and compared with the next one.
            self.offer = Arc::new((*self.offer).clone().nameless());
        }
        let connections = match self.offer.len {
            // The last run got everything, and was ended before it could say so.
            Some(len) if len == self.resumed => {
                writer.commit(Some(len))?;
                0
            }
            Some(len) => match self.fetch_known(len, writer.into_fetcher(), stream)? {
                Fetched::All(connections) => connections,
                Fetched::InOnePiece(answer) => {
                    let (offer, stream) = *answer;
                    return Ok(Ended::InOnePiece(Box::new((self.client, offer, stream))));
                }
            },
            None => self.fetch_unknown(writer, stream)?,
        };
        let ResourceStatus::Committed { final_len } = self.resource.status() else { return Err(GetError::Panicked) };
        if self.offer.open_ended {
            let len = Size(final_len);
            self.progress.note(format_args!("the server did not say how long the file is; it hung up after {len}"));
        }
        self.progress.finish(&self.counts, connections);
        Ok(Ended::Done(Summary {
            bytes: final_len,
            fetched: self.counts.fetched(),
            resumed: self.resumed,
            seconds: self.progress.elapsed().as_secs_f64(),
            connections,
            retries: self.counts.retries(),
            status: Status::Done,
        }))
    }

    /// Parts can be put together only if it is sure that they are of one version.
    fn comes_in_parts(&self) -> bool {
        self.offer.in_parts && self.offer.version.validator().is_some()
    }

    /// `fetcher` is held to the end: as long as there is one, what came can still be flushed.
    fn fetch_known(
        &mut self,
        len: u64,
        fetcher: Fetcher<MmapDriver>,
        mut stream: Option<Stream>,
    ) -> Result<Fetched, GetError> {
        if self.comes_in_parts() {
            let (connections, outcome) = self.fetch_parts(len, &fetcher, stream.take())?;
            let failure = match outcome {
                Outcome::Complete => return Ok(Fetched::All(connections)),
                Outcome::WholeOnly => {
                    self.progress
                        .note("the server sends the whole file and no part of it after all: one connection goes on");
                    self.call_again()?;
                    None
                }
                Outcome::Failed(failure) if failure.is_of_parts() && !self.stopper.is_stopped() => Some(failure),
                outcome => return Err(self.leave(outcome)),
            };
            if let Some(failure) = failure {
                self.call_again()?;
                let Ok((offer, Some(whole))) = self.client.open_whole() else {
                    return Err(self.leave(Outcome::Failed(failure)));
                };
                let why = failure.in_parts();
                let same_len = offer.len == self.offer.len;
                let is_read = self.focus.is_of_a_reader();
                if same_len && self.offer.version.is_surely(&offer.version) {
                    self.progress.note(format_args!("{why}: one connection fetches the rest, from the beginning on"));
                } else if !is_read {
                    self.progress.note(format_args!("{why}: one connection fetches all of it"));
                    return Ok(Fetched::InOnePiece(Box::new((offer, whole))));
                } else if same_len && self.offer.version.allows(&offer.version) {
                    // What somebody reads already stays. It is compared with what comes.
                    self.offer = Arc::new(offer.nameless());
                } else {
                    return Err(self.leave(Outcome::Failed(failure)));
                }
                stream = Some(whole);
            }
        }
        let alone = fetcher.clone();
        let outcome = self.fetch_alone(move |connection| connection.fetch_whole(&alone, stream))?;
        if let Outcome::Failed(failure @ (GetError::Changed { .. } | GetError::Differs { .. })) = &outcome
            && self.comes_in_parts()
            && !self.focus.is_of_a_reader()
        {
            // Of a version that was sent whole, and will not be again.
            self.call_again()?;
            if let Ok((offer, Some(whole))) = self.client.open_whole() {
                self.progress.note(format_args!("{}: one connection fetches all of it", failure.in_parts()));
                return Ok(Fetched::InOnePiece(Box::new((offer, whole))));
            }
        }
        self.complete(outcome).map(Fetched::All)
    }

    /// By one connection.
    fn complete(&self, outcome: Outcome) -> Result<usize, GetError> {
        match outcome {
            Outcome::Complete => Ok(1),
            outcome => Err(self.leave(outcome)),
        }
    }

    /// By several connections. Returns how many there were, and how they ended.
    fn fetch_parts(
        &self,
        len: u64,
        fetcher: &Fetcher<MmapDriver>,
        stream: Option<Stream>,
    ) -> Result<(usize, Outcome), GetError> {
        let worth = usize::try_from((len - self.resumed).div_ceil(MIN_PART_BYTES)).unwrap_or(usize::MAX);
        let connections = worth.min(self.options.connections.into());
        let sharing = connections as u64;
        // The first part is claimed before anybody else can: it is on its way already.
        let mut begun = match stream {
            Some(stream) => Begun::Answer(stream, fetcher.next_claim(self.focus.part_bytes(fetcher, sharing, None))?),
            None => Begun::At(0),
        };
        let shares = Arc::new(Shares::of(connections));
        let (send, ends) = mpsc::channel();
        for number in 1..=sharing {
            let (fetcher, shares) = (fetcher.clone(), shares.clone());
            // Each begins where the one before it comes last.
            let next = Begun::At(len / sharing * number / MIN_PART_BYTES * MIN_PART_BYTES);
            let begun = std::mem::replace(&mut begun, next);
            let fetch = move |connection: &mut Connection| {
                connection.fetch_parts(&fetcher, &shares, number as usize - 1, begun)
            };
            self.connect(number as usize, &send, fetch)?;
        }
        drop(send);
        Ok((connections, self.watch(&ends, connections)))
    }

    /// With a new client: the old one hung up for good.
    fn call_again(&mut self) -> Result<(), GetError> {
        self.client = Client::new(&self.address, 1, self.options.patience)?;
        self.stopper.watch(self.client.halt().clone());
        Ok(())
    }

    fn fetch_unknown(&mut self, mut writer: Writer<MmapDriver>, stream: Option<Stream>) -> Result<usize, GetError> {
        let outcome = self.fetch_alone(move |connection| connection.fetch_to_the_end(&mut writer, stream))?;
        self.complete(outcome)
    }

    fn fetch_alone(&self, fetch: impl FnOnce(&mut Connection) -> End + Send + 'static) -> Result<Outcome, GetError> {
        let (send, ends) = mpsc::channel();
        self.connect(1, &send, fetch)?;
        drop(send);
        Ok(self.watch(&ends, 1))
    }

    /// Starts a connection on a thread of its own.
    fn connect(
        &self,
        number: usize,
        ended: &Sender<End>,
        fetch: impl FnOnce(&mut Connection) -> End + Send + 'static,
    ) -> Result<(), GetError> {
        let (client, offer, counts) = (self.client.clone(), self.offer.clone(), self.counts.clone());
        let mut connection =
            Connection::new(client, offer, counts, self.focus.clone(), self.resource.reader(), self.options.tries);
        let (ended, counts) = (ended.clone(), self.counts.clone());
        let run = move || {
            counts.begin();
            let end = fetch(&mut connection);
            counts.end();
            // If nobody listens any more, the program is about to end.
            let _ = ended.send(end);
        };
        let thread = thread::Builder::new().name(format!("connection-{number}"));
        thread.spawn(run).map_err(GetError::Thread)?;
        Ok(())
    }

    /// Watches `running` connections, until all is there or they have ended.
    fn watch(&self, ends: &Receiver<End>, running: usize) -> Outcome {
        let outcome = self.wait_for(ends, running);
        self.progress.show(&self.counts);
        // Whatever happened beside: this is what was wanted.
        if self.is_complete() {
            // Nothing is wanted any more from those that are still waiting for something.
            self.client.halt().halt();
            return Outcome::Complete;
        }
        outcome
    }

    fn is_complete(&self) -> bool {
        matches!(self.resource.status(), ResourceStatus::Committed { .. })
    }

    /// Keeps what is here, and says so. Returns why the transfer ended.
    fn leave(&self, outcome: Outcome) -> GetError {
        let failure = match outcome {
            _ if self.stopper.is_stopped() => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::Complete | Outcome::WholeOnly | Outcome::Ended => Some(GetError::Panicked),
        };
        // What came since the last time is kept, too. If not, that is the lesser misfortune of two.
        let is_flushed = self.resource.flush().is_ok();
        // Somebody may have removed it meanwhile.
        let is_there = [".part", ".part.index"].iter().all(|suffix| beside(&self.options.file, suffix).exists());
        let here = Size(self.resumed + self.counts.fetched());
        let kept = self.offer.len.filter(|_| is_flushed && is_there && self.resumable).map(|len| (here, Size(len)));
        let Some(failure) = failure else { return GetError::Interrupted { kept, is_there } };
        if let Some((here, len)) = kept
            .filter(|(here, _)| here.0 > 0 && !matches!(failure, GetError::Changed { .. } | GetError::Differs { .. }))
        {
            self.progress.note(format_args!("{} are kept, and the same command resumes from there", here.of(len)));
        }
        failure
    }

    fn wait_for(&self, ends: &Receiver<End>, mut running: usize) -> Outcome {
        let mut failure = None;
        let mut flushed = Instant::now();
        let mut hung_up = None;
        while running > 0 && !self.is_complete() {
            match ends.recv_timeout(TICK) {
                Ok(end) => {
                    running -= 1;
                    match end {
                        Ok(()) => {}
                        Err(Trouble::NoRanges) => {
                            self.client.halt().halt();
                            failure.get_or_insert(Outcome::WholeOnly);
                        }
                        Err(_) if self.client.halt().is_halted() => {}
                        Err(Trouble::Lasting(error) | Trouble::Passing { error, .. }) if error.ends_all() => {
                            self.client.halt().halt();
                            failure = Some(Outcome::Failed(error));
                        }
                        // A server may have enough of one connection, and serve the others.
                        Err(Trouble::Lasting(error) | Trouble::Passing { error, .. }) => {
                            if running > 0 {
                                self.progress.note(format_args!("one connection fewer: {error}"));
                            }
                            failure = Some(Outcome::Failed(error));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The rest of them panicked.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.progress.show(&self.counts);
            if self.client.halt().is_halted() {
                if hung_up.get_or_insert_with(Instant::now).elapsed() > GRACE {
                    break;
                }
            } else if flushed.elapsed() > FLUSH_INTERVAL {
                if let Err(error) = self.resource.flush() {
                    self.client.halt().halt();
                    failure = Some(Outcome::Failed(error.into()));
                }
                flushed = Instant::now();
            }
        }
        failure.unwrap_or(Outcome::Ended)
    }
}

/// How the connections of a watch ended.
enum Outcome {
    /// All is there, and the file has its name.
    Complete,
    Ended,
    /// One of them found that the server sends no parts.
    WholeOnly,
    Failed(GetError),
}
