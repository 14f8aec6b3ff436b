//! `roundelay`: a program that shows the library of that name at work. See `roundelay help`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roundelay_player::demo::{self, DemoOptions};
use roundelay_player::output::OutputChoice;
use roundelay_player::player::{Player, Stopper};
use roundelay_player::status::{self, Display};
use roundelay_player::summary::Summary;

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
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Stop after so many seconds of audio
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_seconds)]
    seconds: Duration,

    /// `null`, a device that throws the audio away on time, or `wav:PATH`
    #[arg(long, value_name = "OUTPUT", default_value = "null")]
    output: OutputChoice,

    /// Picks the music: the same number, the same music
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// End with one line of JSON on standard output
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Command::Demo(args) = Cli::parse().command;
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roundelay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &DemoArgs) -> Result<(), Box<dyn std::error::Error>> {
    let player = Player::default();
    stop_on_interrupt(player.stopper())?;
    let options = DemoOptions { limit: args.seconds, output: args.output.clone(), seed: args.seed };
    let summary = demo::run(&options, player, &mut Display::on_stderr())?;
    print(&summary, args.json)
}

fn print(summary: &Summary, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let text = if json { summary.to_json()? } else { summary.to_string() };
    // Not `println!`, which panics when the other side of a pipe has gone.
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Ctrl-C ends the music with a summary; a second one ends the program where it stands.
fn stop_on_interrupt(stopper: Stopper) -> Result<(), ctrlc::Error> {
    /// What a shell reports for a program that an interrupt ended.
    const ENDED_BY_INTERRUPT: i32 = 130;
    // Relaxed: only the handler's thread looks at it.
    let interrupted = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Relaxed) {
            status::show_cursor();
            std::process::exit(ENDED_BY_INTERRUPT);
        }
        stopper.stop();
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    // A day of FLAC is more than a WAV file holds, and more than anybody listens to a demo.
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
