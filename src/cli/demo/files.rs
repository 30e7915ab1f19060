//! The files of the demo: a folder that vanishes, two configurations, one key.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::testbed::TwoClouds;

/// A folder that only we may enter, removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("xvpn-demo-{}", std::process::id()));
        // A folder of this name that somebody else left there is not taken over.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays for whoever cleans the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The configuration of the aws side: it initiates, and sits behind an Elastic IP.
pub(super) fn aws(clouds: &TwoClouds) -> String {
    side(
        "aws",
        "azure",
        &clouds.azure.public4.to_string(),
        "manual",
        [1, 2],
    )
}

/// The configuration of the azure side: it waits.
pub(super) fn azure(clouds: &TwoClouds) -> String {
    side("azure", "aws", &clouds.aws.public4.to_string(), "listen", [2, 1])
}

fn side(own: &str, other: &str, address: &str, start: &str, [here, there]: [u8; 2]) -> String {
    format!(
        r#"# The {own} side of `xvpn demo`.
[gateway]
state_dir = "STATE_DIR"

[[tunnel]]
name   = "{other}"
local  = {{ id = "{own}.demo.example", networks = ["10.{here}.0.0/24", "fd00:{here}::/64"] }}
remote = {{ id = "{other}.demo.example", address = "{address}", networks = ["10.{there}.0.0/24", "fd00:{there}::/64"] }}
psk    = {{ file = "FOLDER/psk" }}
start  = "{start}"
"#
    )
}
