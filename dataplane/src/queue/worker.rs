//! The thread of a queue: wait, read, run to completion, send.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel};
use std::time::Instant;

use super::Queue;
use crate::api::TunnelId;
use crate::control::Shared;
use crate::io::poll::{Events, Poll, Waker};
use crate::io::timer::Timer;
use crate::io::tun::{Spread, Steering, TunPort, TunQueue};
use crate::io::wire::WirePort;

/// What control asks of a worker.
pub(super) enum Order {
    /// Read and write this queue of a tunnel's interface.
    Open(TunnelId, TunQueue),
    /// Close the queue of a tunnel's interface, then say so.
    Close(TunnelId, SyncSender<()>),
    /// Have the kernel spread the packets of a tunnel so.
    Steer(TunnelId, Steering, Spread),
    /// Send payloads of a place in the SPD of a tunnel at a constant rate: so many in a second.
    Pace(TunnelId, u32, u32),
    /// Close everything and return.
    Stop,
}

/// Control's line to a worker.
///
/// Concurrency: used by control only; the worker looks at it between batches.
#[derive(Clone)]
pub(super) struct Line {
    orders: Sender<Order>,
    waker: Waker,
}

impl Line {
    /// A line, and the worker's end of it.
    pub(super) fn new() -> io::Result<(Self, Receiver<Order>)> {
        let (sender, orders) = channel();
        Ok((
            Self {
                orders: sender,
                waker: Waker::new()?,
            },
            orders,
        ))
    }

    /// Gives an order. It is done after the batch in hand, and before any that comes later. A worker that is gone takes none.
    pub(super) fn order(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            self.waker.wake();
        }
    }
}

/// A worker, before its thread runs.
pub(super) struct Worker {
    shared: Arc<Shared>,
    queue: Queue<TunPort, WirePort>,
    orders: Receiver<Order>,
    waker: Waker,
    poll: Poll,
    timer: Timer,
}

impl Worker {
    /// A worker of this queue, and the line to it.
    pub(super) fn new(shared: Arc<Shared>, queue: Queue<TunPort, WirePort>) -> io::Result<(Self, Line)> {
        let (line, orders) = Line::new()?;
        let poll = Poll::new()?;
        poll.add(line.waker.as_fd(), Token::Orders.pack())?;
        let timer = Timer::new()?;
        poll.add(timer.as_fd(), Token::Timer.pack())?;
        for (socket, fd) in queue.wire.descriptors() {
            poll.add(fd, Token::Socket(socket).pack())?;
        }
        let waker = line.waker.clone();
        Ok((
            Self {
                shared,
                queue,
                orders,
                waker,
                poll,
                timer,
            },
            line,
        ))
    }

    /// Works until told to stop, or until waiting itself fails.
    ///
    /// On whichever CPU the scheduler chooses: kept on one, a busy queue would share it with whatever else the host does there
    /// (a network card's interrupts, another program) while other CPUs are idle.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.poll.wait(&mut events, None)?;
            let (mut ordered, mut due) = (false, false);
            for ready in events.iter() {
                match Token::unpack(ready.token) {
                    Token::Orders => ordered = true,
                    Token::Timer => due = true,
                    Token::Socket(socket) => self.queue.wire.mark_ready(socket),
                    Token::Tun(tunnel) => self.queue.tun.mark_ready(tunnel),
                }
            }
            // Orders first: what is to be opened was ordered before the packets for it came.
            if ordered && self.obey()? {
                return Ok(());
            }
            // Each descriptor that was ready gives one batch; then the others have their turn. What is left makes the next
            // wait return at once.
            while self.queue.turn(|| self.shared.tables.load())? > 0 {}
            if due {
                self.timer.drain();
                self.queue.on_time(Instant::now(), || self.shared.tables.load());
            }
            self.timer.arm(self.queue.deadline())?;
        }
    }

    /// Does what was ordered. True: to stop.
    fn obey(&mut self) -> io::Result<bool> {
        self.waker.drain();
        loop {
            match self.orders.try_recv() {
                Ok(Order::Open(tunnel, queue)) => {
                    self.queue.tun.insert(tunnel, queue);
                    if let Some(fd) = self.queue.tun.descriptor(tunnel) {
                        self.poll.add(fd, Token::Tun(tunnel).pack())?;
                    }
                }
                Ok(Order::Close(tunnel, done)) => {
                    // Closing takes it out of the poll, too: there is no other descriptor of it.
                    self.queue.tun.remove(tunnel);
                    // Nobody may be waiting any more.
                    let _ = done.try_send(());
                }
                // It was refused at the opening, too, and said so.
                Ok(Order::Steer(tunnel, steering, spread)) => {
                    let _ = self.queue.tun.steer(tunnel, &steering, spread);
                }
                Ok(Order::Pace(tunnel, order, per_second)) => {
                    self.queue.pace(tunnel, order, per_second, Instant::now());
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(true),
                Err(TryRecvError::Empty) => return Ok(false),
            }
        }
    }
}

/// What an epoll entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Orders,
    Timer,
    Socket(usize),
    Tun(TunnelId),
}

impl Token {
    fn pack(self) -> u64 {
        match self {
            Self::Orders => 0,
            Self::Timer => 3 << 32,
            Self::Socket(index) => 1 << 32 | u64::from(u32::try_from(index).unwrap_or(u32::MAX)),
            Self::Tun(tunnel) => 2 << 32 | u64::from(tunnel.0),
        }
    }

    fn unpack(token: u64) -> Self {
        // The mask leaves 32 bits.
        let low = u32::try_from(token & 0xffff_ffff).unwrap_or(0);
        match token >> 32 {
            1 => Self::Socket(usize::try_from(low).unwrap_or(usize::MAX)),
            2 => Self::Tun(TunnelId(low)),
            3 => Self::Timer,
            _ => Self::Orders,
        }
    }
}

/// Descriptors looked at per wait; more only wait for the next.
const EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_epoll() {
        for token in [
            Token::Orders,
            Token::Timer,
            Token::Socket(0),
            Token::Socket(9),
            Token::Tun(TunnelId(0)),
            Token::Tun(TunnelId(u32::MAX)),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
