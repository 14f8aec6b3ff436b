//! One connection: asks, receives, writes, and asks again when it was cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay::{Claim, Fetcher, MmapDriver, Reader, Span, StorageError, Writer};

use super::super::client::{Client, Offer, Stream};
use super::super::progress::Counts;
use super::super::retry::{Retries, Trouble};
use super::focus::Look;
use super::{Focus, GetError};

/// What a connection asks for at once: little enough that the others get some and that a cut is no great loss, enough
/// to be worth the question.
pub(super) const MIN_PART_BYTES: u64 = 1 << 20;
pub(super) const MAX_PART_BYTES: u64 = 8 << 20;

/// How soon a connection that waits for work notices that there will be none.
const IDLE: Duration = Duration::from_millis(200);

const BUFFER_BYTES: usize = 64 << 10;

/// What a line that is not known yet is taken to bring, in bytes a second.
const FIRST_RATE: f64 = 32e3;

/// One of the connections of a download.
pub(super) struct Connection {
    client: Client,
    offer: Arc<Offer>,
    counts: Arc<Counts>,
    focus: Arc<Focus>,
    /// Sees what is here already.
    reader: Reader<MmapDriver>,
    retries: Retries,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(
        client: Client,
        offer: Arc<Offer>,
        counts: Arc<Counts>,
        focus: Arc<Focus>,
        reader: Reader<MmapDriver>,
        tries: u32,
    ) -> Self {
        Self { client, offer, counts, focus, reader, retries: Retries::new(tries), buffer: vec![0; BUFFER_BYTES] }
    }

    /// Fetches part after part, as one of `connections`, until none is missing; first what has `begun`.
    pub(super) fn fetch_parts(
        &mut self,
        fetcher: &Fetcher<MmapDriver>,
        connections: u64,
        begun: Option<(Stream, Option<Claim<MmapDriver>>)>,
    ) -> Result<(), Trouble> {
        let (mut stream, mut first) = begun.map_or((None, None), |(stream, claim)| (Some(stream), claim));
        let mut rate = None;
        loop {
            let look = self.focus.look();
            let claim = match first.take() {
                Some(claim) => Some(claim),
                None => self.claim(fetcher, self.focus.part_bytes(fetcher, connections, rate))?,
            };
            let Some(mut claim) = claim else { return Ok(()) };
            let (began, from) = (Instant::now(), claim.position());
            // Given back unfinished, if other bytes are wanted first now.
            while claim.remaining() > 0 && self.focus.is_still(look) {
                if let Err(trouble) = self.fill(&mut claim, &mut stream, look) {
                    self.try_again(trouble)?;
                }
            }
            let seconds = began.elapsed().as_secs_f64().max(1e-3);
            let now = (claim.position() - from) as f64 / seconds;
            // Believed by and by.
            rate = Some(rate.map_or(0.0, |before: f64| now.min(2.0 * before.max(FIRST_RATE))));
        }
    }

    /// Fetches a part, or as much of it as comes. What `stream` has beyond it is left there.
    fn fill(&mut self, claim: &mut Claim<MmapDriver>, stream: &mut Option<Stream>, look: Look) -> Result<(), Trouble> {
        let missing = Span { start: claim.position(), end: claim.range().end };
        let at_hand = stream.take().filter(|stream| stream.position() == missing.start && !stream.is_at_end());
        let mut part = match at_hand {
            Some(part) => part,
            None => self.client.open_part(&self.offer, missing)?,
        };
        self.pour(&mut part, claim, Some(look))?;
        *stream = Some(part);
        Ok(())
    }

    /// Fetches the file from its first byte on, and writes what is missing of it.
    pub(super) fn fetch_whole(
        &mut self,
        fetcher: &Fetcher<MmapDriver>,
        mut stream: Option<Stream>,
    ) -> Result<(), Trouble> {
        while let Err(trouble) = self.fetch_whole_once(fetcher, stream.take()) {
            self.try_again(trouble)?;
        }
        Ok(())
    }

    fn fetch_whole_once(&mut self, fetcher: &Fetcher<MmapDriver>, stream: Option<Stream>) -> Result<(), Trouble> {
        let mut whole = self.whole(stream)?;
        while let Some(claim) = self.claim(fetcher, u64::MAX)? {
            // All the gaps there are, in the order in which a body brings them.
            let mut claims = vec![claim];
            while let Some(claim) = fetcher.next_claim(u64::MAX)? {
                claims.push(claim);
            }
            claims.sort_by_key(Claim::position);
            if claims[0].position() < whole.position() {
                // A gap that some other connection gave back too late.
                whole = self.client.open_again(&self.offer)?;
            }
            for mut claim in claims {
                self.pass(&mut whole, claim.position())?;
                self.pour(&mut whole, &mut claim, None)?;
            }
        }
        Ok(())
    }

    /// Fetches a file that nobody knows the length of.
    pub(super) fn fetch_to_the_end(
        &mut self,
        writer: &mut Writer<MmapDriver>,
        mut stream: Option<Stream>,
    ) -> Result<(), Trouble> {
        while let Err(trouble) = self.fetch_to_the_end_once(writer, stream.take()) {
            self.try_again(trouble)?;
        }
        Ok(())
    }

    fn fetch_to_the_end_once(
        &mut self,
        writer: &mut Writer<MmapDriver>,
        stream: Option<Stream>,
    ) -> Result<(), Trouble> {
        let mut whole = self.whole(stream)?;
        self.pass(&mut whole, writer.position())?;
        loop {
            let length = whole.read(&mut self.buffer)?;
            if length == 0 {
                break;
            }
            writer.append(&self.buffer[..length])?;
            self.received(length);
        }
        // Hanging up on our side looks like an end, too.
        if self.client.halt().is_halted() {
            return Err(GetError::Interrupted { kept: None }.into());
        }
        writer.commit(Some(writer.position()))?;
        Ok(())
    }

    /// The answer at hand, or another one.
    fn whole(&self, stream: Option<Stream>) -> Result<Stream, Trouble> {
        match stream {
            Some(stream) => Ok(stream),
            None => self.client.open_again(&self.offer),
        }
    }

    /// Receives up to `to` what is here already, and makes sure that it is the same.
    fn pass(&mut self, stream: &mut Stream, to: u64) -> Result<(), Trouble> {
        let mut here = vec![0; BUFFER_BYTES];
        while stream.position() < to {
            let at = stream.position();
            let most = usize::try_from(to - at).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let length = stream.read(&mut self.buffer[..most])?;
            if length == 0 {
                return Err(stream.ended_early());
            }
            // What another connection has yet to give back is not here, and cannot be waited for.
            let is_here = self.reader.contains_range(at..stream.position());
            let mut compared = if is_here { 0 } else { length };
            while compared < length {
                let read = self.reader.read_at(at + compared as u64, &mut here[..length - compared])?;
                if read == 0 || here[..read] != self.buffer[compared..compared + read] {
                    let what = format!("other bytes came at {} the second time", at + compared as u64);
                    return Err(GetError::Changed { what }.into());
                }
                compared += read;
            }
        }
        Ok(())
    }

    /// Receives the whole of a claim; less, if `look` is at something else than is wanted meanwhile.
    fn pour(&mut self, stream: &mut Stream, claim: &mut Claim<MmapDriver>, look: Option<Look>) -> Result<(), Trouble> {
        debug_assert_eq!(stream.position(), claim.position(), "these bytes belong elsewhere");
        while claim.remaining() > 0 && look.is_none_or(|look| self.focus.is_still(look)) {
            let most = usize::try_from(claim.remaining()).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let length = stream.read(&mut self.buffer[..most])?;
            if length == 0 {
                return Err(stream.ended_early());
            }
            let mut bytes = &self.buffer[..length];
            while !bytes.is_empty() {
                let taken = claim.append(bytes)?;
                bytes = &bytes[taken..];
            }
            self.received(length);
        }
        Ok(())
    }

    fn received(&mut self, length: usize) {
        self.counts.fetch(length);
        self.retries.progress();
    }

    fn try_again(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        self.retries.wait(trouble, self.client.halt())?;
        self.counts.retry();
        Ok(())
    }

    /// The right to the next gap; waits while all are taken. `None` when there is none left.
    fn claim(&self, fetcher: &Fetcher<MmapDriver>, most: u64) -> Result<Option<Claim<MmapDriver>>, Trouble> {
        loop {
            match fetcher.wait_claim_timeout(most, IDLE) {
                Err(StorageError::TimedOut) if !self.client.halt().is_halted() => {}
                Err(StorageError::TimedOut) => return Err(GetError::Interrupted { kept: None }.into()),
                claim => return Ok(claim?),
            }
        }
    }
}
