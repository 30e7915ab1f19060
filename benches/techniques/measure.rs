//! Variants of one stage, measured in turns, and their table.

use std::io;
use std::time::{Duration, Instant};

use crate::sys;

/// What one round of one variant took: wall clock and CPU of the whole process, and for how many packets.
#[derive(Default)]
pub(crate) struct Meter {
    wall: Duration,
    cpu: Duration,
    packets: usize,
    began: Option<(Instant, Duration)>,
}

impl Meter {
    pub(crate) fn begin(&mut self) {
        self.began = Some((Instant::now(), sys::process_time()));
    }

    pub(crate) fn end(&mut self, packets: usize) {
        if let Some((wall, cpu)) = self.began.take() {
            self.cpu += sys::process_time().saturating_sub(cpu);
            self.wall += wall.elapsed();
            self.packets += packets;
        }
    }

    /// For what measures itself.
    pub(crate) fn set(&mut self, wall: Duration, cpu: Duration, packets: usize) {
        (self.wall, self.cpu, self.packets) = (wall, cpu, packets);
    }

    fn figures(&self) -> [f64; 2] {
        [self.wall, self.cpu].map(|time| time.as_secs_f64() * 1e9 / self.packets.max(1) as f64)
    }
}

/// One round of a variant.
pub(crate) type Run<'a> = Box<dyn FnMut(&mut Meter) -> io::Result<()> + 'a>;

/// One way to do what the others of its table do, too.
pub(crate) struct Variant<'a> {
    name: &'static str,
    run: Run<'a>,
    rounds: Vec<[f64; 2]>,
    failure: Option<io::Error>,
}

impl<'a> Variant<'a> {
    pub(crate) fn new(name: &'static str, run: impl FnMut(&mut Meter) -> io::Result<()> + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
            rounds: Vec::new(),
            failure: None,
        }
    }
}

/// Runs all variants `rounds` times in turns, each round beginning with another, and prints the medians. The first is what
/// the others are compared with. What the first two, which are the same, differ by is noise.
pub(crate) fn compare(title: &str, mut variants: Vec<Variant<'_>>, rounds: usize) {
    // The first round warms caches, neighbours and allocators.
    for round in 0..=rounds {
        let count = variants.len();
        for index in 0..count {
            let variant = &mut variants[(index + round) % count];
            if variant.failure.is_some() {
                continue;
            }
            let mut meter = Meter::default();
            match (variant.run)(&mut meter) {
                Ok(()) if round > 0 => variant.rounds.push(meter.figures()),
                Ok(()) => {}
                Err(error) => variant.failure = Some(error),
            }
        }
    }
    println!("\n| {title} | wall, ns | CPU, ns | of the first | rounds differ by |");
    println!("|---|---|---|---|---|");
    let first = variants.first().map_or(0.0, |first| median(&first.rounds, 1));
    for variant in &variants {
        match &variant.failure {
            Some(error) => println!("| {} | not here: {error} | | | |", variant.name),
            None => {
                let (wall, cpu) = (median(&variant.rounds, 0), median(&variant.rounds, 1));
                println!(
                    "| {} | {wall:.0} | {cpu:.0} | {:.2} | {:.0} % |",
                    variant.name,
                    cpu / first.max(1e-9),
                    spread(&variant.rounds)
                );
            }
        }
    }
}

fn column(rounds: &[[f64; 2]], which: usize) -> Vec<f64> {
    let mut column: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
    column.sort_by(f64::total_cmp);
    column
}

fn median(rounds: &[[f64; 2]], which: usize) -> f64 {
    let column = column(rounds, which);
    column.get(column.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Between the quartiles of the CPU time, in percent of the median: one round that somebody disturbed says nothing.
fn spread(rounds: &[[f64; 2]]) -> f64 {
    let column = column(rounds, 1);
    let at = |quarter: usize| column.get(column.len() * quarter / 4).copied();
    match (at(1), at(3)) {
        (Some(low), Some(high)) => (high - low) * 100.0 / median(rounds, 1).max(1e-9),
        _ => f64::NAN,
    }
}
