//! Runs every model of the library's protocols, and every mutant against the models that must catch it.
//!
//! ```text
//! cargo run --release --manifest-path loom-tests/Cargo.toml -- [--only TEXT] [--models | --mutants] [--list]
//!     --only TEXT     what has TEXT in its name
//!     --models        no mutants
//!     --mutants       no models
//!     --list          the names, without running anything
//!     --sweep TEXT    the mutants with TEXT in their name, each against every model of its protocol: which catch it?
//!     --limit SECONDS for one model; 120 if not given
//!     --jobs N        models at a time; one per processor if not given
//! ```
//!
//! A model passes if it says so and explored more than one execution. A mutant is caught if each model that its table
//! names fails, with the symptom that the table names; running out of time is not failing.

mod child;
mod mutants;
mod switchboard;
mod tokens;
mod workbench;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use child::{End, Outcome};
use mutants::Mutant;

struct Wishes {
    only: String,
    sweep: Option<String>,
    models: bool,
    mutants: bool,
    list: bool,
    limit: Duration,
    jobs: usize,
}

fn wishes() -> Result<Wishes, String> {
    let mut wishes = Wishes {
        only: String::new(),
        sweep: None,
        models: true,
        mutants: true,
        list: false,
        limit: Duration::from_secs(120),
        jobs: thread::available_parallelism().map_or(2, usize::from),
    };
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--only" => wishes.only = value()?,
            "--sweep" => wishes.sweep = Some(value()?),
            "--models" => wishes.mutants = false,
            "--mutants" => wishes.models = false,
            "--list" => wishes.list = true,
            "--limit" => wishes.limit = Duration::from_secs(value()?.parse().map_err(|_| "--limit needs seconds")?),
            "--jobs" => wishes.jobs = value()?.parse::<usize>().map_err(|_| "--jobs needs a number")?.max(1),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(wishes)
}

/// A model, as the model program lists it.
struct Model {
    name: String,
    /// For a canary that must fail: what it must complain of.
    symptom: Option<String>,
}

/// One run that was asked for.
enum Task<'a> {
    Model(&'a Model),
    Mutant { number: u32, mutant: &'a Mutant, model: &'a str },
    Sweep { number: u32, mutant: &'a Mutant, model: &'a str },
}

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<bool, String> {
    let wishes = wishes()?;
    let mutants = mutants::all();
    let program = workbench::prepare(&mutants)?;
    let models = list(&program)?;
    check_tables(&mutants, &models)?;

    let mut tasks = Vec::new();
    if let Some(text) = &wishes.sweep {
        for &(number, mutant) in mutants.iter().filter(|(_, mutant)| mutant.name.contains(text)) {
            let protocol = mutant.name.split('/').next().unwrap_or("");
            for model in models.iter().filter(|m| m.name.starts_with(protocol) && m.name.contains(&wishes.only)) {
                tasks.push(Task::Sweep { number, mutant, model: &model.name });
            }
        }
    } else {
        if wishes.models {
            tasks.extend(models.iter().filter(|model| model.name.contains(&wishes.only)).map(Task::Model));
        }
        if wishes.mutants {
            for &(number, mutant) in mutants.iter().filter(|(_, mutant)| mutant.name.contains(&wishes.only)) {
                tasks.extend(mutant.caught_by.iter().map(|model| Task::Mutant { number, mutant, model }));
            }
        }
    }
    if wishes.list {
        for task in &tasks {
            match task {
                Task::Model(model) => println!("model   {}", model.name),
                Task::Mutant { mutant, model, .. } | Task::Sweep { mutant, model, .. } => {
                    println!("mutant  {}  by {model}: {}", mutant.name, mutant.why);
                }
            }
        }
        return Ok(true);
    }
    if tasks.is_empty() {
        return Err(format!("nothing has {:?} in its name", wishes.only));
    }
    Ok(run(&tasks, &program, &wishes))
}

fn list(program: &Path) -> Result<Vec<Model>, String> {
    let output = Command::new(program).arg("--list").output().map_err(|e| format!("{}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!(
            "the model program does not list its models:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok(text
        .lines()
        .map(|line| {
            let (name, symptom) = line.split_once('\t').unwrap_or((line, ""));
            Model { name: name.to_owned(), symptom: (!symptom.is_empty()).then(|| symptom.to_owned()) }
        })
        .collect())
}

fn check_tables(mutants: &[(u32, &Mutant)], models: &[Model]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (at, (_, mutant)) in mutants.iter().enumerate() {
        if mutant.caught_by.is_empty() || mutant.why.is_empty() || mutant.symptom.is_empty() && !mutant.hangs {
            wrong.push(format!("mutant table: {} names no model, no symptom or no reason", mutant.name));
        }
        for model in mutant.caught_by.iter().filter(|name| !models.iter().any(|m| m.name == **name)) {
            wrong.push(format!("mutant table: {} names the model {model}, which is not there", mutant.name));
        }
        if mutants[..at].iter().any(|(_, other)| other.name == mutant.name) {
            wrong.push(format!("mutant table: two are called {}", mutant.name));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn run(tasks: &[Task], program: &Path, wishes: &Wishes) -> bool {
    let logs: PathBuf = program.with_file_name("logs");
    let width = tasks.iter().map(|task| label(task).len()).max().unwrap_or(0);
    let (next, good, bad) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..wishes.jobs {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (model, number) = match task {
                        Task::Model(model) => (model.name.as_str(), 0),
                        Task::Mutant { model, number, .. } | Task::Sweep { model, number, .. } => (*model, *number),
                    };
                    let (fine, line) = match child::run(program, model, number, wishes.limit, &logs) {
                        Ok(outcome) => verdict(task, &outcome, width),
                        Err(error) => (false, format!("FAILED    {}  cannot be run: {error}", label(task))),
                    };
                    (if fine { &good } else { &bad }).fetch_add(1, Ordering::Relaxed);
                    println!("{line}");
                }
            });
        }
    });
    let (good, bad) = (good.into_inner(), bad.into_inner());
    println!("\n{good} passed, {bad} failed, in {:.0} s", start.elapsed().as_secs_f64());
    bad == 0
}

fn label(task: &Task) -> String {
    match task {
        Task::Model(model) => model.name.clone(),
        Task::Mutant { mutant, .. } => mutant.name.to_owned(),
        Task::Sweep { mutant, model, .. } => format!("{} by {model}", mutant.name),
    }
}

fn verdict(task: &Task, outcome: &Outcome, width: usize) -> (bool, String) {
    // Running into loom's own limits says nothing about the protocol.
    let gave_up = outcome.complaint.contains("exceeded maximum number of branches");
    let complaint = match outcome.complaint.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &outcome.complaint[..at]),
        None => outcome.complaint.clone(),
    };
    let found = outcome.end == End::Failed && !gave_up;
    let (fine, word, note) = match task {
        Task::Model(Model { symptom: None, .. }) => match outcome.end {
            End::Passed => (true, "ok", String::new()),
            End::Failed => (false, "FAILED", complaint),
            End::TimedOut => (false, "FAILED", "out of time".to_owned()),
        },
        Task::Model(Model { symptom: Some(symptom), .. }) => match outcome.end {
            End::Failed if found && outcome.complaint.contains(symptom) => (true, "ok", format!("fails: {complaint}")),
            End::Failed => (false, "FAILED", format!("fails with another complaint: {complaint}")),
            _ => (false, "FAILED", "a canary that must fail did not: the checker is blind".to_owned()),
        },
        Task::Mutant { mutant, model, .. } => {
            let by = format!("by {model}");
            match outcome.end {
                End::Failed if found && !mutant.symptom.is_empty() && outcome.complaint.contains(mutant.symptom) => {
                    (true, "caught", format!("{by}: {complaint}"))
                }
                End::TimedOut if mutant.hangs => (true, "caught", format!("{by}: runs for ever")),
                End::Failed if gave_up && mutant.hangs => (true, "caught", format!("{by}: runs for ever")),
                End::Failed => (false, "SURVIVED", format!("{by}: fails for another reason: {complaint}")),
                End::TimedOut => (false, "SURVIVED", format!("{by}: out of time")),
                End::Passed if !outcome.reached => (false, "SURVIVED", format!("{by}, which never gets there")),
                End::Passed => (false, "SURVIVED", format!("{by}, after {} executions", outcome.executions)),
            }
        }
        Task::Sweep { .. } => match outcome.end {
            End::Failed => (true, "catches", complaint),
            End::TimedOut => (true, "time", String::new()),
            End::Passed if !outcome.reached => (true, "-", "never gets there".to_owned()),
            End::Passed => (true, "-", String::new()),
        },
    };
    let executions = match outcome.end {
        End::Passed => format!("{:>9} executions", outcome.executions),
        _ => " ".repeat(20),
    };
    let line = format!("{word:<8}  {:<width$} {executions} {:>6.1} s  {note}", label(task), outcome.time.as_secs_f64());
    (fine, line.trim_end().to_owned())
}
