//! A source that goes one way only, of which the first bytes were looked at, and WAV as Symphonia knows it.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::io::MediaSource;

use super::stream::READ_AHEAD_BYTES;
use crate::wave::{Step, WaveHead, WaveScanner};

/// Bytes that were read already, and those of a source behind them.
pub(super) struct OneWay<S> {
    front: Vec<u8>,
    taken: usize,
    source: BufReader<S>,
    /// How many bytes of the source follow, at most.
    left: u64,
}

impl<S: Read> OneWay<S> {
    /// Of all of a source.
    pub(super) fn new(source: S) -> Self {
        let source = BufReader::with_capacity(READ_AHEAD_BYTES as usize, source);
        Self { front: Vec::new(), taken: 0, source, left: u64::MAX }
    }

    /// The first bytes: so many, or as many as there are.
    pub(super) fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let missing = bytes.saturating_sub(self.front.len() - self.taken);
        (&mut self.source).take(missing as u64).read_to_end(&mut self.front)?;
        let front = &self.front[self.taken..];
        Ok(&front[..bytes.min(front.len())])
    }

    /// Reads what stands before the samples of WAV, and puts the same in plain in its place. `len` is the length of the
    /// source, if it is known.
    pub(super) fn plain_wave(mut self, len: Option<u64>) -> Result<(WaveHead, Self), SymphoniaError> {
        let mut scanner = WaveScanner::default();
        let mut held = Vec::new();
        let mut head = loop {
            match scanner.next(&held) {
                Step::Hold(bytes) => {
                    held.resize(bytes, 0);
                    self.read_exact(&mut held)?;
                }
                Step::Skip(bytes) => {
                    held.clear();
                    if io::copy(&mut (&mut self).take(bytes), &mut io::sink())? < bytes {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                }
                Step::Done(head) => break head,
                Step::Broken(why) => return Err(SymphoniaError::DecodeError(why)),
            }
        };
        let most = len.map(|len| len.saturating_sub(head.len));
        // What is said to be longer than the file goes to its end.
        head.data_len = head.data_len.into_iter().chain(most).min();
        // What was looked at, and stands behind the head, is still in front.
        let mut front = if head.is_mpeg() { Vec::new() } else { head.bytes() };
        let looked_at = &self.front[self.taken..];
        let looked_at =
            &looked_at[..looked_at.len().min(usize::try_from(head.data_len.unwrap_or(u64::MAX)).unwrap_or(usize::MAX))];
        front.extend_from_slice(looked_at);
        let left = head.data_len.map_or(u64::MAX, |len| len - looked_at.len() as u64);
        Ok((head, Self { front, taken: 0, source: self.source, left }))
    }
}

impl<S: Read> Read for OneWay<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let front = &self.front[self.taken..];
        if !front.is_empty() {
            let length = front.len().min(buf.len());
            buf[..length].copy_from_slice(&front[..length]);
            self.taken += length;
            return Ok(length);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let length = self.source.read(&mut buf[..most])?;
        self.left -= length as u64;
        Ok(length)
    }
}

impl<S: Read> Seek for OneWay<S> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a stream goes only one way"))
    }
}

impl<S: Read + Send + Sync> MediaSource for OneWay<S> {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
