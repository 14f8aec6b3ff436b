//! A radio station on loopback: endless generated music, encoded to FLAC as it is made, sent over HTTP in real time
//! with the song titles mixed in. To a player it is a station like any other.
//!
//! ```text
//!  music ─► flac ─► ring ─┬─► listener ─► socket
//!                         ├─► listener ─► socket
//!                         └─► …
//! ```

mod broadcast;
pub mod flac;
mod http;
pub mod music;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use roundelay::{CancelToken, StorageError};
use thiserror::Error;

use crate::icy::IcyMux;
use broadcast::{Broadcast, Listener};
use http::{Request, RequestError};

/// What the station calls itself.
pub const NAME: &str = "Roundelay FM";

/// Where the music is.
const PATH: &str = "/live.flac";

/// Audio between two blocks of metadata; the figure that Icecast uses.
const METADATA_INTERVAL: NonZeroUsize = NonZeroUsize::new(16_000).unwrap();

/// Why a station could not open, or went off air.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StationError {
    /// No socket on loopback.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(#[source] io::Error),
    /// No thread.
    #[error("cannot start a thread for the station: {0}")]
    Thread(#[source] io::Error),
    /// The encoder.
    #[error(transparent)]
    Encode(#[from] flac::EncodeError),
    /// The ring.
    #[error("the station's ring failed: {0}")]
    Storage(#[from] StorageError),
}

/// A station on air. Dropping it takes it off air and hangs up on its listeners.
#[derive(Debug)]
pub struct Station {
    address: SocketAddr,
    cancel: CancelToken,
    threads: Vec<JoinHandle<()>>,
}

impl Station {
    /// Goes on air on a free port of 127.0.0.1. The same `seed` plays the same programme.
    ///
    /// # Errors
    /// If there is no port, no thread, or no memory.
    pub fn go_on_air(seed: u64) -> Result<Self, StationError> {
        let cancel = CancelToken::new();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StationError::Listen)?;
        let address = socket.local_addr().map_err(StationError::Listen)?;
        let (broadcast, programme) = Broadcast::open(cancel.clone(), seed)?;
        let mut station = Self { address, cancel, threads: Vec::new() };
        station.spawn("station-programme", move || programme.run())?;
        let cancel = station.cancel.clone();
        station.spawn("station-reception", move || receive_clients(&socket, &broadcast, &cancel))?;
        Ok(station)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StationError> {
        let thread = thread::Builder::new().name(name.into()).spawn(run).map_err(StationError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Where to listen to it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.cancel.cancel();
        // The reception waits in `accept`; one more client wakes it. If that fails, there is nobody to wake.
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// Accepts clients until the station closes. Each gets a thread, which ends when either side hangs up.
fn receive_clients(socket: &TcpListener, broadcast: &Broadcast, cancel: &CancelToken) {
    for client in socket.incoming() {
        if cancel.is_cancelled() {
            return;
        }
        let Ok(client) = client else {
            // Out of file descriptors, perhaps. It may pass, but not within a microsecond.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let broadcast = broadcast.clone();
        // Without a thread, or once it hung up, a client is no concern of the station's.
        let _ = thread::Builder::new().name("station-listener".into()).spawn(move || serve(client, &broadcast));
    }
}

fn serve(mut client: TcpStream, broadcast: &Broadcast) -> io::Result<()> {
    match http::read_request(&mut client) {
        Ok(request) if request.path == PATH => stream(&mut client, &request, broadcast.join()),
        Ok(_) => http::send_error(&mut client, "404 Not Found", &format!("the music is at {PATH}")),
        Err(RequestError::Io(error)) => Err(error),
        Err(error @ RequestError::NotGet) => {
            http::send_error(&mut client, "405 Method Not Allowed", &error.to_string())
        }
        Err(error) => http::send_error(&mut client, "400 Bad Request", &error.to_string()),
    }
}

/// Sends the broadcast until somebody hangs up.
fn stream(client: &mut TcpStream, request: &Request, mut listener: Listener) -> io::Result<()> {
    let interval = METADATA_INTERVAL.to_string();
    let mut headers = vec![("Content-Type", "audio/flac"), ("icy-name", NAME)];
    if request.wants_titles {
        headers.push(("icy-metaint", &interval));
    }
    http::send_head(client, &headers)?;
    let mut mux = request.wants_titles.then(|| IcyMux::new(METADATA_INTERVAL));
    let mut send = |audio: &[u8], title: Option<&str>, body: &mut Vec<u8>| {
        body.clear();
        match &mut mux {
            Some(mux) => mux.push(audio, title, body),
            None => body.extend_from_slice(audio),
        }
        client.write_all(body)
    };
    let (mut audio, mut body) = (vec![0; 8 << 10], Vec::new());
    send(&listener.header(), None, &mut body)?;
    loop {
        let (length, title) = listener.read(&mut audio)?;
        if length == 0 {
            return Ok(());
        }
        send(&audio[..length], title.as_deref(), &mut body)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    fn get(station: &Station, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(station.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        client
    }

    #[test]
    fn listeners_get_a_burst_and_then_real_time_side_by_side() {
        let station = Station::go_on_air(1).unwrap();
        let mut clients = [get(&station, PATH), get(&station, PATH), get(&station, PATH)];
        let began = Instant::now();
        for client in &mut clients {
            // Two seconds are some 170 KB, and come at once; half a second more takes that long.
            let mut body = vec![0; 120_000];
            client.read_exact(&mut body).unwrap();
            assert!(body.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(body.windows(4).any(|bytes| bytes == b"fLaC"));
        }
        clients[0].read_exact(&mut vec![0; 120_000]).unwrap();
        assert!(began.elapsed() > Duration::from_millis(200), "faster than real time: {:?}", began.elapsed());
    }

    #[test]
    fn what_is_no_stream_is_answered_with_an_error() {
        let station = Station::go_on_air(1).unwrap();
        let mut answer = String::new();
        get(&station, "/nothing").read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains(PATH), "{answer}");
    }

    #[test]
    fn closing_hangs_up_on_listeners_at_once() {
        let station = Station::go_on_air(1).unwrap();
        let mut client = get(&station, PATH);
        client.read_exact(&mut [0; 1000]).unwrap();
        let began = Instant::now();
        drop(station);
        client.read_to_end(&mut Vec::new()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
