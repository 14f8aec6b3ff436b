//! Pieces that each of several receivers gets. All of them are on one thread, and take turns: few machines have a core
//! for each of nine threads that spin.

use crate::{
    one_thread::{limit, passing},
    pipe::{
        Broadcast, Pipe, Receiver, Sender, at_each_size, disruptor,
        ours::{Followers, Gates, PUBLICATIONS},
        photon_ring, size_name,
    },
    race::{
        Contender,
        Promise::{self, Lossless, Lossy},
        Races,
    },
};

const RECEIVERS: [usize; 3] = [1, 2, 8];

pub fn run(races: &mut Races) {
    for receivers in RECEIVERS {
        at_each_size!(of(races, receivers));
    }
    races.cannot(&["rtrb", "ringbuf", "ArrayQueue", "Mutex<VecDeque>"], "what one receiver takes no other gets");
    races.cannot(&["stream-download"], "one reader for each storage");
    races.cannot(&["kithara-storage"], "keeps all that is written: nothing goes round");
}

fn of<const N: usize>(races: &mut Races, receivers: usize) {
    let mut ours = Vec::new();
    for (how, publication) in PUBLICATIONS {
        ours.push(many(&[Lossless], format!("gates, {how}"), Gates(publication), receivers, N));
    }
    for (how, publication) in PUBLICATIONS {
        ours.push(many(&[Lossy], format!("followers, {how}"), Followers(publication), receivers, N));
    }
    // It has a quicker form for one receiver.
    let disruptor = if receivers == 1 {
        let (sender, receiver) = disruptor::One::<N>.open();
        contender(&[Lossless], "disruptor".into(), sender, vec![receiver], N)
    } else {
        many(&[Lossless], "disruptor".into(), disruptor::Many::<N>, receivers, N)
    };
    let rivals = vec![
        disruptor,
        many(&[Lossless], "photon-ring, bounded".into(), photon_ring::Bounded::<N>, receivers, N),
        many(&[Lossy], "photon-ring, lossy".into(), photon_ring::Lossy::<N>, receivers, N),
        limit(N, receivers),
    ];
    let work = format!("broadcast to {receivers}");
    races.run(&work, &size_name(N), ours, rivals);
}

fn many<B: Broadcast<Sender: 'static, Receiver: 'static>>(
    promises: &'static [Promise],
    name: String,
    broadcast: B,
    receivers: usize,
    size: usize,
) -> Contender<'static> {
    let (sender, receivers) = broadcast.open_for(receivers);
    contender(promises, name, sender, receivers, size)
}

fn contender(
    promises: &'static [Promise],
    name: String,
    mut sender: impl Sender + 'static,
    mut receivers: Vec<impl Receiver + 'static>,
    size: usize,
) -> Contender<'static> {
    passing(promises, name, size, receivers.len(), move |sent, received| {
        let mut each = receivers.iter_mut().zip(received.chunks_exact_mut(size));
        sender.send(sent) && each.all(|(receiver, received)| receiver.receive(received))
    })
}
