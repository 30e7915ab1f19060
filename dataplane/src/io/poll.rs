//! Waiting: epoll(7), and an eventfd(2) that wakes the waiter from another thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::sys::{check, check_len, retry};

/// A set of descriptors to wait for, level-triggered.
///
/// Concurrency: owned by one thread.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

/// What was found at one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The caller's name for the descriptor.
    pub token: u64,
    /// There is something to read, or the descriptor failed and reading will say how.
    pub readable: bool,
}

/// Room for the answers of [`Poll::wait`], kept between calls.
pub struct Events {
    raw: Vec<libc::epoll_event>,
    filled: usize,
}

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel just returned this descriptor and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll })
    }

    /// Waits for `fd` to be readable from now on, under the name `token`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: INTEREST,
            u64: token,
        };
        self.control(libc::EPOLL_CTL_ADD, fd, &raw mut event)
    }

    /// Stops waiting for `fd`.
    ///
    /// Must be called before the last copy of a descriptor is closed only if other copies of it stay open.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut())
    }

    /// Waits until a descriptor is ready or the time has passed; `None` waits for ever.
    ///
    /// A signal ends the wait early with no events.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.filled = 0;
        let milliseconds = match timeout {
            None => -1,
            // Rounded up: waking a moment before the deadline would only spin.
            Some(time) => i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
        };
        let room = i32::try_from(events.raw.len()).unwrap_or(i32::MAX);
        // SAFETY: `raw` is writable for `room` entries for the whole call.
        let found = check(unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events.raw.as_mut_ptr(),
                room,
                milliseconds,
            )
        });
        match found {
            Ok(count) => events.filled = usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, event: *mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: `event` is null only for EPOLL_CTL_DEL, which ignores it; otherwise it points at a live event.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), event) }).map(drop)
    }
}

impl Events {
    /// Room for `capacity` descriptors per wait.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)],
            filled: 0,
        }
    }

    /// What the last wait found.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        // EPOLLERR and EPOLLHUP count as readable: the read that follows returns the error.
        self.raw.iter().take(self.filled).map(|event| Ready {
            token: event.u64,
            readable: event.events != 0,
        })
    }
}

/// Wakes a waiting thread: an eventfd that stays readable until it is [drained](Waker::drain).
///
/// Concurrency: cloned freely; any clone may wake, one waiter drains.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// A waker that nobody has used yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd(2) takes no pointer.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: the kernel just returned this descriptor and nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            event: Arc::new(event),
        })
    }

    /// Makes the descriptor readable. Cheap, never blocks.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // The only failure is EAGAIN at 2^64 - 2 unread wakes: readable all the same.
        let _ = retry(|| {
            // SAFETY: `one` is readable for its length for the whole call.
            check_len(unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), size_of::<u64>()) })
        });
    }

    /// Makes the descriptor unreadable until the next [`wake`](Self::wake). Drain first, then look for work.
    pub fn drain(&self) {
        let mut count = [0u8; 8];
        // The only failure is EAGAIN: nobody woke.
        let _ = retry(|| {
            // SAFETY: `count` is writable for its length for the whole call.
            check_len(unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) })
        });
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.event.as_raw_fd()
    }
}

// The constants are small positive bits.
#[allow(clippy::cast_sign_loss)]
const INTEREST: u32 = libc::EPOLLIN as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_from_another_thread_ends_the_wait_and_lasts_until_drained() {
        let poll = Poll::new().unwrap();
        let waker = Waker::new().unwrap();
        poll.add(waker.as_fd(), 7).unwrap();
        let mut events = Events::with_capacity(4);
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);

        let other = waker.clone();
        let thread = std::thread::spawn(move || other.wake());
        poll.wait(&mut events, None).unwrap();
        assert_eq!(
            events.iter().collect::<Vec<_>>(),
            [Ready {
                token: 7,
                readable: true
            }]
        );
        thread.join().unwrap();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 1);
        waker.drain();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn a_removed_descriptor_is_not_reported() {
        let poll = Poll::new().unwrap();
        let waker = Waker::new().unwrap();
        poll.add(waker.as_fd(), 1).unwrap();
        waker.wake();
        poll.remove(waker.as_fd()).unwrap();
        let mut events = Events::with_capacity(4);
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }
}
