//! `xvpn unit`: the systemd unit, so that an installed binary is all that a machine needs.

use super::Exit;

const UNIT: &str = include_str!("../../deploy/systemd/xvpn.service");

/// Prints deploy/systemd/xvpn.service.
pub(super) fn unit() -> Exit {
    print!("{UNIT}");
    Exit::Success
}
