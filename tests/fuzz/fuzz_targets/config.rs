//! A configuration file: any octets give a configuration or a report that can be rendered.
#![no_main]
use std::io::Write;
use libfuzzer_sys::fuzz_target;
use xvpn::config::{Purpose, load};

fuzz_target!(|text: &[u8]| {
    // Loading fetches secrets; a fuzzer must not find out how to write `psk = { command = ... }`, by escapes either.
    let forbidden = [&b"command"[..], b"\\u", b"\\U", b"\\x"];
    if text.len() > 8192 || forbidden.iter().any(|word| text.windows(word.len()).any(|at| at == *word)) {
        return;
    }
    let path = std::env::temp_dir().join(format!("xvpn-fuzz-{}.toml", std::process::id()));
    std::fs::File::create(&path).and_then(|mut file| file.write_all(text)).expect("temporary file");
    match load(&path, Purpose::Run) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0, "a configuration with errors was accepted");
            let _ = format!("{:?}", loaded.config);
        }
        Err(report) => {
            assert!(report.errors() > 0, "refused without an error");
            assert!(!report.render(false).is_empty());
        }
    }
});
