//! `roundelay`: a program that shows the library of that name at work. See `roundelay help`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roundelay_player::decode::WhenLapped;
use roundelay_player::demo::{self, DemoOptions};
use roundelay_player::get::{self, GetError, GetOptions};
use roundelay_player::interrupt::on_interrupt;
use roundelay_player::media::WindowSize;
use roundelay_player::output::{Marks, OutputChoice, OutputOptions};
use roundelay_player::player::{PlayOptions, Player, Stopper};
use roundelay_player::status::{self, Display};
use roundelay_player::summary::Summary;
use roundelay_player::text;

/// Internet radio through a lock-free ring buffer.
#[derive(Debug, Parser)]
#[command(name = "roundelay", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Go on air on this machine with generated music, and listen to it; needs nothing but this program.
    Demo(DemoArgs),
    /// Play a station, a file on a server or here, or a playlist.
    #[command(after_help = KEYS)]
    Play(PlayArgs),
    /// Fetch a file over HTTP, over several connections; cut short, the same command goes on where it stopped.
    #[command(after_help = EXIT_CODES)]
    Get(GetArgs),
}

const KEYS: &str = "\
Keys, on a terminal:
  left, right   ten seconds back, forward
  up, down      a minute forward, back
  Home          the beginning, or as far back as there is
  End, l        live; of a file, nothing
  space, p      pause; a live stream is kept meanwhile, as far as the window goes
  q, Esc        quit

MP3, AAC, ALAC, Vorbis, FLAC and WAV are played, from HTTP, HTTPS, or a file; also in Ogg, MP4, Matroska, AIFF
and CAF. Playlists: .m3u, .pls, .xspf.

Exit codes:
    0  all of it was played, or as much as was asked for
    1  nothing can be played, or no more
    2  the command line makes no sense
    3  something was left out: an entry of a list, a part of a stream that is not supported, damaged or
       missing (`skipped` in the summary), or packets of a file that cannot be decoded (`broken`)
  130  interrupted twice";

const EXIT_CODES: &str = "\
Exit codes:
    0  the file is there, now or already
    1  another failure
    2  the command line makes no sense
    3  the server refused, cannot be reached, answers nonsense, or sends a stream without an end
    4  the file changed on the server meanwhile; the same command fetches it anew
    5  FILE is in the way, locked, or cannot be written; the disk is full
  130  interrupted; the same command goes on where this one stopped

Until it is complete, the file is FILE.part, with FILE.part.index beside it. The variables http_proxy,
https_proxy, all_proxy and no_proxy are heeded.";

#[derive(Debug, Args)]
struct DemoArgs {
    /// Stop after so many seconds of audio
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_seconds)]
    seconds: Duration,

    #[command(flatten)]
    output: OutputArgs,

    /// Picks the music: the same number, the same music
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// End with one line of JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PlayArgs {
    /// http://, https://, or a path
    address: String,

    /// Where it is to be heard: `auto` for JACK if a server answers, else ALSA, else `null`; `jack`; `alsa`; `null`, a
    /// device that throws the audio away on time; `wav:PATH`
    #[arg(long, value_name = "OUTPUT", default_value = "auto")]
    output: OutputChoice,

    #[command(flatten)]
    device: DeviceArgs,

    /// How much of a live stream is kept: so many bytes (16MiB), or about so long (10m, 90s)
    #[arg(long, value_name = "SIZE", default_value = "10m", value_parser = parse_window)]
    window: WindowSize,

    /// Playing starts, and goes on after a pause for want of audio, with so much of it
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    start_ms: u32,

    /// Playing pauses when there is less than so much audio left
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    rebuffer_ms: u32,

    /// When a pause has lasted longer than the window: go on with the oldest there is, or live
    #[arg(long, value_name = "WHERE", default_value = "oldest")]
    when_lapped: Lapped,

    /// Connections at once, for a file on a server that sends parts of it
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(get::MAX_CONNECTIONS)))]
    connections: u8,

    /// Stop after so many seconds of audio, of a playlist all together
    #[arg(long, value_name = "N", value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// Note down the titles that are heard, each with its time
    #[arg(long, value_name = "FILE")]
    title_log: Option<PathBuf>,

    /// End with one line of JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lapped {
    Oldest,
    Live,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// `null`, a device that throws the audio away on time; `wav:PATH`; `jack`; `alsa`; or `auto` for JACK if a server
    /// answers, else ALSA, else `null`
    #[arg(long, value_name = "OUTPUT", default_value = "null")]
    output: OutputChoice,

    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// Frames that the output asks for at once; a JACK server has its own
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u16).range(16..=8192))]
    period: Option<u16>,

    /// ALSA's name of a device, or what the names of JACK's ports begin with
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

impl DeviceArgs {
    fn of(&self, output: &OutputChoice) -> OutputOptions {
        OutputOptions {
            choice: output.clone(),
            period_frames: self.period.map(usize::from),
            device: self.device.clone(),
        }
    }
}

#[derive(Debug, Args)]
struct GetArgs {
    /// What to fetch: http:// or https://
    url: String,

    /// Where it is to be
    file: PathBuf,

    /// Connections at once, if the server sends parts of a file
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u8).range(1..=i64::from(get::MAX_CONNECTIONS)))]
    connections: u8,

    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,

    /// Give up after so many tries in a row in which nothing came
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,

    /// Take a connection that is silent for so long for cut
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds)]
    timeout: Duration,

    /// End with one line of JSON on standard output
    #[arg(long)]
    json: bool,

    /// Make what has come safe each time it is so many bytes more
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, hide = true)]
    flush_every: u64,
}

/// What `play` ends with if something was left out.
const EXIT_LEFT_OUT: u8 = 3;

fn main() -> ExitCode {
    ignore_size_signal();
    let ended = match Cli::parse().command {
        Command::Demo(args) => run_demo(&args).map(|()| ExitCode::SUCCESS),
        Command::Play(args) => run_play(&args),
        Command::Get(args) => run_get(&args).map(|()| ExitCode::SUCCESS),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            // Not `eprintln!`, which panics when nobody can read it.
            let _ = writeln!(std::io::stderr(), "roundelay: {}", text::for_people(&error));
            error.downcast_ref().map_or(ExitCode::FAILURE, |error: &GetError| error.exit_code().into())
        }
    }
}

/// A file that would be longer than `ulimit -f` allows is an error of the write, and not the end of the program.
fn ignore_size_signal() {
    #[cfg(unix)]
    {
        // Whoever catches it without doing anything gets the error. The flag is nobody's; a refusal leaves all as it was.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
}

fn run_get(args: &GetArgs) -> Result<(), Box<dyn std::error::Error>> {
    let stopper = get::Stopper::default();
    let interrupted = stopper.clone();
    on_interrupt(move || {
        if !interrupted.stop() {
            std::process::exit(ENDED_BY_INTERRUPT);
        }
    })?;
    let options = GetOptions {
        url: args.url.clone(),
        file: args.file.clone(),
        connections: args.connections,
        force: args.force,
        tries: args.tries,
        patience: args.timeout,
        flush_every_bytes: args.flush_every,
    };
    let summary = get::run(&options, &stopper)?;
    if args.json {
        writeln!(std::io::stdout(), "{}", summary.to_json()?)?;
    }
    Ok(())
}

/// What a shell reports for a program that an interrupt ended.
const ENDED_BY_INTERRUPT: i32 = get::EXIT_INTERRUPTED as i32;

fn run_demo(args: &DemoArgs) -> Result<(), Box<dyn std::error::Error>> {
    let player = Player::default();
    stop_on_interrupt(player.stopper())?;
    let options =
        DemoOptions { limit: args.seconds, output: args.output.device.of(&args.output.output), seed: args.seed };
    let summary = demo::run(&options, player, &mut Display::on_stderr())?;
    print(&summary, args.json)
}

fn run_play(args: &PlayArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let player = Player::default();
    stop_on_interrupt(player.stopper())?;
    let options = PlayOptions {
        limit: args.seconds,
        window: args.window,
        marks: Marks {
            start: Duration::from_millis(args.start_ms.into()),
            rebuffer: Duration::from_millis(args.rebuffer_ms.min(args.start_ms).into()),
        },
        when_lapped: match args.when_lapped {
            Lapped::Oldest => WhenLapped::Oldest,
            Lapped::Live => WhenLapped::Live,
        },
        connections: args.connections,
        title_log: args.title_log.clone(),
        keys: true,
        ..PlayOptions::new(&args.address, args.device.of(&args.output))
    };
    let outcome = player.play(&options, &mut Display::on_stderr());
    // What was heard before something failed is told, too.
    if outcome.result.is_ok() || outcome.summary.callbacks > 0 {
        print(&outcome.summary, args.json)?;
    }
    outcome.result?;
    Ok(if outcome.is_whole { ExitCode::SUCCESS } else { EXIT_LEFT_OUT.into() })
}

fn print(summary: &Summary, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let text = if json { summary.to_json()? } else { summary.to_string() };
    // Not `println!`, which panics when the other side of a pipe has gone.
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Ctrl-C ends the music with a summary; a second one ends the program where it stands.
fn stop_on_interrupt(stopper: Stopper) -> Result<(), ctrlc::Error> {
    // Relaxed: only the handler's thread looks at it.
    let interrupted = AtomicBool::new(false);
    on_interrupt(move || {
        if interrupted.swap(true, Relaxed) {
            status::give_back_terminal();
            get::remove_downloads();
            std::process::exit(ENDED_BY_INTERRUPT);
        }
        stopper.stop();
    })
}

fn parse_window(text: &str) -> Result<WindowSize, String> {
    let wrong = || "give a size such as 16MiB, or a time such as 10m or 90s".to_owned();
    if text.ends_with(['B', 'b']) {
        return parse_size::parse_size(text).map(WindowSize::Bytes).map_err(|_| wrong());
    }
    humantime::parse_duration(text).map(WindowSize::Time).map_err(|_| wrong())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    // More than anybody listens to a demo. A WAV file is full before that.
    const MAX_SECONDS: f64 = 86_400.0;
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds, such as 20 or 2.5".to_owned())?;
    if seconds > 0.0 && seconds <= MAX_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("give more than 0 and at most {MAX_SECONDS} seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_are_a_number_above_nought() {
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        for nonsense in ["0", "-1", "NaN", "inf", "1e9", "", "ten"] {
            assert!(parse_seconds(nonsense).is_err(), "{nonsense}");
        }
    }
}
