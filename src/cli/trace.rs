//! `xvpn trace`: exports the keys of all SAs for Wireshark.
//!
//! The files are the caller's: the daemon only tells, and knows no file. A folder with them is a configuration folder of
//! Wireshark, which tshark reads when `WIRESHARK_CONFIG_DIR` names it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::fcntl::OFlag;

use super::terminal::Style;
use super::{Exit, Global, complain, complain_of};
use crate::admin::client::{Client, ClientError, Keys};
use crate::admin::keys::KeyTable;
use crate::config;

/// Arguments of `xvpn trace`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder for Wireshark's tables (ikev2_decryption_table, esp_sa); made if it is not there
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Seconds until it ends by itself
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

pub(super) fn trace(global: &Global, arguments: &Arguments) -> Exit {
    let mut files = match Files::open(&arguments.keys) {
        Ok(files) => files,
        Err(trouble) => {
            complain(&trouble.message, trouble.remedy);
            return Exit::Failed;
        }
    };
    let asked = Client::connect(&config::state_dir(&global.config))
        .and_then(|client| client.export_keys(arguments.seconds));
    let (keys, seconds) = match asked {
        Ok(asked) => asked,
        Err(error) => return complain_of(&error),
    };
    announce(&arguments.keys, seconds);
    match write_all(keys, &mut files) {
        Ok(count) => {
            eprintln!(
                "the keys of {count} SAs were exported; delete {} when it is no longer needed",
                arguments.keys.display()
            );
            Exit::Success
        }
        Err(Ended::Daemon(error)) => complain_of(&error),
        Err(Ended::File(error)) => {
            complain(
                &format!("cannot write the keys: {error}"),
                "make room, and try again",
            );
            Exit::Failed
        }
    }
}

fn announce(folder: &Path, seconds: u32) {
    let style = Style::stderr();
    let folder = folder.display();
    eprintln!(
        "{}: the keys of every tunnel are written to {folder} for {seconds} s, or until Ctrl-C.",
        style.bad("EXPORTING KEYS")
    );
    eprintln!(
        "Whoever has them and a capture reads the traffic. The daemon's log and `xvpn status` say that it happens."
    );
    eprintln!(
        "To decrypt a capture: WIRESHARK_CONFIG_DIR={folder} tshark -r FILE.pcap (or wireshark -r FILE.pcap)"
    );
}

/// Why it ended before its time.
enum Ended {
    Daemon(ClientError),
    File(io::Error),
}

/// Writes keys as they come; how many came.
fn write_all(mut keys: Keys, files: &mut Files) -> Result<u64, Ended> {
    let mut count = 0;
    while let Some(row) = keys.next_row().map_err(Ended::Daemon)? {
        let file = match row.table {
            KeyTable::Ike => &mut files.ike,
            KeyTable::Esp => &mut files.esp,
        };
        // At once, and whole: whoever stops us loses none.
        file.write_all(row.row.expose().as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .map_err(Ended::File)?;
        count += 1;
    }
    Ok(count)
}

/// The two tables, open for rows to be added.
struct Files {
    ike: File,
    esp: File,
}

/// What is wrong with a place for keys.
#[derive(Debug)]
struct Trouble {
    message: String,
    remedy: &'static str,
}

impl Files {
    fn open(folder: &Path) -> Result<Self, Trouble> {
        let cannot = |error: io::Error| Trouble {
            message: format!("cannot make {}: {error}", folder.display()),
            remedy: "name a folder that this user may write to",
        };
        match DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => owned(folder)?,
            Err(error) => return Err(cannot(error)),
        }
        let files = Self {
            ike: secret(&folder.join(KeyTable::Ike.file()))?,
            esp: secret(&folder.join(KeyTable::Esp.file()))?,
        };
        preferences(folder).map_err(cannot)?;
        Ok(files)
    }
}

/// A folder that others may write to is no place for keys: they could put files of theirs under our names.
fn owned(folder: &Path) -> Result<(), Trouble> {
    let cannot = |error: io::Error| Trouble {
        message: format!("cannot look at {}: {error}", folder.display()),
        remedy: "name a folder",
    };
    let facts = fs::symlink_metadata(folder).map_err(cannot)?;
    let ours = facts.is_dir() && facts.uid() == nix::unistd::geteuid().as_raw() && facts.mode() & 0o022 == 0;
    ours.then_some(()).ok_or_else(|| Trouble {
        message: format!(
            "{} is no folder that only this user may write to",
            folder.display()
        ),
        remedy: "name a folder that is not there yet, or one of your own (chmod go-w)",
    })
}

/// Opens a file for keys to be added. It is ours alone, or nothing is written.
fn secret(path: &Path) -> Result<File, Trouble> {
    let cannot = |error: io::Error| Trouble {
        message: format!("cannot write {}: {error}", path.display()),
        remedy: "name a folder that this user may write to, without links in it",
    };
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(cannot)?;
    let facts = file.metadata().map_err(cannot)?;
    if !facts.is_file() || facts.uid() != nix::unistd::geteuid().as_raw() || facts.mode() & 0o077 != 0 {
        return Err(Trouble {
            message: format!(
                "{} is there already, and others than its owner may read it",
                path.display()
            ),
            remedy: "remove it, or let only its owner read it (chmod 600), and try again",
        });
    }
    Ok(file)
}

/// Without this preference Wireshark decrypts no ESP. Left alone if there are some already.
fn preferences(folder: &Path) -> io::Result<()> {
    let path = folder.join("preferences");
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => file.write_all(b"esp.enable_encryption_decode: TRUE\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xvpn-trace-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let folder = folder("made");
        Files::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        for file in ["ikev2_decryption_table", "esp_sa", "preferences"] {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
        // What was exported before stays.
        fs::write(folder.join("esp_sa"), "before\n").unwrap();
        Files::open(&folder).unwrap().esp.write_all(b"after\n").unwrap();
        assert_eq!(
            fs::read_to_string(folder.join("esp_sa")).unwrap(),
            "before\nafter\n"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = folder("readable");
        fs::create_dir(&folder).unwrap();
        let table = folder.join("esp_sa");
        fs::write(&table, "").unwrap();
        fs::set_permissions(&table, fs::Permissions::from_mode(0o644)).unwrap();
        let trouble = Files::open(&folder).err().unwrap();
        assert!(
            trouble.message.contains("others than its owner may read it"),
            "{trouble:?}"
        );
        fs::set_permissions(&table, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Files::open(&folder).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn links_and_folders_that_others_may_write_to_are_refused() {
        let folder = folder("links");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(folder.join("elsewhere"), folder.join("esp_sa")).unwrap();
        assert!(Files::open(&folder).is_err());
        assert!(!folder.join("elsewhere").exists());
        fs::remove_file(folder.join("esp_sa")).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let trouble = Files::open(&folder).err().unwrap();
        assert!(
            trouble.message.contains("only this user may write"),
            "{trouble:?}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
