//! A time to wait for beside descriptors: timerfd_create(2). epoll(7) itself counts in milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Instant;

use super::sys::{check, check_len, retry};

/// Readable from the time it was armed for until it is armed anew.
///
/// Concurrency: owned by one thread.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
    armed: Option<Instant>,
}

impl Timer {
    /// A timer that waits for nothing.
    pub fn new() -> io::Result<Self> {
        // SAFETY: timerfd_create(2) takes no pointer.
        let fd = check(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
        })?;
        // SAFETY: the kernel just returned this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, armed: None })
    }

    /// Waits for this time, or for none. No system call if it did already.
    pub fn arm(&mut self, at: Option<Instant>) -> io::Result<()> {
        if self.armed == at {
            return Ok(());
        }
        let wait = at.map(|at| at.saturating_duration_since(Instant::now()));
        let value = libc::timespec {
            tv_sec: wait.map_or(0, |wait| wait.as_secs().try_into().unwrap_or(libc::time_t::MAX)),
            // 0 would stop it: what is due already is due in a nanosecond.
            tv_nsec: wait.map_or(0, |wait| i64::from(wait.subsec_nanos()).max(1)),
        };
        let interval = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = libc::itimerspec {
            it_interval: interval,
            it_value: value,
        };
        // SAFETY: `setting` is readable for the whole call; the old setting is not asked for.
        check(unsafe {
            libc::timerfd_settime(self.fd.as_raw_fd(), 0, &raw const setting, std::ptr::null_mut())
        })?;
        self.armed = at;
        Ok(())
    }

    /// Takes note that the time has come; it waits for nothing then.
    pub fn drain(&mut self) {
        self.armed = None;
        let mut count = [0u8; 8];
        // The only failure is EAGAIN: the time has not come.
        let _ = retry(|| {
            // SAFETY: `count` is writable for its length for the whole call.
            check_len(unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) })
        });
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::poll::{Events, Poll};

    #[test]
    fn is_readable_when_its_time_has_come_and_not_before() {
        let (poll, mut timer) = (Poll::new().unwrap(), Timer::new().unwrap());
        poll.add(timer.as_fd(), 3).unwrap();
        let mut events = Events::with_capacity(1);
        let at = Instant::now() + Duration::from_millis(5);
        timer.arm(Some(at)).unwrap();
        poll.wait(&mut events, None).unwrap();
        assert!(Instant::now() >= at);
        assert_eq!(events.iter().count(), 1);
        timer.drain();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
        timer.arm(Some(at)).unwrap();
        poll.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert_eq!(events.iter().count(), 1, "what is due already is due at once");
        timer.arm(None).unwrap();
        poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }
}
