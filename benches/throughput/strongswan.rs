//! strongSwan with ESP in user space (kernel-libipsec), in a Debian root made by `setup.sh`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xvpn::testbed::{Daemon, set_mtu, wait_until};

use crate::bed::{Bed, Side};
use crate::contestant::{Outcome, said};

/// Starts it on both gateways, with one tunnel between them.
pub(crate) fn start(bed: &Bed, folder: &Path, root: &Path) -> Outcome<[Daemon; 2]> {
    if !MOUNTED.swap(true, Ordering::Relaxed) {
        for path in ["/proc", "/dev", "/sys", "/run"] {
            said(
                Command::new("mount")
                    .arg("--rbind")
                    .arg(path)
                    .arg(root.join(&path[1..])),
            )?;
        }
    }
    let a = daemon(&bed.a, &bed.b, folder, root)?;
    let b = daemon(&bed.b, &bed.a, folder, root)?;
    for side in [&bed.a, &bed.b] {
        swanctl(side, folder, root, &["--load-all"])?;
    }
    swanctl(
        &bed.a,
        folder,
        root,
        &["--initiate", "--child", "net", "--timeout", "10"],
    )?;
    Ok([a, b])
}

fn daemon(side: &Side, other: &Side, folder: &Path, root: &Path) -> Outcome<Daemon> {
    let own = folder.join(side.name());
    for part in PARTS {
        fs::create_dir_all(own.join(part))?;
    }
    let vici = own.join("vici");
    let settings = SETTINGS.replace("@SOCKET@", &format!("unix://{}", vici.display()));
    fs::write(own.join("strongswan.conf"), settings)?;
    let connection = CONNECTION
        .replace("@OWN@", side.name())
        .replace("@PEER@", other.name())
        .replace("@OWN_ADDRESS@", &side.public_address().to_string())
        .replace("@PEER_ADDRESS@", &other.public_address().to_string())
        .replace("@OWN_NETWORK@", &side.network().to_string())
        .replace("@PEER_NETWORK@", &other.network().to_string());
    fs::write(own.join("swanctl.conf"), connection)?;
    let command = in_root(side, folder, root, "charon-systemd");
    let mut daemon = Daemon::start(side.name(), command, &own.join("log"))?;
    let up = wait_until(Duration::from_secs(20), || vici.exists() || !daemon.is_running());
    if !up || !vici.exists() {
        return Err(format!("it does not start:\n{}", daemon.log_tail(10)).into());
    }
    // kernel-libipsec does not lower the MTU of its interface by what ESP in UDP takes.
    side.gateway.run(|| set_mtu("ipsec0", 1400))??;
    Ok(daemon)
}

fn swanctl(side: &Side, folder: &Path, root: &Path, arguments: &[&str]) -> Outcome {
    let mut command = in_root(side, folder, root, "swanctl");
    let socket = format!("unix://{}", folder.join(side.name()).join("vici").display());
    said(command.args(arguments).arg("--uri").arg(socket)).map(drop)
}

fn in_root(side: &Side, folder: &Path, root: &Path, program: &str) -> Command {
    let own = folder.join(side.name());
    let mut command = side.gateway.command("chroot");
    command.arg(root).arg(program);
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("STRONGSWAN_CONF", own.join("strongswan.conf"))
        .env("SWANCTL_DIR", own);
    command
}

/// Whether the root sees what the machine has. The mounts vanish with this process.
static MOUNTED: AtomicBool = AtomicBool::new(false);

/// kernel-libipsec stands before kernel-netlink, so that it gets the SAs; the plugin that is named first does AES-GCM.
const SETTINGS: &str = r"charon-systemd {
    load_modular = no
    load = random nonce aesni openssl pem pkcs1 pkcs8 x509 pubkey revocation constraints kdf hmac sha1 sha2 gcm aes curve25519 kernel-libipsec kernel-netlink socket-default vici
    install_virtual_ip = no
    plugins {
        vici { socket = @SOCKET@ }
        socket-default { use_ipv6 = no }
        kernel-libipsec { raw_esp = no }
    }
    filelog { stderr { default = 1 flush_line = yes } }
}
";

const CONNECTION: &str = r"connections {
    site {
        version = 2
        local_addrs = @OWN_ADDRESS@
        remote_addrs = @PEER_ADDRESS@
        proposals = aes256gcm16-prfsha256-x25519
        encap = yes
        mobike = no
        local { id = @OWN@.example
                auth = psk }
        remote { id = @PEER@.example
                 auth = psk }
        children {
            net {
                local_ts = @OWN_NETWORK@
                remote_ts = @PEER_NETWORK@
                esp_proposals = aes256gcm16
                rekey_time = 0
                replay_window = 64
            }
        }
    }
}
secrets {
    ike-site {
        id-1 = @OWN@.example
        id-2 = @PEER@.example
        secret = 'of no use outside this bed'
    }
}
";

/// Folders that swanctl looks into, and complains about if they are not there.
const PARTS: [&str; 12] = [
    "bliss", "ecdsa", "pkcs12", "pkcs8", "private", "pubkey", "rsa", "x509", "x509aa", "x509ac", "x509ca",
    "x509crl",
];
