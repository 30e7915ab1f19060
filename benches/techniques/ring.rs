//! io_uring: a ring, a batch of requests, and the buffers that the kernel takes from for requests that last.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue, opcode, squeue};

/// A ring that does its work when its owner asks for it and at no other time.
pub(crate) fn ring() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(1024)
        .build(256)
}

/// A ring whose requests a thread of the kernel's takes without being told.
pub(crate) fn polled_ring() -> io::Result<IoUring> {
    IoUring::builder().setup_sqpoll(2).setup_cqsize(1024).build(256)
}

/// Does all of `requests`, at most 256, and returns the sum of what they return. One system call, or none with a polled ring.
pub(crate) fn all(ring: &mut IoUring, requests: impl Iterator<Item = squeue::Entry>) -> io::Result<usize> {
    let (mut count, mut sum, mut failure) = (0, 0, None);
    for request in requests {
        // SAFETY: the callers keep what a request points at until this function returns, which it does when all are done.
        unsafe { ring.submission().push(&request) }.map_err(io::Error::other)?;
        count += 1;
    }
    let polled = ring.params().is_setup_sqpoll();
    if polled {
        ring.submit()?;
    }
    while count > 0 {
        if !polled {
            ring.submit_and_wait(count)?;
        }
        for done in ring.completion() {
            match usize::try_from(done.result()) {
                Ok(result) => sum += result,
                Err(_) if done.result() == -libc::EAGAIN => {}
                Err(_) => failure = Some(io::Error::from_raw_os_error(-done.result())),
            }
            // A zero-copy send says twice that it is done: sent, and the octets are free again.
            count -= usize::from(!cqueue::more(done.flags()));
        }
        if polled {
            // With fewer cores than threads the kernel's would otherwise wait for the end of our time slice.
            std::thread::yield_now();
        }
    }
    failure.map_or(Ok(sum), Err)
}

/// Buffers of 64 KiB that the kernel chooses from.
pub(crate) struct Buffers {
    ring: *mut BufRingEntry,
    places: Vec<u8>,
    tail: u16,
}

impl Buffers {
    pub(crate) fn new(ring: &IoUring) -> io::Result<Self> {
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc_zeroed(LAYOUT) };
        if address.is_null() {
            handle_alloc_error(LAYOUT);
        }
        let mut buffers = Self {
            ring: address.cast(),
            places: vec![0; usize::from(COUNT) * PLACE],
            tail: 0,
        };
        // SAFETY: a page-aligned row of COUNT entries, which lives as long as this value; the ring is dropped before it.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address as u64, COUNT, 0, 0)
        }?;
        (0..COUNT).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    /// The kernel may use this one again.
    pub(crate) fn give_back(&mut self, id: u16) {
        let place = usize::from(id % COUNT) * PLACE;
        let address = self.places[place..].as_mut_ptr() as u64;
        // SAFETY: the index is below COUNT, and the kernel reads an entry only when the tail has passed it.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail % COUNT)) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(PLACE).unwrap_or(0));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, aligned for it, and is shared with the kernel only.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.ring.cast(), LAYOUT) };
    }
}

/// A request that is done again and again, into buffers of the kernel's choice.
pub(crate) struct Lasting {
    ring: IoUring,
    buffers: Buffers,
    request: squeue::Entry,
    armed: bool,
}

impl Lasting {
    pub(crate) fn new(request: squeue::Entry) -> io::Result<Self> {
        let ring = ring()?;
        Ok(Self {
            buffers: Buffers::new(&ring)?,
            ring,
            request: request.user_data(LASTING),
            armed: false,
        })
    }

    /// Takes what there is, after waiting for at least one: `each` is told how long it is.
    pub(crate) fn take(&mut self, mut each: impl FnMut(usize)) -> io::Result<()> {
        if !self.armed {
            // SAFETY: it points at nothing, or at a header that its maker keeps.
            unsafe { self.ring.submission().push(&self.request) }.map_err(io::Error::other)?;
            self.armed = true;
        }
        self.ring.submit_and_wait(1)?;
        for done in self.ring.completion() {
            self.armed &= cqueue::more(done.flags());
            match usize::try_from(done.result()) {
                Ok(len) => {
                    each(len);
                    if let Some(id) = cqueue::buffer_select(done.flags()) {
                        self.buffers.give_back(id);
                    }
                }
                // All buffers are in use: they are given back by now.
                Err(_) if done.result() == -libc::ENOBUFS => {}
                Err(_) => return Err(io::Error::from_raw_os_error(-done.result())),
            }
        }
        Ok(())
    }

    /// Ends the request, so that it does not take what is meant for others.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(LASTING).build().user_data(0);
        // SAFETY: it points at nothing.
        unsafe { self.ring.submission().push(&cancel) }.map_err(io::Error::other)?;
        let mut cancelled = false;
        while self.armed || !cancelled {
            self.ring.submit_and_wait(1)?;
            for done in self.ring.completion() {
                match done.user_data() {
                    LASTING => self.armed &= cqueue::more(done.flags()),
                    _ => cancelled = true,
                }
                if let Some(id) = cqueue::buffer_select(done.flags()) {
                    self.buffers.give_back(id);
                }
            }
        }
        Ok(())
    }
}

const LASTING: u64 = 7;
const COUNT: u16 = 64;
const PLACE: usize = 1 << 16;
const LAYOUT: Layout = match Layout::from_size_align(COUNT as usize * size_of::<BufRingEntry>(), 4096) {
    Ok(layout) => layout,
    Err(_) => panic!("the size is below a page"),
};
