//! Brings what was offered into the store, and watches over the connections that do.

mod connection;
mod focus;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use roundelay::{Fetcher, MmapDriver, Resource, ResourceStatus, Writer};
use ureq::http::Uri;

use self::connection::{Connection, MIN_PART_BYTES};
use super::client::{Client, Offer, Stream};
use super::progress::{Counts, Progress};
use super::retry::Trouble;
use super::size::Size;
use super::{GetError, GetOptions, Status, Stopper, Summary};
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
    pub(super) url: Uri,
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

impl Transfer {
    /// Fetches what is missing. `stream` is the body of an answer that has begun.
    pub(super) fn run(mut self, stream: Option<Stream>) -> Result<Summary, GetError> {
        let mut writer = self.resource.writer()?;
        self.stopper.hold();
        let connections = match self.offer.len {
            // The last run got everything, and was ended before it could say so.
            Some(len) if len == self.resumed => {
                writer.commit(Some(len))?;
                0
            }
            Some(len) => self.fetch_known(len, writer.into_fetcher(), stream)?,
            None => self.fetch_unknown(writer, stream)?,
        };
        let ResourceStatus::Committed { final_len } = self.resource.status() else { return Err(GetError::Panicked) };
        if self.offer.open_ended {
            let len = Size(final_len);
            self.progress.note(format_args!("the server did not say how long the file is; it hung up after {len}"));
        }
        self.progress.finish(&self.counts, connections);
        Ok(Summary {
            bytes: final_len,
            fetched: self.counts.fetched(),
            resumed: self.resumed,
            seconds: self.progress.elapsed().as_secs_f64(),
            connections,
            retries: self.counts.retries(),
            status: Status::Done,
        })
    }

    /// Returns how many connections there were. `fetcher` is held to the end: as long as there is one, what came can
    /// still be flushed.
    fn fetch_known(
        &mut self,
        len: u64,
        fetcher: Fetcher<MmapDriver>,
        mut stream: Option<Stream>,
    ) -> Result<usize, GetError> {
        // Parts can be put together only if it is sure that they are of one version.
        if self.offer.in_parts && self.offer.version.validator().is_some() {
            let worth = usize::try_from((len - self.resumed).div_ceil(MIN_PART_BYTES)).unwrap_or(usize::MAX);
            let connections = worth.min(self.options.connections.into());
            let sharing = connections as u64;
            // The first part is claimed before anybody else can: it is on its way already.
            let mut begun = match stream.take() {
                Some(stream) => Some((stream, fetcher.next_claim(self.focus.part_bytes(&fetcher, sharing, None))?)),
                None => None,
            };
            let (send, ends) = mpsc::channel();
            for number in 1..=connections {
                let (fetcher, begun) = (fetcher.clone(), begun.take());
                let fetch = move |connection: &mut Connection| connection.fetch_parts(&fetcher, sharing, begun);
                self.connect(number, &send, fetch)?;
            }
            drop(send);
            if self.watch(&ends, connections)?.is_some() {
                return Ok(connections);
            }
            self.progress.note("the server sends the whole file and no part of it after all: one connection goes on");
            // The old client hung up for good.
            self.client = Client::new(&self.url, 1, self.options.patience);
            self.stopper.watch(self.client.halt().clone());
        }
        let alone = fetcher.clone();
        self.fetch_alone(move |connection| connection.fetch_whole(&alone, stream))
    }

    fn fetch_unknown(&mut self, mut writer: Writer<MmapDriver>, stream: Option<Stream>) -> Result<usize, GetError> {
        self.fetch_alone(move |connection| connection.fetch_to_the_end(&mut writer, stream))
    }

    fn fetch_alone(&mut self, fetch: impl FnOnce(&mut Connection) -> End + Send + 'static) -> Result<usize, GetError> {
        let (send, ends) = mpsc::channel();
        self.connect(1, &send, fetch)?;
        drop(send);
        match self.watch(&ends, 1)? {
            Some(Complete) => Ok(1),
            // Nobody asked for a part.
            None => Err(GetError::Panicked),
        }
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

    /// Watches `running` connections to their end. `None` if the server sends no parts after all.
    fn watch(&self, ends: &Receiver<End>, running: usize) -> Result<Option<Complete>, GetError> {
        let outcome = self.wait_for(ends, running);
        self.progress.show(&self.counts);
        // Whatever happened beside: this is what was wanted.
        if matches!(self.resource.status(), ResourceStatus::Committed { .. }) {
            return Ok(Some(Complete));
        }
        let failure = match outcome {
            Outcome::WholeOnly => return Ok(None),
            _ if self.stopper.is_stopped() => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::Ended => Some(GetError::Panicked),
        };
        // What came since the last time is kept, too. If not, that is the lesser misfortune of two.
        let kept = self.resource.flush().is_ok() && self.resumable;
        let here = Size(self.resumed + self.counts.fetched());
        let kept = self.offer.len.filter(|_| kept).map(|len| (here, Size(len)));
        let Some(failure) = failure else { return Err(GetError::Interrupted { kept }) };
        if let Some((here, len)) = kept.filter(|(here, _)| here.0 > 0 && !matches!(failure, GetError::Changed { .. })) {
            self.progress.note(format_args!("{} are kept, for the same command to go on from", here.of(len)));
        }
        Err(failure)
    }

    fn wait_for(&self, ends: &Receiver<End>, mut running: usize) -> Outcome {
        let mut failure = None;
        let mut flushed = Instant::now();
        let mut hung_up = None;
        while running > 0 {
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
                        // A server may have enough of one connection, and go on with the others.
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

/// All is there, and the file has its name.
struct Complete;

/// How the connections of a watch ended.
enum Outcome {
    Ended,
    /// One of them found that the server sends no parts.
    WholeOnly,
    Failed(GetError),
}
