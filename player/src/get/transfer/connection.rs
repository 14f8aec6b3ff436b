//! One connection: asks, receives, writes, and asks again when it was cut.

use std::sync::Arc;
use std::time::Duration;

use roundelay::{Claim, Fetcher, MmapDriver, Reader, StorageError, Writer};

use super::super::client::{Client, Offer, Stream};
use super::super::progress::Counts;
use super::super::retry::{Retries, Trouble};
use super::focus::Look;
use super::shares::{Pace, Shares, TakenOver};
use super::{Focus, GetError};

/// What a connection asks for at once: little enough that the others get some and that a cut is no great loss, enough
/// to be worth the question.
pub(super) const MIN_PART_BYTES: u64 = 1 << 20;
pub(super) const MAX_PART_BYTES: u64 = 8 << 20;

/// How often a connection that waits for work looks whether there will be none, or a slow connection to relieve.
const IDLE: Duration = Duration::from_millis(50);

/// How often a connection looks at another one that is still to show how fast it is.
const GLANCE: Duration = Duration::from_millis(10);

/// So much that is here already is received once more, in place of a new question.
const MAX_PASSED_BYTES: u64 = 256 << 10;

const BUFFER_BYTES: usize = 64 << 10;

/// What a line that is not known yet is taken to bring, in bytes a second.
const FIRST_RATE: f64 = 32e3;

/// How a connection begins.
pub(super) enum Begun {
    /// With an answer that is on its way, and the right to its first part.
    Answer(Stream, Option<Claim<MmapDriver>>),
    /// With the first gap from an offset on, unless somebody reads what comes.
    At(u64),
}

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

    /// Fetches part after part, as the one of this number, until none is missing; first what has `begun`.
    pub(super) fn fetch_parts(
        &mut self,
        fetcher: &Fetcher<MmapDriver>,
        shares: &Shares,
        me: usize,
        begun: Begun,
    ) -> Result<(), Trouble> {
        let (mut stream, mut first, mut near) = match begun {
            Begun::Answer(stream, claim) => (Some(stream), claim, None),
            Begun::At(offset) => (None, None, Some(offset)),
        };
        let mut rate = None;
        loop {
            let look = self.focus.look();
            let claim = match first.take() {
                Some(claim) => Some(claim),
                None => {
                    let most = self.focus.part_bytes(fetcher, shares.connections(), rate);
                    self.next_claim(fetcher, shares, me, most, near, &mut stream)?
                }
            };
            let Some(claim) = claim else { return Ok(()) };
            shares.begin(me, claim);
            let ended = self.fill(shares, me, &mut stream, look);
            near = shares.missing(me).map(|missing| missing.start);
            // Before any wait: others may fetch it meanwhile.
            shares.end(me);
            if let Err(trouble) = ended {
                stream = None;
                self.try_again(trouble)?;
            }
            // Believed by and by.
            let now = shares.rate(me).unwrap_or(0.0);
            rate = Some(rate.map_or(0.0, |before: f64| now.min(2.0 * before.max(FIRST_RATE))));
        }
    }

    /// Fetches what this connection has claimed: less, if other bytes are wanted first now, or another connection takes it
    /// over. What `stream` has beyond it is left there.
    fn fill(&mut self, shares: &Shares, me: usize, stream: &mut Option<Stream>, look: Look) -> Result<(), Trouble> {
        while let Some(missing) = shares.missing(me).filter(|missing| !missing.is_empty() && self.focus.is_still(look))
        {
            let at_hand = stream.take().filter(|stream| stream.position() == missing.start && !stream.is_at_end());
            let mut part = match at_hand {
                Some(part) => part,
                None => self.client.open_part(&self.offer, missing.into())?,
            };
            if self.pour_share(shares, me, &mut part, look)?.is_ok() {
                *stream = Some(part);
            }
        }
        Ok(())
    }

    /// Receives this connection's share, as far as the answer goes.
    fn pour_share(
        &mut self,
        shares: &Shares,
        me: usize,
        part: &mut Stream,
        look: Look,
    ) -> Result<Result<(), TakenOver>, Trouble> {
        while self.focus.is_still(look) && !part.is_at_end() {
            let Some(missing) = shares.missing(me) else { return Ok(Err(TakenOver)) };
            if missing.is_empty() {
                break;
            }
            let most = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let length = part.read(&mut self.buffer[..most])?;
            if length == 0 {
                return Err(part.ended_early());
            }
            if let Err(taken_over) = shares.append(me, &self.buffer[..length])? {
                return Ok(Err(taken_over));
            }
            self.received(length);
        }
        Ok(Ok(()))
    }

    /// The right to the next gap: where `stream` goes on, or `near`, or anywhere. Waits while all are taken, and takes over
    /// what a slower connection has. `None` when no gap is left.
    fn next_claim(
        &mut self,
        fetcher: &Fetcher<MmapDriver>,
        shares: &Shares,
        me: usize,
        most: u64,
        near: Option<u64>,
        stream: &mut Option<Stream>,
    ) -> Result<Option<Claim<MmapDriver>>, Trouble> {
        if self.focus.is_of_a_reader() {
            // What the reader waits for comes first, and may be with a slow one.
            shares.take_over_slowest(me);
        } else {
            if let Some(claim) = self.follow_on(fetcher, shares, me, most, stream)? {
                return Ok(Some(claim));
            }
            if let Some(claim) = near.map_or(Ok(None), |near| fetcher.claim_from(near, most))? {
                return Ok(Some(claim));
            }
        }
        loop {
            if let Some(claim) = self.claim_soon(fetcher, most)? {
                return Ok(claim);
            }
            if let Some(begins) = shares.take_over_slowest(me)
                && let Some(claim) = fetcher.claim_from(begins, most)?
            {
                return Ok(Some(claim));
            }
        }
    }

    /// The right to the gap where `stream` goes on: an answer that flows is better than one that may not come. What a slow
    /// connection has there is taken over.
    fn follow_on(
        &mut self,
        fetcher: &Fetcher<MmapDriver>,
        shares: &Shares,
        me: usize,
        most: u64,
        stream: &mut Option<Stream>,
    ) -> Result<Option<Claim<MmapDriver>>, Trouble> {
        let Some(part) = stream.as_mut().filter(|stream| !stream.is_at_end()) else { return Ok(None) };
        let at = part.position();
        loop {
            if let Some(claim) = fetcher.claim_from(at, most)? {
                let begins = claim.position();
                if begins == at {
                    return Ok(Some(claim));
                }
                if begins - at <= MAX_PASSED_BYTES && self.reader.contains_range(at..begins) {
                    return match self.pass(part, begins) {
                        Ok(()) => Ok(Some(claim)),
                        Err(Trouble::Lasting(error)) => Err(error.into()),
                        // It was cut. Another question brings the rest.
                        Err(_) => {
                            *stream = None;
                            Ok(None)
                        }
                    };
                }
            }
            match shares.pace_at(at, MAX_PASSED_BYTES, me) {
                Some(Pace::Slow) => shares.take_over_at(at, MAX_PASSED_BYTES, me),
                Some(Pace::Unknown) if self.client.halt().sleep(GLANCE) => {}
                Some(Pace::Unknown) => return Err(GetError::interrupted().into()),
                Some(Pace::Fine) | None => return Ok(None),
            }
        }
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
                self.pour(&mut whole, &mut claim)?;
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
        if self.offer.open_ended && writer.position() == 0 {
            // A head that was cut looks the same.
            return Err(whole.ended_early());
        }
        // Hanging up on our side looks like an end, too.
        if self.client.halt().is_halted() {
            return Err(GetError::interrupted().into());
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
                let differs = here[..read].iter().zip(&self.buffer[compared..]).position(|(here, there)| here != there);
                if let Some(differs) = differs.or((read == 0).then_some(0)) {
                    return Err(GetError::Differs { at: at + (compared + differs) as u64 }.into());
                }
                compared += read;
            }
        }
        Ok(())
    }

    /// Receives the whole of a claim.
    fn pour(&mut self, stream: &mut Stream, claim: &mut Claim<MmapDriver>) -> Result<(), Trouble> {
        debug_assert_eq!(stream.position(), claim.position(), "these bytes belong elsewhere");
        while claim.remaining() > 0 {
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

    /// The right to the next gap; waits while all are taken. `None` when no gap is left.
    fn claim(&self, fetcher: &Fetcher<MmapDriver>, most: u64) -> Result<Option<Claim<MmapDriver>>, Trouble> {
        loop {
            if let Some(claim) = self.claim_soon(fetcher, most)? {
                return Ok(claim);
            }
        }
    }

    /// As [`claim`](Self::claim), but waits no longer than a moment. `None` if all are taken still.
    fn claim_soon(
        &self,
        fetcher: &Fetcher<MmapDriver>,
        most: u64,
    ) -> Result<Option<Option<Claim<MmapDriver>>>, Trouble> {
        match fetcher.wait_claim_timeout(most, IDLE) {
            Err(StorageError::TimedOut) if !self.client.halt().is_halted() => Ok(None),
            Err(StorageError::TimedOut) => Err(GetError::interrupted().into()),
            claim => Ok(Some(claim?)),
        }
    }
}
