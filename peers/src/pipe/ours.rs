//! `roundelay`'s ring, behind a gate and behind a follower.

use super::{Broadcast, CAPACITY, Receiver, Sender, copy_all};
use roundelay::{CancelToken, Cursor, Gate, OnLap, Publication, Resource, RingDriver, RingOptions, Writer};

/// Both ways to publish, and what the tables call them.
pub const PUBLICATIONS: [(&str, Publication); 2] = [("silent", Publication::SILENT), ("notify", Publication::Notify)];

/// A ring whose memory is there, and not only promised.
pub fn ring() -> (Resource<RingDriver>, Writer<RingDriver>) {
    let options = RingOptions { prefault: true, ..RingOptions::new(CAPACITY) };
    let ring = Resource::open(CancelToken::new(), options).expect("a megabyte of memory");
    let writer = ring.writer().expect("the first writer");
    (ring, writer)
}

impl Sender for Writer<RingDriver> {
    #[inline]
    fn send(&mut self, piece: &[u8]) -> bool {
        self.try_append(piece).is_ok_and(|n| n == piece.len())
    }
}

/// A writer that gates hold back: nothing is lost.
pub struct Gates(pub Publication);

impl Broadcast for Gates {
    type Sender = Writer<RingDriver>;
    type Receiver = Gate;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (_, mut writer) = ring();
        writer.set_publication(self.0);
        let gates = (0..receivers)
            .map(|_| {
                let mut gate = writer.gate();
                gate.set_publication(self.0);
                gate
            })
            .collect();
        (writer, gates)
    }
}

impl Receiver for Gate {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.try_read(piece).is_ok_and(|n| n == piece.len())
    }
}

/// The same, read in place and copied from there.
pub struct InPlace(pub Publication);

pub struct SlicesOf(Gate);

impl Broadcast for InPlace {
    type Sender = Writer<RingDriver>;
    type Receiver = SlicesOf;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (writer, gates) = Gates(self.0).open_for(receivers);
        (writer, gates.into_iter().map(SlicesOf).collect())
    }
}

impl Receiver for SlicesOf {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.receive_all(piece, 1, |_| ()) == 1
    }

    #[inline]
    fn receive_all(&mut self, piece: &mut [u8], most: u64, show: impl FnMut(&mut [u8])) -> u64 {
        let Ok(slices) = self.0.slices() else { return 0 };
        let copied = copy_all(slices.as_slices(), piece, most, show);
        slices.consume(copied as usize * piece.len());
        copied
    }
}

/// Followers, which the writer may overtake. Nothing holds the writer, which suits one thread that reads what it has
/// just written.
pub struct Followers(pub Publication);

impl Broadcast for Followers {
    type Sender = Writer<RingDriver>;
    type Receiver = Cursor<RingDriver>;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>) {
        let (ring, mut writer) = ring();
        writer.set_publication(self.0);
        (writer, (0..receivers).map(|_| ring.cursor(OnLap::Error)).collect())
    }
}

impl Receiver for Cursor<RingDriver> {
    #[inline]
    fn receive(&mut self, piece: &mut [u8]) -> bool {
        self.try_read(piece).is_ok_and(|n| n == piece.len())
    }
}
