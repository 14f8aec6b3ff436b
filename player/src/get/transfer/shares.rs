//! Which connection fetches what, so that no bytes wait for a connection that does not bring them.
//!
//! A connection has a claim only while it asks and receives: before it waits for anything else, the claim is given back.
//! While it has one, the claim lies here, where a faster connection can take it over: the slower one finds out with
//! the next bytes that it receives, which it may not write any more.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roundelay::{Claim, MmapDriver, StorageResult};

/// How fast a connection is, is judged no sooner after its question.
const MIN_JUDGED: Duration = Duration::from_millis(250);

/// So many times slower than another, a connection is slow.
const SLOW: f64 = 4.0;

/// What can be brought in less is not worth a question.
const MIN_SECONDS_WON: f64 = 0.3;

/// The claims of all connections.
#[derive(Debug)]
pub(super) struct Shares(Vec<Mutex<Share>>);

/// What one connection does.
#[derive(Debug, Default)]
struct Share {
    claim: Option<Claim<MmapDriver>>,
    /// When it was claimed, and at which position.
    began: Option<(Instant, u64)>,
    /// How many bytes a second came of late.
    rate: Option<f64>,
}

/// How fast a connection is, as another one sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It has to show it first.
    Unknown,
    Fine,
    Slow,
}

/// A connection may not write any more what it receives.
#[derive(Debug)]
pub(super) struct TakenOver;

impl Shares {
    pub(super) fn of(connections: usize) -> Self {
        Self((0..connections).map(|_| Mutex::default()).collect())
    }

    pub(super) fn connections(&self) -> u64 {
        self.0.len() as u64
    }

    fn share(&self, of: usize) -> MutexGuard<'_, Share> {
        self.0[of].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is what the connection fetches from now on.
    pub(super) fn begin(&self, connection: usize, claim: Claim<MmapDriver>) {
        let mut share = self.share(connection);
        share.began = Some((Instant::now(), claim.position()));
        share.claim = Some(claim);
    }

    /// What the connection has still to fetch. `None` if another one does.
    pub(super) fn missing(&self, connection: usize) -> Option<std::ops::Range<u64>> {
        self.share(connection).claim.as_ref().map(|claim| claim.position()..claim.range().end)
    }

    /// Writes what the connection received.
    pub(super) fn append(&self, connection: usize, bytes: &[u8]) -> StorageResult<Result<(), TakenOver>> {
        let mut share = self.share(connection);
        let Some(claim) = &mut share.claim else { return Ok(Err(TakenOver)) };
        let mut bytes = bytes;
        while !bytes.is_empty() && claim.remaining() > 0 {
            let taken = claim.append(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(Ok(()))
    }

    /// The connection fetches nothing any more: what is missing of its claim is free.
    pub(super) fn end(&self, connection: usize) {
        self.share(connection).end();
    }

    /// How many bytes a second the connection brought of late.
    pub(super) fn rate(&self, connection: usize) -> Option<f64> {
        self.share(connection).rate
    }

    /// How fast the connection is, beside the connection `me`, that fetches what is missing next from `offset` on, at most
    /// `ahead` bytes from there. `None` if no connection does.
    pub(super) fn pace_at(&self, offset: u64, ahead: u64, me: usize) -> Option<Pace> {
        let mine = self.share(me).rate_now();
        let holder = self.holder(offset, ahead, me)?;
        Some(self.share(holder).pace_beside(mine))
    }

    /// Sets free what the connection has claimed that fetches what is missing next from `offset` on.
    pub(super) fn take_over_at(&self, offset: u64, ahead: u64, me: usize) {
        if let Some(holder) = self.holder(offset, ahead, me) {
            self.share(holder).end();
        }
    }

    fn holder(&self, offset: u64, ahead: u64, me: usize) -> Option<usize> {
        let others = (0..self.0.len()).filter(|&other| other != me);
        let near = others.filter_map(|other| {
            let share = self.share(other);
            let claim = share.claim.as_ref()?;
            let is_near = claim.range().end > offset && claim.position() <= offset + ahead;
            is_near.then(|| (claim.position(), other))
        });
        near.min().map(|(_, holder)| holder)
    }

    /// Sets free what the slowest connection has claimed, if `me` would bring that much sooner. Returns where it begins.
    pub(super) fn take_over_slowest(&self, me: usize) -> Option<u64> {
        let mine = self.share(me).rate?;
        let others = (0..self.0.len()).filter(|&other| other != me);
        let slow = others.filter_map(|other| {
            let share = self.share(other);
            let remaining = share.claim.as_ref()?.remaining() as f64;
            let won = remaining / share.rate_now()?.max(1.0) - remaining / mine.max(1.0);
            (share.pace_beside(Some(mine)) == Pace::Slow && won > MIN_SECONDS_WON).then_some((won, other))
        });
        let (_, slowest) = slow.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        let mut share = self.share(slowest);
        let begins = share.claim.as_ref()?.position();
        share.end();
        Some(begins)
    }
}

impl Share {
    /// Bytes a second: of the claim at hand, if that says something, or else of those before.
    fn rate_now(&self) -> Option<f64> {
        match (&self.claim, self.began) {
            (Some(claim), Some((began, from))) if began.elapsed() >= MIN_JUDGED => {
                Some((claim.position() - from) as f64 / began.elapsed().as_secs_f64())
            }
            _ => self.rate,
        }
    }

    fn pace_beside(&self, rate: Option<f64>) -> Pace {
        match (self.rate_now(), rate) {
            (Some(ours), Some(rate)) if ours * SLOW < rate => Pace::Slow,
            (Some(_), Some(_)) => Pace::Fine,
            _ => Pace::Unknown,
        }
    }

    fn end(&mut self) {
        if let (Some(claim), Some((began, from))) = (self.claim.take(), self.began.take()) {
            let seconds = began.elapsed().as_secs_f64().max(1e-3);
            self.rate = Some((claim.position() - from) as f64 / seconds);
        }
    }
}
