//! One line of the control socket: a request or a refusal that names what is wrong.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Err(refusal) = xvpn::admin::server::parse(line) {
        assert!(!refusal.message.is_empty() && !refusal.remedy.is_empty(), "a refusal without words");
    }
});
