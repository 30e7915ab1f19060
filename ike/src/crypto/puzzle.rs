//! Client puzzles (RFC 8019 7.1.3): four keys such that each `prf(key, S)` ends in enough zero bits.

use std::fmt;

use crate::negotiate::transform::Prf;
use crate::wire::payload::PuzzleSolution;

/// What an initiator is to solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The PRF to compute it with.
    pub prf: Prf,
    /// Trailing zero bits that each result must have. 0: as many as the initiator can afford.
    pub difficulty: u8,
}

impl Puzzle {
    /// The least number of zero bits that the four keys of a solution lead to; `None` if it is no solution at all: keys
    /// that are equal, empty, or longer than the PRF likes (RFC 8019 8.2).
    pub fn bits(self, s: &[u8], solution: &PuzzleSolution) -> Option<u8> {
        let keys: Vec<&[u8]> = solution.keys().collect();
        let distinct = keys
            .iter()
            .enumerate()
            .all(|(index, key)| !keys.iter().skip(index + 1).any(|other| other == key));
        let fits = keys
            .iter()
            .all(|key| (1..=self.prf.output_len()).contains(&key.len()));
        if keys.len() != KEYS || !distinct || !fits {
            return None;
        }
        keys.iter().map(|key| self.result(key, s)).min()
    }

    fn result(self, key: &[u8], s: &[u8]) -> u8 {
        let output = self.prf.compute(key, &[s]);
        let mut bits = 0u32;
        for octet in output.iter().rev() {
            bits += octet.trailing_zeros();
            if *octet != 0 {
                break;
            }
        }
        u8::try_from(bits).unwrap_or(u8::MAX)
    }
}

/// Searches the keys, a slice of work at a time.
pub(crate) struct Solver {
    puzzle: Puzzle,
    s: Vec<u8>,
    next: u32,
    found: Vec<[u8; 4]>,
    most: u32,
}

/// How far a search is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Not yet.
    Goes,
    /// Found.
    Solved(PuzzleSolution),
    /// More work than it is worth.
    GivenUp,
}

impl Solver {
    /// Begins; `None` if the puzzle asks for more than we are ready to do.
    pub(crate) fn new(puzzle: Puzzle, s: &[u8]) -> Option<Self> {
        let difficulty = match puzzle.difficulty {
            0 => OWN_CHOICE,
            bits if bits <= MOST_BITS => bits,
            _ => return None,
        };
        Some(Self {
            puzzle: Puzzle { difficulty, ..puzzle },
            s: s.to_vec(),
            next: 0,
            found: Vec::new(),
            // Four keys need 4 * 2^bits tries on average; who needs four times that has bad luck.
            most: 1u32.checked_shl(u32::from(difficulty) + 4).unwrap_or(u32::MAX),
        })
    }

    /// One slice of work.
    pub(crate) fn work(&mut self) -> Search {
        let end = self.next.saturating_add(SLICE).min(self.most);
        while self.next < end {
            let key = self.next.to_be_bytes();
            self.next += 1;
            if self.puzzle.result(&key, &self.s) >= self.puzzle.difficulty {
                self.found.push(key);
                if self.found.len() == KEYS {
                    return Search::Solved(PuzzleSolution(self.found.concat()));
                }
            }
        }
        match self.next < self.most {
            true => Search::Goes,
            false => Search::GivenUp,
        }
    }
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Solver({:?}, {} keys tried)", self.puzzle, self.next)
    }
}

/// RFC 8019 7.1.3: a solution has four keys.
const KEYS: usize = 4;
/// Keys tried in one slice: about two milliseconds.
const SLICE: u32 = 4096;
/// Zero bits offered where the responder leaves it to us.
const OWN_CHOICE: u8 = 14;
/// The hardest puzzle we take on: some seconds of work.
const MOST_BITS: u8 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(puzzle: Puzzle, s: &[u8]) -> PuzzleSolution {
        let mut solver = Solver::new(puzzle, s).unwrap();
        loop {
            match solver.work() {
                Search::Goes => {}
                Search::Solved(solution) => return solution,
                Search::GivenUp => panic!("given up"),
            }
        }
    }

    #[test]
    fn a_solution_has_as_many_zero_bits_as_asked() {
        for prf in Prf::ALL {
            let puzzle = Puzzle { prf, difficulty: 9 };
            let solution = solve(puzzle, b"a cookie");
            assert!(puzzle.bits(b"a cookie", &solution).unwrap() >= 9);
            // Of another cookie it is none.
            assert!(puzzle.bits(b"another", &solution).unwrap() < 9);
        }
    }

    /// Computed with Python's hmac and hashlib. (The examples of RFC 8019 4.4 cannot be used: with their cookie and keys
    /// HMAC-SHA-256 does not give the digits that are printed there.)
    #[test]
    fn counts_the_zero_bits_at_the_end_of_what_hmac_gives() {
        let cookie = hex("739ae7492d8a810cf5e8dc0f9626c9dda773c5a3");
        let puzzle = Puzzle {
            prf: Prf::HmacSha2_256,
            difficulty: 12,
        };
        for (key, zeros) in TABLE {
            assert_eq!(puzzle.result(&hex(key), &cookie), zeros, "{key}");
        }
        let keys: Vec<_> = TABLE.iter().flat_map(|(key, _)| hex(key)).collect();
        assert_eq!(puzzle.bits(&cookie, &PuzzleSolution(keys)), Some(12));
    }

    #[test]
    fn one_key_four_times_is_no_solution() {
        let puzzle = Puzzle {
            prf: Prf::HmacSha2_256,
            difficulty: 8,
        };
        let solution = solve(puzzle, b"a cookie");
        let first = solution.keys().next().unwrap().repeat(4);
        assert_eq!(puzzle.bits(b"a cookie", &PuzzleSolution(first)), None);
        assert_eq!(puzzle.bits(b"a cookie", &PuzzleSolution(vec![7; 4 * 33])), None);
    }

    #[test]
    fn refuses_more_work_than_it_is_worth() {
        let prf = Prf::HmacSha2_256;
        assert!(Solver::new(Puzzle { prf, difficulty: 21 }, b"s").is_none());
        assert!(Solver::new(Puzzle { prf, difficulty: 0 }, b"s").is_some());
    }

    fn hex(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    const TABLE: [(&str, u8); 4] = [
        ("000000df", 13),
        ("000028b7", 13),
        ("00002ed1", 12),
        ("0000340a", 12),
    ];
}
