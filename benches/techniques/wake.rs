//! Waiting: a message goes to an echo on the other core and back, by UDP or through a TUN. Who asks never sleeps, so that one
//! wake-up is in a round trip: the echo's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use xvpn_dataplane::io::poll::{Events, Poll};

use crate::bed::{self, Bed};
use crate::measure::{Meter, Variant, compare};
use crate::ring::ring;
use crate::sys;

/// How the echo learns that there is something to read.
#[derive(Clone, Copy)]
enum Wait {
    Epoll,
    Block,
    /// Looks for so long after the last message, then waits by epoll.
    Spin(Duration),
    /// SO_BUSY_POLL for so many microseconds.
    BusyPoll(i32),
    Ring,
}

pub(crate) fn run(bed: &Bed, rounds: usize) -> io::Result<()> {
    for (through_tun, name) in [(false, "UDP"), (true, "the TUN")] {
        for gap in [0, 50, 1000].map(Duration::from_micros) {
            let title = format!(
                "round trip through {name}, {} us between; CPU of the echo, with its looking",
                gap.as_micros()
            );
            let new = |name, wait| {
                Variant::new(name, move |meter: &mut Meter| {
                    echo(bed, through_tun, gap, wait, meter)
                })
            };
            let spin = |microseconds| Wait::Spin(Duration::from_micros(microseconds));
            let mut variants = vec![
                new("epoll_wait, read (as it is)", Wait::Epoll),
                new("the same again", Wait::Epoll),
                new("a read that blocks", Wait::Block),
                new("io_uring, wait for a poll request", Wait::Ring),
                new("spin 20 us after the last, then epoll_wait", spin(20)),
                new("spin 100 us after the last, then epoll_wait", spin(100)),
                new("spin for ever", spin(1_000_000_000)),
            ];
            if !through_tun {
                variants.push(new("SO_BUSY_POLL 50 us, a read that blocks", Wait::BusyPoll(50)));
            }
            compare(&title, variants, rounds);
        }
    }
    Ok(())
}

fn echo(bed: &Bed, through_tun: bool, gap: Duration, wait: Wait, meter: &mut Meter) -> io::Result<()> {
    let any = SocketAddrV4::new([0, 0, 0, 0].into(), 0);
    let client = bed.gateway.run(|| bed::bind(any))??;
    let file = if through_tun {
        client.connect(SocketAddrV4::new(bed::ECHO_NETWORK, bed::PORT))?;
        File::from(bed.echo_tun.try_clone()?)
    } else {
        let server = bed.peer.run(|| bed::bind(SocketAddrV4::new(bed::PEER, 0)))??;
        client.connect(server.local_addr()?)?;
        // The client's address is known when it has sent.
        client.send(&[0; 8])?;
        server.set_nonblocking(false)?;
        let (_, from) = server.recv_from(&mut [0; 8])?;
        server.connect(from)?;
        File::from(OwnedFd::from(server))
    };
    sys::set_nonblocking(file.as_fd(), !matches!(wait, Wait::Block | Wait::BusyPoll(_)))?;
    thread::scope(|scope| {
        let echoing = scope.spawn(|| {
            sys::pin(1);
            answer(&file, through_tun, wait)
        });
        // Until the echo has gone to sleep for the first time.
        thread::sleep(Duration::from_millis(2));
        sys::pin(0);
        let trips = ask(&client, gap);
        let stopped = client.send(&STOP).map(drop);
        let cpu = echoing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut trips = trips?;
        trips.sort();
        stopped?;
        let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
        let count = u32::try_from(trips.len()).unwrap_or(1);
        meter.set(median, cpu / count, 1);
        Ok(())
    })
}

fn ask(client: &UdpSocket, gap: Duration) -> io::Result<Vec<Duration>> {
    let mut trips = Vec::with_capacity(TRIPS);
    let mut room = [0; 256];
    for _ in 0..TRIPS {
        let begin = Instant::now();
        client.send(&[1; 64])?;
        while let Err(error) = client.recv(&mut room) {
            let late = begin.elapsed() > Duration::from_secs(1);
            if error.kind() != io::ErrorKind::WouldBlock || late {
                return Err(error);
            }
        }
        trips.push(begin.elapsed());
        let next = Instant::now() + gap;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    Ok(trips)
}

/// Answers until told to stop. CPU time that it took.
fn answer(mut file: &File, through_tun: bool, wait: Wait) -> io::Result<Duration> {
    let began = sys::thread_time();
    let mut waiting = Waiting::new(file.as_fd(), wait)?;
    let mut room = [0; 2048];
    let headers = if through_tun { 28 } else { 0 };
    loop {
        let packet = match file.read(&mut room) {
            Ok(len) => &mut room[..len],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waiting.wait()?;
                continue;
            }
            Err(error) => return Err(error),
        };
        waiting.last = Instant::now();
        if packet.get(headers..) == Some(&STOP) {
            return Ok(sys::thread_time() - began);
        }
        if through_tun {
            if packet.len() != 28 + 64 || packet[0] != 0x45 {
                continue;
            }
            // Back to the sender; the sums stay what they are.
            let (source, destination) = packet[12..20].split_at_mut(4);
            source.swap_with_slice(destination);
            let (from, to) = packet[20..24].split_at_mut(2);
            from.swap_with_slice(to);
        }
        file.write_all(packet)?;
    }
}

struct Waiting {
    poll: Poll,
    events: Events,
    ring: Option<io_uring::IoUring>,
    fd: i32,
    spin: Duration,
    last: Instant,
}

impl Waiting {
    fn new(fd: BorrowedFd<'_>, wait: Wait) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(fd, 0)?;
        let (mut spin, mut made) = (Duration::ZERO, None);
        match wait {
            Wait::Epoll | Wait::Block => {}
            Wait::Spin(time) => spin = time,
            Wait::BusyPoll(time) => sys::set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, time)?,
            Wait::Ring => made = Some(ring()?),
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(4),
            ring: made,
            fd: std::os::fd::AsRawFd::as_raw_fd(&fd),
            spin,
            last: Instant::now(),
        })
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.last.elapsed() < self.spin {
            return Ok(());
        }
        match &mut self.ring {
            None => self.poll.wait(&mut self.events, None),
            Some(ring) => {
                let readable = u32::try_from(libc::POLLIN).unwrap_or(1);
                let request = opcode::PollAdd::new(types::Fd(self.fd), readable).build();
                crate::ring::all(ring, std::iter::once(request)).map(drop)
            }
        }
    }
}

const TRIPS: usize = 300;
const STOP: [u8; 5] = *b"stop!";
