//! The few places for clients of the metrics, and who leaves for whom when all are taken.
//!
//! Whoever says nothing, or not all, or does not take what it asked for, keeps its place only until another wants it: a few clients
//! that hold places for the sake of holding them cost a Prometheus server a fraction of a second, and not its scrape. A flood of connections
//! does: the page is for an address that only friends reach.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Who is there.
///
/// Concurrency: shared by the task that accepts and those of all clients; the lock is never held across a wait.
#[derive(Debug, Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    guests: Arc<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    here: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    task: AbortHandle,
    since: Instant,
    asked: bool,
}

/// A place that is taken.
#[derive(Debug)]
pub(super) struct Stay {
    room: Room,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            guests: Arc::default(),
        }
    }

    /// A place, for which somebody may have to leave.
    pub(super) async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            // Nobody else waits here, so a guest that was sent away has left its place to us. The semaphore is never closed.
            let wait = match self.places.available_permits() {
                0 => self.send_one_away(),
                _ => FOREVER,
            };
            if let Ok(Ok(place)) = timeout(wait, Arc::clone(&self.places).acquire_owned()).await {
                return place;
            }
        }
    }

    /// Lets a client in, as a task of the current runtime.
    pub(super) fn admit<F: Future<Output = ()> + Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        attend: impl FnOnce(Stay) -> F,
    ) {
        // Held until the guest is entered: it cannot have left before.
        let mut guests = self.guests();
        let number = guests.next;
        guests.next = number.wrapping_add(1);
        let room = self.clone();
        let stay = Stay {
            room,
            number,
            _place: place,
        };
        let guest = Guest {
            task: tokio::spawn(attend(stay)).abort_handle(),
            since: Instant::now(),
            asked: false,
        };
        guests.here.insert(number, guest);
    }

    /// Sends the guest away that has had its time: of those that have not asked the one that is here longest, else of those that have.
    /// How long its place, or another's time, is worth waiting for.
    fn send_one_away(&self) -> Duration {
        let mut guests = self.guests();
        let left = |guest: &Guest| guest.time().saturating_sub(guest.since.elapsed());
        let leaves = guests
            .here
            .iter()
            .filter(|(_, guest)| left(guest).is_zero())
            .min_by_key(|(_, guest)| (guest.asked, guest.since))
            .map(|(number, _)| *number);
        match leaves.and_then(|number| guests.here.remove(&number)) {
            Some(guest) => {
                guest.task.abort();
                FOREVER
            }
            None => guests.here.values().map(left).min().unwrap_or(FOREVER),
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// For so long it is left alone whoever waits.
    fn time(&self) -> Duration {
        if self.asked { TO_TAKE } else { TO_ASK }
    }
}

impl Stay {
    /// All of the request is there.
    pub(super) fn has_asked(&self) {
        if let Some(guest) = self.room.guests().here.get_mut(&self.number) {
            guest.asked = true;
            guest.since = Instant::now();
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.room.guests().here.remove(&self.number);
    }
}

/// For a request: it comes right behind the connection, and with all places taken by the silent the next client waits for so long.
const TO_ASK: Duration = Duration::from_millis(100);
/// For taking the page.
const TO_TAKE: Duration = Duration::from_secs(1);
/// A place becomes free before.
const FOREVER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test);
    }

    /// A client that stays until it is sent away, which the receiver then sees.
    async fn lingers(room: &Room, asks: bool) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        let place = room.place().await;
        room.admit(place, move |stay| async move {
            if asks {
                stay.has_asked();
            }
            std::future::pending::<()>().await;
            drop((stay, sender));
        });
        tokio::task::yield_now().await;
        receiver
    }

    #[test]
    fn the_silent_leave_for_the_next_the_oldest_first_and_before_those_who_asked() {
        run(async {
            let room = Room::new(3);
            let mut asked = lingers(&room, true).await;
            let mut old = lingers(&room, false).await;
            let mut young = lingers(&room, false).await;
            let begin = Instant::now();
            let mut next = lingers(&room, true).await;
            assert!(begin.elapsed() < TO_TAKE, "{:?}", begin.elapsed());
            assert!(old.recv().await.is_none());
            assert!(asked.try_recv() == Err(mpsc::error::TryRecvError::Empty));
            assert!(young.try_recv() == Err(mpsc::error::TryRecvError::Empty));
            drop(lingers(&room, true).await);
            assert!(young.recv().await.is_none());
            // Now all have asked: who does not take its page goes, too, and there are never more than three.
            drop(lingers(&room, true).await);
            assert!(asked.recv().await.is_none());
            assert!(next.try_recv() == Err(mpsc::error::TryRecvError::Empty));
            assert_eq!(room.guests().here.len(), 3);
        });
    }

    #[test]
    fn whoever_has_just_come_is_left_the_time_to_ask() {
        run(async {
            let room = Room::new(2);
            let begin = Instant::now();
            for _ in 0..6 {
                drop(lingers(&room, false).await);
            }
            // Two found a place, and four had to wait for it, two at a time.
            assert!(begin.elapsed() >= 2 * TO_ASK, "{:?}", begin.elapsed());
        });
    }

    #[test]
    fn a_client_that_ends_leaves_its_place() {
        run(async {
            let room = Room::new(1);
            for _ in 0..3 {
                let place = room.place().await;
                room.admit(place, |stay| async move { drop(stay) });
            }
            drop(room.place().await);
            assert!(room.guests().here.is_empty());
        });
    }
}
