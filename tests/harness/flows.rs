//! Several TCP streams at once through one CHILD SA, out of two queues.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use xvpn::testbed::{Cloud, Gateway};

use super::runner::{Failure, Outcome, check};

/// All octets of so many streams arrive, and both queues have sealed. Whether the peer dropped a late packet on the way, which TCP
/// would make good, its log does not tell.
pub fn flow(from: &Cloud, to: &Cloud, count: u16, xvpn: &Gateway<'_>) -> Outcome {
    let address = SocketAddr::new(to.host_address(false), 7400);
    let listener = to.host.run(|| TcpListener::bind(address))??;
    let arrived = thread::scope(|scope| {
        let mut reading = Vec::new();
        for _ in 0..count {
            let mut sender = from.host.run(|| TcpStream::connect(address))??;
            let (mut receiver, _) = listener.accept()?;
            receiver.set_read_timeout(Some(Duration::from_secs(30)))?;
            scope.spawn(move || sender.write_all(&vec![0x5a; OCTETS]));
            reading.push(scope.spawn(move || {
                let mut all = Vec::new();
                receiver.read_to_end(&mut all).map(|_| all.len())
            }));
        }
        let counts = reading.into_iter().map(|thread| thread.join());
        counts
            .map(|count| Ok(count.map_err(|_| "a reader panicked")??))
            .collect::<Result<Vec<usize>, Failure>>()
    })?;
    check(
        arrived.iter().all(|octets| *octets == OCTETS),
        format!("{arrived:?}"),
    )?;
    let queues = xvpn.status()?.queue_stages;
    let sealed: Vec<u64> = queues
        .iter()
        .flat_map(|queue| queue.stages.iter().filter(|stage| stage.name == "seal"))
        .map(|stage| stage.packets)
        .collect();
    println!("  {count} streams; packets sealed by each queue: {sealed:?}");
    let steered = !xvpn.log().contains("may put packets out of order");
    check(
        !steered || (sealed.len() == 2 && sealed.iter().all(|packets| *packets > 100)),
        format!("one queue idles: {sealed:?}"),
    )
}

const OCTETS: usize = 1 << 20;
