//! What the machine says about itself and about processes: CPU time, memory, load.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::sys;

/// CPU time of some processes so far, user and system, in seconds. What the kernel does on their behalf is in it: the
/// softirq work that a packet causes on its way through the next interfaces is billed to whoever wrote the packet.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_of(*pid).unwrap_or_default()).sum()
}

fn cpu_of(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; proc_pid_stat(5) counts on from there.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / sys::ticks_per_second())
}

/// The most memory that was ever resident in these processes, in MiB.
pub(crate) fn peak_memory(pids: &[u32]) -> Option<f64> {
    let each = pids.iter().map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    let each: Option<Vec<f64>> = each.collect();
    each.filter(|all| !all.is_empty())
        .map(|all| all.iter().sum::<f64>() / 1024.0)
}

/// CPU seconds of the whole machine so far: busy, stolen by the hypervisor, and all there were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) busy: f64,
    pub(crate) stolen: f64,
    pub(crate) all: f64,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or_default() / sys::ticks_per_second();
        // user nice system idle iowait irq softirq steal
        let busy = at(0) + at(1) + at(2) + at(5) + at(6);
        Self {
            busy,
            stolen: at(7),
            all: busy + at(3) + at(4) + at(7),
        }
    }

    /// What happened since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy - before.busy,
            stolen: self.stolen - before.stolen,
            all: self.all - before.all,
        }
    }
}

/// The share of the machine's CPUs that others use while we do nothing, in percent.
pub(crate) fn foreign_load() -> f64 {
    let before = Machine::now();
    std::thread::sleep(Duration::from_millis(400));
    let passed = Machine::now().since(before);
    (passed.busy + passed.stolen) * 100.0 / passed.all.max(0.01)
}

/// 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// What the figures are valid for.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    pub(crate) memory_mib: u64,
}

impl Description {
    pub(crate) fn of_this_machine() -> Self {
        let find = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key).map(str::to_owned));
            line.unwrap_or_default()
                .trim_start_matches([' ', '\t', ':'])
                .trim()
                .to_owned()
        };
        let memory = find("/proc/meminfo", "MemTotal");
        Self {
            processor: find("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            memory_mib: memory
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or_default()
                / 1024,
        }
    }
}
