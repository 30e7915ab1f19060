//! Which core a queue thread runs on.

use crate::io::sys;

/// Keeps the calling thread on the core of its queue: the `queue`-th of those this process may use.
///
/// Best effort: with fewer cores than queues, or where it is not permitted, the scheduler decides. Returns whether it took.
pub fn pin(queue: usize) -> bool {
    sys::pin_thread(queue).is_ok()
}
