//! WAV and its relatives, as Symphonia knows them.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::io::MediaSource;

use super::stream::READ_AHEAD_BYTES;
use crate::wave::{Step, WaveHead, WaveScanner};

/// A plain header in place of what stands before the samples, and then these. It goes one way only.
pub(super) struct PlainWave<S> {
    front: io::Cursor<Vec<u8>>,
    samples: io::Take<BufReader<S>>,
}

impl<S: Read> PlainWave<S> {
    /// Reads what stands before the samples. `len` is the length of the source, if it is known. In front of MPEG audio,
    /// each frame of which says what it is, there will be nothing.
    pub(super) fn open(source: S, len: Option<u64>) -> Result<(WaveHead, Self), SymphoniaError> {
        let mut source = BufReader::with_capacity(READ_AHEAD_BYTES as usize, source);
        let mut scanner = WaveScanner::default();
        let mut held = Vec::new();
        let mut head = loop {
            match scanner.next(&held) {
                Step::Hold(bytes) => {
                    held.resize(bytes, 0);
                    source.read_exact(&mut held)?;
                }
                Step::Skip(bytes) => {
                    held.clear();
                    if io::copy(&mut (&mut source).take(bytes), &mut io::sink())? < bytes {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                }
                Step::Done(head) => break head,
                Step::Broken(why) => return Err(SymphoniaError::DecodeError(why)),
            }
        };
        // What is said to be longer than the file goes to its end.
        let left = len.map(|len| len.saturating_sub(head.len));
        head.data_len = head.data_len.into_iter().chain(left).min();
        let front = io::Cursor::new(if head.is_mpeg() { Vec::new() } else { head.bytes() });
        let samples = source.take(head.data_len.unwrap_or(u64::MAX));
        Ok((head, Self { front, samples }))
    }
}

impl<S: Read> Read for PlainWave<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.front.read(buf)? {
            0 => self.samples.read(buf),
            length => Ok(length),
        }
    }
}

impl<S: Read> Seek for PlainWave<S> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a stream goes only one way"))
    }
}

impl<S: Read + Send + Sync> MediaSource for PlainWave<S> {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
