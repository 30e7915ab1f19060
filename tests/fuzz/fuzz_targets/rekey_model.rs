//! Two endpoints and everything that can befall them (`xvpn_ike::testing::Model`), driven by arbitrary bytes: the first
//! chooses the kind of connection, then three octets are an operation, its argument, and how long nothing follows. What
//! must never happen is checked after every message; at the end both must agree, and leave nothing behind.
#![no_main]
use std::time::Duration;
use libfuzzer_sys::fuzz_target;
use xvpn_ike::testing::{Model, Operation};

fuzz_target!(|script: &[u8]| {
    let [first, second, operations @ ..] = script else { return };
    if operations.len() > 3 * MOST_OPERATIONS {
        return;
    }
    let seed = u64::from(u16::from_le_bytes([*first, *second]));
    let outcome = play(seed, operations);
    if let Err(what) = outcome {
        panic!("{what}");
    }
});

fn play(seed: u64, operations: &[u8]) -> Result<(), String> {
    let mut model = Model::new(seed)?;
    for operation in operations.chunks_exact(3) {
        let wait = Duration::from_millis(1 << (operation[2] % 13));
        model.apply(Operation::decode(operation[0], operation[1]), wait)?;
    }
    model.settle()
}

const MOST_OPERATIONS: usize = 40;
