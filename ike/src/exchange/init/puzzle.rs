//! Puzzles of a responder under load, in slices so that nobody else waits long for us (RFC 8019 7.1.2, 7.2.2).
//!
//! One that comes with a cookie may be left alone. One that comes with the answer must be solved before IKE_AUTH; what
//! would take too long ends the attempt, and the operator is told.

use std::time::{Duration, Instant};

use super::Sent;
use crate::crypto::puzzle::{Puzzle, Search, Solver};
use crate::error::{Cause, Exchange, Failure};
use crate::exchange::Cx;
use crate::timers::after;

/// A puzzle, and when the next slice of work on it is due.
#[derive(Debug)]
pub(super) struct Work {
    solver: Solver,
    due: Instant,
    purpose: Purpose,
}

/// What the solution is for.
#[derive(Debug)]
enum Purpose {
    /// To repeat the request with.
    Init,
    /// To go on with this answer.
    Auth(Held),
}

/// An answer that is acted on once its puzzle is solved.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The answer.
    pub(crate) message: Vec<u8>,
    /// No other IKE SA stood between the two identities when it came.
    pub(crate) sole: bool,
    /// Zero bits that its puzzle asks for.
    pub(crate) difficulty: u8,
}

impl Work {
    /// When the next slice is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

impl Sent {
    /// RFC 8019 7.1.2: the request is repeated when the puzzle is solved, and without a solution if that would be too much
    /// work: some are served all the same.
    pub(crate) fn work_on_puzzle(mut self, cx: &mut Cx<'_>, cookie: Vec<u8>, puzzle: Puzzle) -> Self {
        let Some(solver) = Solver::new(puzzle, &cookie) else {
            return self.retry_with_cookie(cx, cookie);
        };
        self.cookie = Some(cookie);
        self.detours += 1;
        self.solution = None;
        self.begin_work(cx.now, solver, Purpose::Init);
        self
    }

    /// RFC 8019 7.2.2: the answer's puzzle must be solved. `s`: what it is about.
    pub(crate) fn work_on_auth_puzzle(&mut self, now: Instant, s: &[u8], puzzle: Puzzle, held: Held) {
        // RFC 8019 7.2.1.1: the choice must not be left to us.
        let solver = Solver::new(puzzle, s).filter(|_| puzzle.difficulty > 0);
        let Some(solver) = solver else {
            let difficulty = puzzle.difficulty;
            return self.suspect(now, Cause::PuzzleTooHard { difficulty });
        };
        // A genuine answer is there; what cast doubt on it was none.
        self.suspicion = None;
        self.begin_work(now, solver, Purpose::Auth(held));
    }

    /// An answer is held until its puzzle is solved.
    pub(super) fn holds_answer(&self) -> bool {
        let work = self.puzzle.as_ref();
        work.is_some_and(|work| matches!(work.purpose, Purpose::Auth(_)))
    }

    /// The answer whose puzzle is solved.
    pub(crate) fn take_solved(&mut self) -> Option<Held> {
        self.solved.take()
    }

    fn begin_work(&mut self, now: Instant, solver: Solver, purpose: Purpose) {
        self.puzzle = Some(Work {
            solver,
            due: after(now, BETWEEN_SLICES),
            purpose,
        });
    }

    /// One slice of work.
    pub(super) fn work(&mut self, cx: &mut Cx<'_>) -> Result<(), Failure> {
        let Some(work) = self.puzzle.as_mut().filter(|work| work.due <= cx.now) else {
            return Ok(());
        };
        let solution = match work.solver.work() {
            Search::Goes => {
                work.due = after(cx.now, BETWEEN_SLICES);
                return Ok(());
            }
            Search::Solved(solution) => Some(solution),
            Search::GivenUp => None,
        };
        match (self.puzzle.take().map(|work| work.purpose), solution) {
            (Some(Purpose::Auth(held)), Some(solution)) => {
                self.auth_solution = Some(solution);
                self.solved = Some(held);
            }
            (Some(Purpose::Auth(Held { difficulty, .. })), None) => {
                let cause = Cause::PuzzleTooHard { difficulty };
                return Err(Failure::new(Exchange::IkeSaInit, cause));
            }
            (Some(Purpose::Init) | None, solution) => {
                self.solution = solution;
                self.send(cx);
            }
        }
        Ok(())
    }
}

/// Between two slices of work on a puzzle.
const BETWEEN_SLICES: Duration = Duration::from_millis(1);
