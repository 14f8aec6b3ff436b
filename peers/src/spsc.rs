//! One sender, one receiver, on one thread and on two.

use crate::{
    one_thread,
    pipe::{
        Pipe, array_queue, at_each_size, disruptor, locked,
        ours::{Followers, Gates, InPlace, PUBLICATIONS},
        paced::Paced,
        photon_ring, ringbuf, rtrb, size_name, stream_download,
    },
    race::{
        Contender,
        Promise::{self, InPlace as ReadInPlace, Lossless, Lossy},
        Races,
    },
    two_threads,
};

/// Who runs a pipe: one thread or two.
trait Course {
    fn contender<P>(&self, promises: &'static [Promise], name: String, pipe: P, size: usize) -> Contender<'static>
    where
        P: Pipe<Sender: Send, Receiver: Send> + 'static;
}

struct Alone;

impl Course for Alone {
    fn contender<P>(&self, promises: &'static [Promise], name: String, pipe: P, size: usize) -> Contender<'static>
    where
        P: Pipe<Sender: Send, Receiver: Send> + 'static,
    {
        one_thread::contender(promises, name, pipe, size)
    }
}

struct Together;

impl Course for Together {
    fn contender<P>(&self, promises: &'static [Promise], name: String, pipe: P, size: usize) -> Contender<'static>
    where
        P: Pipe<Sender: Send, Receiver: Send> + 'static,
    {
        two_threads::contender(promises, name, pipe, size)
    }
}

/// Those who lose nothing, on any course.
fn lossless<const N: usize>(course: &impl Course) -> (Vec<Contender<'static>>, Vec<Contender<'static>>) {
    let mut ours = Vec::new();
    for (how, publication) in PUBLICATIONS {
        ours.push(course.contender(&[Lossless], format!("gate, {how}"), Gates(publication), N));
    }
    for (how, publication) in PUBLICATIONS {
        ours.push(course.contender(&[ReadInPlace], format!("gate in place, {how}"), InPlace(publication), N));
    }
    let rivals = vec![
        course.contender(&[Lossless], "rtrb, slices".into(), rtrb::Slices, N),
        course.contender(&[Lossless, ReadInPlace], "rtrb, chunks".into(), rtrb::Chunks, N),
        course.contender(&[Lossless], "ringbuf".into(), ringbuf::Shared, N),
        course.contender(&[Lossless], "ArrayQueue".into(), array_queue::Blocks::<N>, N),
        course.contender(&[Lossless], "photon-ring, bounded".into(), photon_ring::Bounded::<N>, N),
        course.contender(&[Lossless, ReadInPlace], "disruptor".into(), disruptor::One::<N>, N),
        course.contender(&[Lossless], "stream-download, bounded".into(), stream_download::Bounded, N),
        course.contender(&[Lossless], "Mutex<VecDeque>".into(), locked::Locked, N),
    ];
    (ours, rivals)
}

const OVERTAKES: &str = "photon-ring, lossy";

pub fn one_thread(races: &mut Races) {
    at_each_size!(one_thread_of(races));
    keeps_everything(races);
}

fn one_thread_of<const N: usize>(races: &mut Races) {
    let (mut ours, mut rivals) = lossless::<N>(&Alone);
    for (how, publication) in PUBLICATIONS {
        ours.push(Alone.contender(&[Lossy], format!("follower, {how}"), Followers(publication), N));
    }
    rivals.push(one_thread::contender(&[Lossless], "ringbuf, LocalRb".into(), ringbuf::Local, N));
    rivals.push(Alone.contender(&[Lossy], OVERTAKES.into(), photon_ring::Lossy::<N>, N));
    rivals.push(one_thread::limit(N, 1));
    races.run("one thread", &size_name(N), ours, rivals);
}

pub fn two_threads(races: &mut Races) {
    at_each_size!(two_threads_of(races));
    keeps_everything(races);
    races.cannot(&["memcpy"], "tells nobody that there is something to copy");
}

fn two_threads_of<const N: usize>(races: &mut Races) {
    let (mut ours, mut rivals) = lossless::<N>(&Together);
    for (how, publication) in PUBLICATIONS {
        ours.push(Together.contender(&[Lossy], format!("follower, {how}"), Paced(Followers(publication)), N));
    }
    rivals.push(Together.contender(&[Lossy], OVERTAKES.into(), Paced(photon_ring::Lossy::<N>), N));
    races.run("two threads", &size_name(N), ours, rivals);
}

fn keeps_everything(races: &mut Races) {
    races.cannot(&["kithara-storage"], "keeps all that is written: nothing goes round");
}
