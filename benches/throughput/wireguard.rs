//! WireGuard in user space: any program that is configured by the cross-platform interface, a UNIX socket per device.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use x25519_dalek::{PublicKey, StaticSecret};
use xvpn::testbed::{Daemon, wait_until};

use crate::bed::{Bed, Side};
use crate::contestant::{Outcome, run_in};

/// Starts it on both gateways, with new keys.
pub(crate) fn start(bed: &Bed, folder: &Path, program: &Path, arguments: &[&str]) -> Outcome<[Daemon; 2]> {
    let mut octets = [[0; 32]; 2];
    for key in &mut octets {
        getrandom::fill(key).map_err(|error| error.to_string())?;
    }
    let secrets = octets.map(StaticSecret::from);
    let publics = secrets.each_ref().map(PublicKey::from);
    let a = daemon(&bed.a, folder, program, arguments)?;
    let b = daemon(&bed.b, folder, program, arguments)?;
    configure(&bed.a, &bed.b, &secrets[0], &publics[1])?;
    configure(&bed.b, &bed.a, &secrets[1], &publics[0])?;
    Ok([a, b])
}

fn daemon(side: &Side, folder: &Path, program: &Path, arguments: &[&str]) -> Outcome<Daemon> {
    let device = device(side);
    let mut command = side.gateway.command(program);
    command.args(arguments).arg(&device).env("LOG_LEVEL", "error");
    let mut daemon = Daemon::start(side.name(), command, &folder.join(side.name()))?;
    let socket = socket(side);
    let ready = wait_until(Duration::from_secs(10), || {
        UnixStream::connect(&socket).is_ok() || !daemon.is_running()
    });
    if ready && daemon.is_running() {
        return Ok(daemon);
    }
    Err(format!("it takes no commands:\n{}", daemon.log_tail(10)).into())
}

fn configure(side: &Side, other: &Side, secret: &StaticSecret, peer: &PublicKey) -> Outcome {
    let request = format!(
        "set=1\nprivate_key={}\nlisten_port={PORT}\npublic_key={}\nendpoint={}:{PORT}\nallowed_ip={}\n\n",
        hexadecimal(&secret.to_bytes()),
        hexadecimal(peer.as_bytes()),
        other.public_address(),
        other.network(),
    );
    let mut stream = UnixStream::connect(socket(side))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    let mut octet = [0];
    while !answer.ends_with("\n\n") && stream.read(&mut octet)? == 1 {
        answer.push(char::from(octet[0]));
    }
    if !answer.contains("errno=0\n") {
        return Err(format!("it refuses its configuration: {answer:?}").into());
    }
    let device = device(side);
    run_in(&side.gateway, "ip", &["link", "set", &device, "mtu", MTU, "up"])?;
    let network = other.network().to_string();
    run_in(
        &side.gateway,
        "ip",
        &["route", "replace", &network, "dev", &device],
    )
}

/// Both gateways' programs keep their sockets in the same folder.
fn device(side: &Side) -> String {
    format!("wg{}", side.number)
}

fn socket(side: &Side) -> PathBuf {
    format!("/run/wireguard/{}.sock", device(side)).into()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        if write!(text, "{octet:02x}").is_err() {
            // Writing to a string does not fail.
        }
        text
    })
}

const PORT: u16 = 51820;
/// What WireGuard's own tools choose on a link of 1500.
const MTU: &str = "1420";
