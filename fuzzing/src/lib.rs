//! Feeds a function with inputs that are made from a corpus, and tells the input that it fails upon.
//!
//! In `cargo test` each target runs its corpus and a fixed number of inputs made from that, the same ones each time. With
//! `FUZZ_SECONDS` it runs for so long, on other inputs in each run; `FUZZ_INPUT=FILE` runs one input alone. Where the
//! program was built with coverage counters, as `make fuzz` does, inputs that reach something new are made more of, and
//! kept below `target/fuzz` for the next run. All of that works with a stable compiler.

mod coverage;
mod mutation;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use coverage::Coverage;
use mutation::{Mutator, Random};

/// How many inputs are made where no time is given.
const COUNT: usize = 2_000;
/// How long an input may take, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many inputs are kept in memory.
const KEPT: usize = 4_096;

/// A function under test, and what it is fed with.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory of the corpus, of which each file is an input.
    pub corpus: &'a str,
    /// Words that are worth trying.
    pub words: &'a [&'a str],
    /// How long an input is at most.
    pub longest: usize,
}

impl Target<'_> {
    /// Runs the target: it fails by panicking, or by taking seconds.
    ///
    /// # Panics
    /// The target did so; the input is written to a file below `target/fuzz`, whose name is in the message. The corpus
    /// cannot be read.
    #[allow(clippy::panic, reason = "this is how a test fails")]
    pub fn run(self, mut function: impl FnMut(&[u8])) {
        let name = name_of(self.corpus);
        let mut run = |input: &[u8]| run_one(&name, input, &mut function);
        if let Some(only) = std::env::var_os("FUZZ_INPUT") {
            match fs::read(&only) {
                Ok(input) => return run(&input),
                Err(error) => panic!("cannot read {}: {error}", only.display()),
            }
        }
        let mut corpus = read(Path::new(self.corpus));
        assert!(!corpus.is_empty(), "there is no corpus in {}", self.corpus);
        let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let found = directory().join("corpus").join(&name);
        if seconds.is_some() {
            corpus.extend(read(&found));
        }
        let mut coverage = Coverage::start();
        for input in &corpus {
            run(input);
            coverage.is_new();
        }
        let began = Instant::now();
        let limit = seconds.map(Duration::from_secs);
        let mut mutator =
            Mutator { random: Random::new(seed(limit)), words: self.words, longest: self.longest };
        let mut count = 0_usize;
        while limit.map_or(count < COUNT, |limit| began.elapsed() < limit) {
            count = count.saturating_add(1);
            let input = mutator.make(&corpus);
            run(&input);
            if coverage.is_new() && corpus.len() < KEPT {
                write(&found, &input);
                corpus.push(input);
            }
        }
        if seconds.is_some() {
            println!(
                "{name}: {count} inputs, {} of them kept, {} places reached",
                corpus.len(),
                coverage.reached()
            );
        }
    }
}

fn run_one(name: &str, input: &[u8], function: &mut impl FnMut(&[u8])) {
    let mut timed = || {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| function(input)));
        (outcome, began.elapsed())
    };
    let (mut outcome, mut took) = timed();
    // The machine may have had other things to do; what is slow by itself is so each time.
    for _ in 0..2 {
        if outcome.is_err() || took < PATIENCE {
            break;
        }
        (outcome, took) = timed();
    }
    if outcome.is_ok() && took < PATIENCE {
        return;
    }
    let file = write(&directory().join("failed").join(name), input);
    eprintln!("{name} fails upon {}, after {took:?}: {:?}", file.display(), String::from_utf8_lossy(input));
    match outcome {
        Err(cause) => resume_unwind(cause),
        Ok(()) => assert!(took < PATIENCE, "the input took too long"),
    }
}

/// The crate's and the target's name, of `CRATE/testdata/fuzz/TARGET`.
fn name_of(corpus: &str) -> String {
    let parts: Vec<_> = corpus.rsplit('/').collect();
    format!("{}-{}", parts.get(3).copied().unwrap_or_default(), parts.first().copied().unwrap_or_default())
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz")
}

/// The same in each run, unless it runs for some time.
fn seed(limit: Option<Duration>) -> u64 {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    limit.map_or(1, |_| u64::try_from(now().as_nanos() & u128::from(u64::MAX)).unwrap_or(1))
}

fn read(directory: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // The same inputs come in the same order.
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn write(directory: &Path, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = directory.join(format!("{:016x}", hasher.finish()));
    if let Err(error) = fs::create_dir_all(directory).and_then(|()| fs::write(&path, input)) {
        eprintln!("cannot write {}: {error}", path.display());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/words");

    #[test]
    fn a_failure_that_is_a_change_away_is_found() {
        let target = Target { corpus: CORPUS, words: &["panic"], longest: 64 };
        let found =
            catch_unwind(|| target.run(|input| assert!(!input.windows(5).any(|part| part == b"panic"))));
        assert!(found.is_err());
    }

    #[test]
    fn inputs_are_the_same_in_each_run_and_many() {
        let inputs = || {
            let mut inputs = Vec::new();
            Target { corpus: CORPUS, words: &[], longest: 64 }.run(|input| inputs.push(input.to_vec()));
            inputs
        };
        let first = inputs();
        if std::env::var_os("FUZZ_SECONDS").is_none() {
            assert_eq!(first, inputs());
        }
        assert!(first.iter().all(|input| input.len() <= 64));
        let different: std::collections::HashSet<_> = first.iter().collect();
        assert!(different.len() > COUNT / 2, "{}", different.len());
    }

    #[test]
    fn a_target_has_the_name_of_its_crate_and_its_corpus() {
        assert_eq!(name_of(CORPUS), "fuzzing-words");
    }
}
