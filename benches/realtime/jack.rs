//! A JACK server with its dummy driver, on a name of its own, and a client of it that plays a session.

mod libjack;

use super::{paced::Scheduling, session::Session};
use libjack::Client;
pub use libjack::Played;
use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Why there are no figures of a JACK graph.
pub enum Unavailable {
    NotInstalled(&'static str),
    Unusable(String),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotInstalled(what) => write!(f, "{what} is not installed"),
            Self::Unusable(why) => f.write_str(why),
        }
    }
}

/// A server of our own; ends when this is dropped.
pub struct Server {
    name: String,
    child: Child,
}

impl Server {
    /// Starts one that calls once in so many frames, in real time if that is permitted.
    pub fn start(period_frames: usize) -> Result<Self, Unavailable> {
        let real_time = thread::spawn(Scheduling::request_real_time).join().expect("it asks, and no more");
        let mut server = match real_time {
            Scheduling::RealTime { .. } => Self::spawn(period_frames, &["-R", "-P", "70"]),
            Scheduling::Ordinary { .. } => Self::spawn(period_frames, &["-r"]),
        }?;
        // It says nothing when it is ready, and answers when it is asked.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Client::open(&server.name) {
                Ok(_) => return Ok(server),
                Err(Unavailable::Unusable(why)) => {
                    if server.child.try_wait().is_ok_and(|exit| exit.is_some()) {
                        return Err(Unavailable::Unusable("jackd is installed, and does not run here".to_owned()));
                    }
                    if Instant::now() > deadline {
                        return Err(Unavailable::Unusable(why));
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn spawn(period_frames: usize, scheduling: &[&str]) -> Result<Self, Unavailable> {
        let name = format!("roundelay-bench-{}", std::process::id());
        let mut command = Command::new("jackd");
        command.args(scheduling).args(["-n", &name, "-d", "dummy", "-r", "48000", "-p", &period_frames.to_string()]);
        command.env("JACK_NO_AUDIO_RESERVATION", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: what runs between fork and exec is one system call, which allocates nothing and takes no lock.
        unsafe { command.pre_exec(end_with_parent) };
        match command.spawn() {
            Ok(child) => Ok(Self { name, child }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unavailable::NotInstalled("jackd")),
            Err(error) => Err(Unavailable::Unusable(format!("jackd does not start: {error}"))),
        }
    }

    /// Plays to the end, as a client.
    pub fn play(&self, session: Session, at_most: Duration) -> Result<Played, Unavailable> {
        Client::open(&self.name)?.play(session, at_most)
    }
}

/// However we end.
fn end_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a signal, and no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As by its user, so that it takes down what it has in shared memory.
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
