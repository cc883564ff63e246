//! Asks all cases: plain ones on several threads, scripts one after another behind them.

use crate::answer::Answer;
use crate::case::{Case, Corpus};
use crate::compare::compare;
use crate::lists::Lists;
use crate::placeholders::Placeholders;
use crate::request;
use crate::server::Server;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Threads that ask; as many as a dashboard asks at once.
const THREADS: usize = 4;
/// Pause before a step is repeated that waits for something.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What became of a case.
pub(crate) struct Outcome {
    /// Where the answer differs from Loki's.
    pub(crate) difference: Option<String>,
    /// The answers that came, as far as the case got.
    pub(crate) answers: Vec<Answer>,
}

/// Asks every case and returns what became of each, in the order of the corpus.
pub(crate) fn all(server: &Server, corpus: &Corpus, lists: &Lists) -> Vec<Outcome> {
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(corpus.cases.iter().map(|_| None).collect());
    let one = |index: usize| {
        let case = &corpus.cases[index];
        let outcome = ask(server, case, index, lists.excuse(&case.id));
        outcomes.lock().unwrap()[index] = Some(outcome);
    };
    let of_kind = |is_script: bool| -> Vec<usize> {
        (0..corpus.cases.len()).filter(|&index| corpus.cases[index].is_script == is_script).collect()
    };
    let plain = of_kind(false);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&index) = plain.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(index);
                }
            });
        }
    });
    of_kind(true).into_iter().for_each(one);
    outcomes.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

fn ask(server: &Server, case: &Case, index: usize, is_excused: bool) -> Outcome {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Whole minutes: some cases count on it.
    let now_ns = i64::try_from(since_epoch.as_secs() / 60 * 60).unwrap() * 1_000_000_000;
    let run = format!("{:08x}{index:03x}", since_epoch.subsec_nanos() ^ since_epoch.as_secs() as u32);
    let mut placeholders = Placeholders::new(now_ns, &run);
    let mut answers = Vec::new();
    for (number, (step, want)) in case.steps.iter().zip(&case.answers).enumerate() {
        let place = if case.is_script { format!("step {number}: ") } else { String::new() };
        // A case that is expected to fail is not waited for.
        let patience = if is_excused { Duration::ZERO } else { step.retry };
        let deadline = Instant::now() + patience;
        loop {
            let compared = request::ask(server.sender(), step, &mut placeholders).and_then(|answer| {
                let compared = compare(want, &answer, step);
                answers.truncate(number);
                answers.push(answer);
                compared
            });
            match compared {
                Ok(()) => break,
                Err(_) if Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
                Err(difference) => {
                    return Outcome { difference: Some(format!("{place}{difference}")), answers };
                }
            }
        }
    }
    Outcome { difference: None, answers }
}
