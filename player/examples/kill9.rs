//! Kills downloads, again and again, and looks at what is left.
//!
//! ```text
//! cargo run --release -p roundelay-player --example kill9 -- 200
//! ```
//!
//! A file is fetched over four connections from a slow server that cuts them at random. The process is killed with
//! SIGKILL at a random moment. What it leaves is opened with the library: every byte that counts as there has to be the
//! right one. Then the same command goes on: it may not ask for a single byte of those. So on, until so many kills have
//! hit; every file has to be complete and right in the end. The bytes that were fetched twice are those that had come
//! but were not yet safe.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use roundelay::MmapOptions;
use roundelay_player::get::{self, GetOptions, Stopper};

const CONNECTIONS: u8 = 4;

/// Often enough that most kills find something to go on with.
const FLUSH_EVERY_BYTES: u64 = 64 << 10;

/// A download that does nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills downloads, again and again, and looks at what is left.
#[derive(Debug, Parser)]
struct Cli {
    /// How many kills have to hit
    #[arg(default_value_t = 200)]
    kills: u32,

    /// Picks the moments; another one each time by default
    #[arg(long)]
    seed: Option<u64>,

    /// How large the files are, in MiB
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    mib: u64,

    /// Be the one that is killed: fetch this address to the file named next
    #[arg(long, num_args = 2, value_names = ["URL", "FILE"], hide = true)]
    fetch: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.fetch.as_deref() {
        Some([url, file]) => fetch(url, file),
        _ => hunt(&cli),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kill9: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the victim does: `roundelay get`.
fn fetch(url: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let options = GetOptions {
        url: url.to_owned(),
        file: file.into(),
        connections: CONNECTIONS,
        force: false,
        tries: 8,
        patience: Duration::from_secs(20),
        flush_every_bytes: FLUSH_EVERY_BYTES,
    };
    get::run(&options, &Stopper::default())?;
    Ok(())
}

/// What it came to.
#[derive(Default)]
struct Tally {
    kills: u32,
    resumes: u32,
    files: u32,
    /// The lengths of the files, added up.
    size: u64,
}

fn hunt(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let seed = cli.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("seed {seed}, {} kills, files of {} MiB", cli.kills, cli.mib);
    let mut dice = Dice::new(seed);
    let folder = Folder::new()?;
    let server = Server::start()?;
    let mut tally = Tally::default();
    while tally.kills < cli.kills {
        let path = folder.0.join(format!("file-{}", tally.files));
        fetch_one(cli.kills, &mut tally, &server, &mut dice, &path, cli.mib << 20)?;
        fs::remove_file(&path)?;
        println!("{} kills, {} resumes, {} files", tally.kills, tally.resumes, tally.files);
    }
    let (served, violations) = {
        let state = server.state();
        state.violations.iter().for_each(|violation| eprintln!("violation: {violation}"));
        (state.served, state.violations.len())
    };
    let again = served.saturating_sub(tally.size);
    println!(
        "{} kills, {} resumes, {} files of {} MiB, {again} bytes fetched again ({:.1} %), {violations} violations",
        tally.kills,
        tally.resumes,
        tally.files,
        cli.mib,
        100.0 * again as f64 / tally.size as f64,
    );
    if violations == 0 { Ok(()) } else { Err("something was lost, or is not what was written".into()) }
}

/// Fetches one file, with kills on the way until there were enough.
fn fetch_one(
    kills: u32,
    tally: &mut Tally,
    server: &Server,
    dice: &mut Dice,
    path: &Path,
    len: u64,
) -> Result<(), Box<dyn Error>> {
    let url = server.offer(dice.next(), len);
    loop {
        let mut victim = Command::new(std::env::current_exe()?)
            .args(["--fetch", &url])
            .arg(path)
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .stderr(Stdio::piped())
            .spawn()?;
        let moment = (tally.kills < kills).then(|| Duration::from_micros(dice.next() % 300_000));
        if !ended_before(&mut victim, moment.unwrap_or(PATIENCE))? {
            if moment.is_none() {
                server.violation("a download hangs");
            }
            tally.kills += 1;
            victim.kill()?;
        }
        let ended = victim.wait_with_output()?;
        if ended.status.success() {
            break;
        }
        if ended.status.code().is_some() {
            // It was not the kill that ended it.
            server.violation(String::from_utf8_lossy(&ended.stderr));
            return Err("a download failed by itself".into());
        }
        let here = look_at(path, &url, server)?;
        tally.resumes += u32::from(here > 0);
    }
    if fs::read(path)? != *server.state().file {
        server.violation(format_args!("{} is not what was sent", path.display()));
    }
    tally.files += 1;
    tally.size += len;
    Ok(())
}

fn ended_before(child: &mut Child, time: Duration) -> io::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < time {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_micros(500).min(time));
    }
    Ok(false)
}

/// Looks at a leftover as the library sees it. Returns how many bytes are there.
fn look_at(path: &Path, url: &str, server: &Server) -> Result<u64, Box<dyn Error>> {
    if path.exists() {
        // Killed between the file's renaming and the end of the process: there is nothing left to fetch.
        return Ok(0);
    }
    let len = server.state().file.len() as u64;
    let tag = get::version_tag(url, Server::ETAG).ok_or("the address is too long")?;
    let options = MmapOptions { len: Some(len), tag, ..MmapOptions::new(path) };
    let resource = get::open_patiently(&options)?;
    let reader = resource.reader();
    let kept: Vec<Range<u64>> = reader.available().iter().cloned().collect();
    for range in &kept {
        let mut here = vec![0; usize::try_from(range.end - range.start)?];
        let mut read = 0;
        while read < here.len() {
            read += reader.read_at(range.start + read as u64, &mut here[read..])?;
        }
        let truth = server.state().file.clone();
        if here != truth[range.start as usize..range.end as usize] {
            server.violation(format_args!("bytes that nobody sent count as there, in {range:?}"));
        }
    }
    let mut state = server.state();
    for before in std::mem::take(&mut state.kept) {
        if !kept.iter().any(|now| now.start <= before.start && before.end <= now.end) {
            state.violations.push(format!("{before:?} was there before, and is not any more"));
        }
    }
    state.kept = kept;
    Ok(state.kept.iter().map(|range| range.end - range.start).sum())
}

/// A folder that goes when it is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("roundelay-kill9-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that depend on the seed alone.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A server for one file at a time, slow and unreliable.
struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    file: Arc<Vec<u8>>,
    /// What the client has: it may not ask for that.
    kept: Vec<Range<u64>>,
    /// Bytes of bodies that were sent.
    served: u64,
    connections: u64,
    violations: Vec<String>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    const ETAG: &str = "\"kill9\"";

    fn start() -> io::Result<Self> {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let accepting = state.clone();
        thread::Builder::new().name("server".into()).spawn(move || {
            for client in socket.incoming().flatten() {
                let state = accepting.clone();
                // It ends with the client, whom nobody asks how that was.
                thread::spawn(move || serve(client, &state));
            }
        })?;
        Ok(Self { address, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn violation(&self, what: impl Display) {
        self.state().violations.push(what.to_string());
    }

    /// Replaces the file.
    fn offer(&self, seed: u64, len: u64) -> String {
        let mut dice = Dice::new(seed);
        let file = (0..len / 8).flat_map(|_| dice.next().to_le_bytes()).collect();
        let mut state = self.state();
        state.file = Arc::new(file);
        state.kept.clear();
        format!("http://{}/{seed}", self.address)
    }
}

/// Answers the questions of one connection, until it is cut.
fn serve(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut dice = {
        let mut state = lock(state);
        state.connections += 1;
        Dice::new(state.connections)
    };
    while let Some(head) = read_head(&mut client)? {
        let file = lock(state).file.clone();
        let len = file.len() as u64;
        let is_get = head.starts_with("get ");
        let range = range_of(&head, len);
        let part = range.clone().unwrap_or(0..len);
        // A question for the first byte alone asks what there is.
        if is_get && part != (0..1) {
            let mut state = lock(state);
            let again = state.kept.iter().find(|kept| kept.start < part.end && part.start < kept.end).cloned();
            if let Some(again) = again {
                state.violations.push(format!("asked for {part:?}, and {again:?} was there"));
            }
        }
        let status = match range {
            Some(Range { start, end }) => {
                format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{len}", end - 1)
            }
            None => "200 OK".to_owned(),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {}\r\nAccept-Ranges: bytes\r\n\r\n",
            part.end - part.start,
            Server::ETAG
        );
        client.write_all(head.as_bytes())?;
        if is_get {
            // Every third answer breaks off.
            let most = if dice.next().is_multiple_of(3) { dice.next() % (1 << 20) } else { u64::MAX };
            let mut sent = 0;
            for piece in file[part.start as usize..part.end as usize].chunks(16 << 10) {
                client.write_all(piece)?;
                sent += piece.len() as u64;
                lock(state).served += piece.len() as u64;
                if sent > most {
                    return Ok(());
                }
                // Some 10 MiB a second.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}

/// In lower case; `None` if there is no further question.
fn read_head(client: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).to_lowercase()))
}

fn range_of(head: &str, len: u64) -> Option<Range<u64>> {
    let (first, last) = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?.split_once('-')?;
    let start = first.parse::<u64>().ok()?.min(len - 1);
    let end = last.parse::<u64>().map_or(len, |last| (last + 1).min(len));
    Some(start..end.max(start + 1))
}
