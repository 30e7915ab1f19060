//! What a tunnel does not say, its preset says.

use super::super::raw::RawTunnel;

/// Takes each key from the preset that the operator did not write, and returns their names.
pub(super) fn fill(tunnel: &mut RawTunnel, mut preset: RawTunnel) -> Vec<&'static str> {
    if tunnel.keys.iter().any(|key| key == "path_mtu") {
        // Whoever knows the path wants the interface to follow it.
        preset.mtu = None;
    }
    let mut taken = Vec::new();
    macro_rules! take {
        ($($key:ident)*) => {$(
            let name = stringify!($key);
            // One that is written and cannot be read was reported; to replace it would hide what it was meant to be.
            if !tunnel.keys.iter().any(|key| key == name) && preset.$key.is_some() {
                tunnel.$key = preset.$key;
                taken.push(name);
            }
        )*};
    }
    take! {
        ike_proposals esp_proposals rekey_probe child_lifetime child_bytes ike_lifetime liveness esn peer_replay_window mobike path_mtu mtu
    }
    taken
}
