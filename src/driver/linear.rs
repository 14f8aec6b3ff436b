//! What the drivers that keep everything have in common.

use super::part::Leftover;
use crate::{
    MAX_OFFSET, StorageError, StorageResult,
    store::{Store, Strays},
};
use std::{ops::Range, sync::Arc};

/// A driver whose bytes lie in a [`Store`]: readers go to the store itself, and the driver only sees to its growth.
pub trait Linear: Send + Sync {
    /// The generation that is being written, or was last; and its length, once it is committed.
    fn store(&self) -> (Arc<Store>, Option<u64>);

    /// Makes room for `range`, and maps it.
    ///
    /// # Errors
    /// Why there is none. Nothing is changed then.
    fn reserve(&self, range: &Range<u64>) -> StorageResult<()>;

    /// The most bytes that a generation may hold.
    fn limit(&self) -> u64 {
        MAX_OFFSET
    }

    /// Makes durable what was written so far, if there is enough of it for that to be worth while.
    ///
    /// # Errors
    /// What the medium says.
    fn flush_if_due(&self) -> StorageResult<()> {
        Ok(())
    }

    /// What was found in place of an unfinished file.
    fn leftover(&self) -> Leftover {
        Leftover::None
    }
}

/// Writes what of `data` was not written yet in this generation, and tells `wrote` of each piece after it is published.
///
/// # Errors
/// Those of `reserve`; what `wrote` was told of is written.
#[inline]
pub fn write_missing(
    store: &Store,
    offset: u64,
    data: &[u8],
    mut reserve: impl FnMut(&Range<u64>) -> StorageResult<()>,
    mut wrote: impl FnMut(Range<u64>),
) -> StorageResult<()> {
    let end = offset.checked_add(data.len() as u64).filter(|&end| end <= MAX_OFFSET);
    let end = end.ok_or(StorageError::OffsetOverflow { offset, len: data.len() as u64 })?;
    let mut rest = offset..end;
    while let Some(gap) = store.coverage().next_unwritten(&rest) {
        if gap.end > store.segments().roomy_to() {
            reserve(&gap)?;
        }
        // Both differences are at most `data.len()`.
        store.write(gap.start, &data[(gap.start - offset) as usize..(gap.end - offset) as usize]);
        rest.start = gap.end;
        wrote(gap);
    }
    Ok(())
}

/// Where a commit would end, if all is there.
///
/// # Errors
/// [`StorageError::Hole`], [`StorageError::OffsetOverflow`].
pub fn commit_end(store: &Store, final_len: Option<u64>) -> StorageResult<u64> {
    let end = final_len.unwrap_or_else(|| store.coverage().end());
    if end > MAX_OFFSET {
        return Err(StorageError::OffsetOverflow { offset: end, len: 0 });
    }
    match store.coverage().first_missing(&(0..end)) {
        Some(hole) => Err(StorageError::Hole { hole: hole.into() }),
        None => Ok(end),
    }
}

/// Reads what there is at `offset`, not beyond `effective_len`.
pub fn read_up_to(store: &Store, offset: u64, buf: &mut [u8], effective_len: u64) -> usize {
    let len = effective_len.saturating_sub(offset).min(buf.len() as u64) as usize;
    store.read(offset, &mut buf[..len], Strays::Lock)
}
