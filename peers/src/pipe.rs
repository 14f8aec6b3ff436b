//! What moves bytes from a sender to receivers: ours and the rivals, behind one interface that the compiler sees
//! through.

pub mod array_queue;
pub mod disruptor;
pub mod locked;
pub mod memcpy;
pub mod ours;
pub mod paced;
pub mod photon_ring;
pub mod ringbuf;
pub mod rtrb;
pub mod stream_download;

/// How many bytes everybody's buffer holds: few enough for the caches next to a core. Every size of piece divides it, so
/// that no piece ever goes in by halves.
pub const CAPACITY: usize = 1 << 18;

/// From a small packet to a large read of a file, in bytes.
pub const SIZES: [usize; 4] = [64, 512, 4 << 10, 64 << 10];

/// Calls a function with each of the [`SIZES`] as its constant: queues of values have them in their types.
macro_rules! at_each_size {
    ($work:ident($($argument:expr),*)) => {{
        use $crate::pipe::SIZES;
        $work::<{ SIZES[0] }>($($argument),*);
        $work::<{ SIZES[1] }>($($argument),*);
        $work::<{ SIZES[2] }>($($argument),*);
        $work::<{ SIZES[3] }>($($argument),*);
    }};
}
pub(crate) use at_each_size;

/// Sends whole pieces.
pub trait Sender {
    /// Copies a piece in, or says that there is no room.
    fn send(&mut self, piece: &[u8]) -> bool;
}

/// Receives whole pieces.
pub trait Receiver {
    /// Copies a piece out, or says that there is none.
    fn receive(&mut self, piece: &mut [u8]) -> bool;

    /// Copies pieces out one after the other, `most` of them at most, shows each of them, and returns how many there
    /// were. Whoever lends what is there in place gives it back when all of that is copied.
    #[inline]
    fn receive_all(&mut self, piece: &mut [u8], _most: u64, mut show: impl FnMut(&mut [u8])) -> u64 {
        if !self.receive(piece) {
            return 0;
        }
        show(piece);
        1
    }
}

/// Something that moves bytes from one to another.
pub trait Pipe {
    type Sender: Sender;
    type Receiver: Receiver;

    fn open(&self) -> (Self::Sender, Self::Receiver);
}

/// Something that moves bytes from one to many, each of whom receives all of them.
pub trait Broadcast {
    type Sender: Sender;
    type Receiver: Receiver;

    fn open_for(&self, receivers: usize) -> (Self::Sender, Vec<Self::Receiver>);
}

/// One is many enough.
impl<B: Broadcast> Pipe for B {
    type Sender = B::Sender;
    type Receiver = B::Receiver;

    fn open(&self) -> (Self::Sender, Self::Receiver) {
        let (sender, mut receivers) = self.open_for(1);
        (sender, receivers.remove(0))
    }
}

/// [`Receiver::receive_all`] for those whose memory is lent in two parts.
#[inline]
fn copy_all((first, second): (&[u8], &[u8]), piece: &mut [u8], most: u64, mut show: impl FnMut(&mut [u8])) -> u64 {
    let pieces = first.chunks_exact(piece.len()).chain(second.chunks_exact(piece.len()));
    let mut copied = 0;
    for there in pieces.take(most as usize) {
        piece.copy_from_slice(there);
        show(piece);
        copied += 1;
    }
    copied
}

/// How a size is written in the tables.
pub fn size_name(bytes: usize) -> String {
    if bytes < 1 << 10 { format!("{bytes} B") } else { format!("{} KiB", bytes >> 10) }
}

/// A piece as the value that a queue of values holds, on cache lines of its own: copies of values that lie anywhere are
/// several times slower.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Block<const N: usize>([u8; N]);

impl<const N: usize> Block<N> {
    const EMPTY: Self = Self([0; N]);

    #[inline]
    fn of(piece: &[u8]) -> Self {
        const { assert!(N.is_multiple_of(align_of::<Self>()), "its bytes are all of a block") };
        Self(*Self::bytes(piece))
    }

    #[inline]
    fn bytes(piece: &[u8]) -> &[u8; N] {
        piece.try_into().expect("a queue of values is opened for one size")
    }
}
