//! The models of the library's protocols: `models --list`, or `models NAME` to explore one.
//!
//! One model a process, because a model that deadlocks aborts it. `../runner` builds and runs this program.

#[cfg(not(loom))]
compile_error!("without `--cfg loom` nothing would be explored; run these through loom-tests/runner");

mod canary;
mod coverage;
mod driver;
mod fetcher;
mod gate;
mod lifecycle;
mod pcm;
mod ready;
mod store;
mod wait;
mod window;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A scenario that loom explores.
struct Model {
    name: &'static str,
    run: fn(),
    /// For a canary that must fail: what the checker must complain of.
    symptom: &'static str,
}

/// Lists the models of a file: `models! { name => body, … }`.
macro_rules! models {
    ($($name:ident => $run:expr,)*) => {
        pub(crate) const MODELS: &[crate::Model] = &[$(crate::Model {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: || $run,
            symptom: "",
        },)*];
    };
}
pub(crate) use models;

/// The preemptions that a thread may suffer in a model that has too many executions without a bound.
#[derive(Clone, Copy)]
enum Preemptions {
    Any,
    AtMost(usize),
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Explores all executions of `body`. `LOOM_MAX_PREEMPTIONS` takes the place of a bound, for a deeper look than there is
/// time for every day.
fn explore(preemptions: Preemptions, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 2_000;
    builder.preemption_bound = match preemptions {
        Preemptions::Any => None,
        Preemptions::AtMost(bound) => builder.preemption_bound.or(Some(bound)),
    };
    let body = Arc::new(body);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        body();
    });
}

fn main() -> ExitCode {
    let models = || {
        [
            canary::MODELS,
            window::MODELS,
            wait::MODELS,
            gate::MODELS,
            lifecycle::MODELS,
            driver::MODELS,
            pcm::MODELS,
            coverage::MODELS,
            store::MODELS,
            fetcher::MODELS,
            ready::MODELS,
        ]
        .into_iter()
        .flatten()
    };
    let name = |model: &Model| model.name.strip_prefix("models::").unwrap_or(model.name);
    match std::env::args().nth(1).as_deref() {
        Some("--list") => {
            for model in models() {
                println!("{}\t{}", name(model), model.symptom);
            }
            ExitCode::SUCCESS
        }
        Some(wanted) => {
            let Some(model) = models().find(|model| name(model) == wanted) else {
                eprintln!("no model is called {wanted}");
                return ExitCode::FAILURE;
            };
            (model.run)();
            println!("executions {}", EXECUTIONS.load(Ordering::Relaxed));
            println!("reached {}", roundelay::mutants::reached());
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("models --list | models NAME");
            ExitCode::FAILURE
        }
    }
}
