//! The proof that the tunnel works: pings, files, what an eavesdropper saw, throughput.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::Arguments;
use super::screen::{Screen, Trouble};
use crate::testbed::{
    Answer, Cloud, Kind, Ping, Seen, Sniffer, TwoClouds, make_file, measure, ping, send_file,
};

pub(super) fn send_pings(screen: &Screen, clouds: &TwoClouds) -> Result<(), Trouble> {
    for (v6, name) in [(false, "IPv4"), (true, "IPv6")] {
        screen.step(&format!("20 pings from host to host, {name}"), || {
            let mut times = Vec::new();
            for _ in 0..20 {
                match ping_to(&clouds.aws, &clouds.azure, v6, Duration::from_secs(2))? {
                    Answer::Reply(time) => times.push(time),
                    other @ (Answer::TooBig { .. } | Answer::Unreachable { .. } | Answer::Silence) => {
                        return Err(Trouble::new(format!("ping {} of 20: {other:?}", times.len() + 1)));
                    }
                }
            }
            times.sort_unstable();
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
            Ok((
                (),
                format!(
                    "min {:.3} ms, median {:.3} ms",
                    milliseconds(times[0]),
                    milliseconds(times[10])
                ),
            ))
        })?;
    }
    Ok(())
}

pub(super) fn send_files(
    screen: &Screen,
    clouds: &TwoClouds,
    folder: &Path,
    wire: &Sniffer,
) -> Result<(), Trouble> {
    let file = folder.join("file");
    let digest = screen.step("make a file with a text that must stay secret", || {
        wire.look_for(SECRET);
        let digest = make_file(&file, FILE_SIZE, SECRET)?;
        Ok((digest, format!("64 MiB, SHA-256 {}...", hex(&digest[..6]))))
    })?;
    for (from, to) in [(&clouds.aws, &clouds.azure), (&clouds.azure, &clouds.aws)] {
        screen.step(
            &format!("send it from {} to {}", from.host.name(), to.host.name()),
            || {
                let transfer = send_file(&file, &from.host, &to.host, to.host4.into())?;
                if transfer.digest != Some(digest) {
                    return Err(Trouble::new(format!(
                        "another file arrived: {} octets, another hash",
                        transfer.bytes
                    )));
                }
                Ok(((), format!("same hash, {:.2} Gbit/s", transfer.gigabits())))
            },
        )?;
    }
    screen.step("send that text in a single datagram, too", || {
        let to = SocketAddr::new(clouds.azure.host4.into(), 7777);
        let listener = clouds.azure.host.run(|| UdpSocket::bind(to))??;
        listener.set_read_timeout(Some(Duration::from_secs(2)))?;
        clouds
            .aws
            .host
            .run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(SECRET, to))??;
        let mut received = [0; 256];
        let length = listener.recv(&mut received)?;
        if &received[..length] != SECRET {
            return Err(Trouble::new("something else arrived"));
        }
        Ok(((), "arrived".to_owned()))
    })
}

pub(super) fn judge(screen: &Screen, wire: &Sniffer) -> Result<(), Trouble> {
    screen.step("what an eavesdropper saw on the public wire", || {
        // Let the sniffer read what its socket still holds.
        std::thread::sleep(Duration::from_millis(300));
        let seen = wire.take();
        innocent(&seen)?;
        let (ike, esp) = (
            seen.count(&Kind::Ike),
            seen.count(&Kind::EspInUdp) + seen.count(&Kind::Esp),
        );
        if ike == 0 || esp == 0 {
            return Err(Trouble::new(format!("too little to judge: {ike} IKE, {esp} ESP")));
        }
        Ok((
            (),
            format!("{ike} IKE, {esp} ESP, nothing else; the text: not once"),
        ))
    })
}

/// Nothing but IKE and ESP, and no secret.
pub(super) fn innocent(seen: &Seen) -> Result<(), Trouble> {
    let strangers = seen.strangers();
    if !strangers.is_empty() {
        return Err(Trouble::new(format!(
            "on the public wire: {}",
            strangers.join(", ")
        )));
    }
    if seen.needles > 0 {
        return Err(Trouble::new(format!(
            "the secret text was on the public wire, {} times",
            seen.needles
        )));
    }
    Ok(())
}

pub(super) fn measure_throughput(
    screen: &Screen,
    arguments: &Arguments,
    clouds: &TwoClouds,
    wire: &Sniffer,
) -> Result<(), Trouble> {
    let time = Duration::from_secs(arguments.seconds);
    wire.relax(true);
    for (from, to) in [(&clouds.aws, &clouds.azure), (&clouds.azure, &clouds.aws)] {
        screen.step(
            &format!("throughput {} to {}", from.host.name(), to.host.name()),
            || {
                let transfer = measure(&from.host, &to.host, to.host4.into(), time)?;
                Ok(((), format!("{:.2} Gbit/s, one TCP stream", transfer.gigabits())))
            },
        )?;
    }
    wire.relax(false);
    Ok(())
}

pub(super) fn ping_to(from: &Cloud, to: &Cloud, v6: bool, patience: Duration) -> Result<Answer, Trouble> {
    Ok(from.host.run(|| {
        ping(Ping {
            patience,
            ..Ping::to(to.host_address(v6))
        })
    })??)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What must never be seen on the public wire.
const SECRET: &[u8] = b"xvpn demo: this text must never be seen on the public wire";
const FILE_SIZE: usize = 64 << 20;
