//! Runs named tests and counts. Skips are loud, and a failure where the environment says that nothing may be skipped.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use xvpn::testbed;

/// Why a test failed: text for a person.
#[derive(Debug)]
pub struct Failure(pub String);

/// What a test comes to.
pub type Outcome = Result<(), Failure>;

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Fails with these words unless `condition` holds.
pub fn check(condition: bool, words: impl Display) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Failure(words.to_string()))
    }
}

/// Tests that share something and so run one after the other.
pub struct Job {
    /// Their names.
    pub names: Vec<String>,
    /// Runs those of them that are asked for.
    pub run: Box<dyn FnOnce(&Reporter<'_>) + Send>,
}

impl Job {
    /// A single test.
    pub fn single(name: &str, test: fn() -> Outcome) -> Self {
        let name = name.to_owned();
        Self {
            names: vec![name.clone()],
            run: Box::new(move |reporter| reporter.test(&name, test)),
        }
    }
}

/// Takes down how tests went.
pub struct Reporter<'a> {
    filter: &'a Filter,
    passed: &'a AtomicUsize,
    skipped: &'a AtomicUsize,
    failed: &'a Mutex<Vec<String>>,
}

impl Reporter<'_> {
    /// Whether a test of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.accepts(name) && !testbed::interrupted()
    }

    /// Runs a test if it was asked for.
    pub fn test(&self, name: &str, test: impl FnOnce() -> Outcome) {
        if !self.wants(name) {
            return;
        }
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure(format!("panicked: {}", text.unwrap_or("without a word"))))
        });
        let time = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                println!("test {name} ... ok ({time:.1} s)");
            }
            Err(Failure(words)) => self.fail(name, &format!("{words}\n(after {time:.1} s)")),
        }
    }

    /// Notes a failure.
    pub fn fail(&self, name: &str, words: &str) {
        println!("test {name} ... FAILED\n{}", indented(words));
        self.failed
            .lock()
            .expect("no holder panics")
            .push(name.to_owned());
    }

    /// Notes that tests could not be run.
    pub fn skip(&self, names: &[String], why: &str) {
        for name in names.iter().filter(|name| self.wants(name)) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            println!("test {name} ... SKIPPED: {why}");
        }
    }
}

/// The whole program: enters a network of its own, runs the jobs that `plan` makes on `workers` threads, and says how
/// it went. With `required` set to 1 in the environment, a skip is a failure.
pub fn main(required: &str, workers: usize, plan: impl FnOnce() -> Result<Vec<Job>, Failure>) -> ExitCode {
    let filter = Filter::from_arguments();
    let jobs = match plan() {
        Ok(jobs) => jobs,
        Err(Failure(words)) => {
            println!("{words}");
            return ExitCode::FAILURE;
        }
    };
    if filter.list {
        jobs.iter()
            .flat_map(|job| &job.names)
            .for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let entered = testbed::enter().map_err(|refused| refused.to_string());
    let _ = testbed::remember_interrupts();
    let (passed, skipped, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let reporter = Reporter {
        filter: &filter,
        passed: &passed,
        skipped: &skipped,
        failed: &failed,
    };
    let jobs = Mutex::new(jobs.into_iter().rev().collect::<Vec<_>>());
    let take = || jobs.lock().expect("no holder panics").pop();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = take() {
                    match &entered {
                        Ok(()) if job.names.iter().any(|name| reporter.wants(name)) => (job.run)(&reporter),
                        Ok(()) => {}
                        Err(why) => reporter.skip(&job.names, why),
                    }
                }
            });
        }
    });
    conclude(
        required,
        &passed,
        &skipped,
        &failed.into_inner().expect("no holder panics"),
    )
}

fn conclude(required: &str, passed: &AtomicUsize, skipped: &AtomicUsize, failed: &[String]) -> ExitCode {
    let (passed, skipped) = (passed.load(Ordering::Relaxed), skipped.load(Ordering::Relaxed));
    let must = is_required(required);
    if skipped > 0 {
        let consequence = if must {
            format!("a failure, because {required}=1")
        } else {
            format!("set {required}=1 to make it a failure")
        };
        println!("\n*** {skipped} tests SKIPPED on this machine: {consequence} ***");
    }
    if !failed.is_empty() {
        println!("\nfailed:\n{}", indented(&failed.join("\n")));
    }
    println!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    if failed.is_empty() && !(must && skipped > 0) && !testbed::interrupted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether the environment says that nothing of these tests may be left out.
pub fn is_required(tests: &str) -> bool {
    std::env::var_os(tests).is_some_and(|value| value == "1")
}

/// Which tests were asked for: those whose name contains one of the words of the command line; without words, all.
struct Filter {
    words: Vec<String>,
    exact: bool,
    list: bool,
}

impl Filter {
    fn from_arguments() -> Self {
        let mut filter = Self {
            words: Vec::new(),
            exact: false,
            list: false,
        };
        // Options of the standard harness that mean nothing here are let pass.
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--exact" => filter.exact = true,
                "--list" => filter.list = true,
                option if option.starts_with('-') => {}
                word => filter.words.push(word.to_owned()),
            }
        }
        filter
    }

    fn accepts(&self, name: &str) -> bool {
        let fits = |word: &String| {
            if self.exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        self.words.is_empty() || self.words.iter().any(fits)
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
