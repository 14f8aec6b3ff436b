//! Which branches were reached, counted without allocating.

use roundelay::{ReadError, pcm::Fill};
use std::panic::Location;

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Fill,
    FillPlanar,
    TapLatest,
    PcmTryWrite,
    CursorError,
    CursorSkipToOldest,
    CursorSkipToLive,
    TryReadAt,
    ValidWindow,
    GateSlices,
    GateTryRead,
    TryWriteAt,
    LiveFill,
    LiveTap,
    LiveCapture,
    LiveCursorError,
    LiveCursorSkipToOldest,
    LiveCursorSkipToLive,
    LiveGate,
    LiveJump,
    StoreRead,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// All that was asked for.
    Whole,
    /// Less than that.
    Part,
    /// Nothing, and no reason why: an empty buffer, no room, nothing heard yet.
    Nothing,
    NotYet,
    Evicted,
    /// Lapped, and gone on elsewhere.
    Skipped,
    Ended,
    Failed,
    Cancelled,
    Committed,
    SeekPending,
    /// The first frames of an epoch.
    NewEpoch,
    Stale,
    PartialFrame,
    /// Two slices.
    Wrapped,
    Discontinuity,
    /// Written before: the bytes stay as they are.
    Resent,
    Overlapping,
}

const CALLS: usize = Call::StoreRead as usize + 1;
const BRANCHES: usize = Branch::Overlapping as usize + 1;

#[derive(Clone, Copy)]
pub struct Tally {
    reached: [[u64; BRANCHES]; CALLS],
    /// Where bytes or frames were first found not to be those of their place, or an answer to make no sense.
    pub wrong: Option<&'static Location<'static>>,
}

impl Tally {
    pub fn new() -> Self {
        Self { reached: [[0; BRANCHES]; CALLS], wrong: None }
    }

    pub fn add(&mut self, call: Call, branch: Branch) {
        self.reached[call as usize][branch as usize] += 1;
    }

    /// Noted, not asserted: a panic allocates, and would not come to say what was wrong.
    #[track_caller]
    pub fn check(&mut self, right: bool) {
        if !right && self.wrong.is_none() {
            self.wrong = Some(Location::caller());
        }
    }

    pub fn read(&mut self, call: Call, result: Result<usize, ReadError>, wanted: usize) {
        let branch = match result {
            Ok(n) if n == wanted => Branch::Whole,
            Ok(0) => Branch::Ended,
            Ok(_) => Branch::Part,
            Err(error) => error.into(),
        };
        self.add(call, branch);
    }

    pub fn fill(&mut self, call: Call, fill: Fill) {
        if fill.frames > 0 && fill.missing > 0 {
            self.add(call, Branch::Part);
        }
        self.add(
            call,
            match fill.cause {
                None => Branch::Whole,
                Some(_) if fill.seeking => Branch::SeekPending,
                Some(error) => error.into(),
            },
        );
    }

    pub fn reached(&self, call: Call, branch: Branch) -> u64 {
        self.reached[call as usize][branch as usize]
    }
}

impl From<ReadError> for Branch {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotYet => Self::NotYet,
            ReadError::Evicted { .. } => Self::Evicted,
            ReadError::Ended => Self::Ended,
            ReadError::Failed => Self::Failed,
            ReadError::Cancelled => Self::Cancelled,
            _ => Self::Nothing,
        }
    }
}
