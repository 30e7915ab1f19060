//! The arrows of ARCHITECTURE.md, kept by machine: who may mention whom. Comments and tests' modules count too;
//! what cannot even be named cannot be leaned on.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every line of code below a folder, comments left out, with its place.
fn lines(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let place = path.strip_prefix(root).unwrap().to_owned();
            found.extend(code.map(|line| (place.clone(), line.to_owned())));
        }
    }
    assert!(!found.is_empty(), "{folder} is empty or gone: correct this test");
    found
}

/// No code below `folder` mentions any of these words, except in the files named.
fn never(folder: &str, words: &[&str], except: &[&str]) {
    let hits: Vec<String> = lines(folder)
        .into_iter()
        .filter(|(place, line)| {
            !except.iter().any(|prefix| place.starts_with(prefix))
                && words.iter().any(|word| mentions(line, word))
        })
        .map(|(place, line)| format!("{}: {}", place.display(), line.trim()))
        .collect();
    assert!(
        hits.is_empty(),
        "{folder} must not mention {words:?}:\n{}",
        hits.join("\n")
    );
}

/// Is it there as a word or a path of its own?
fn mentions(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[test]
fn the_protocol_knows_no_dataplane_no_clock_no_socket_and_no_thread() {
    let effects = [
        "xvpn_dataplane",
        "xvpn::",
        "tokio",
        "UdpSocket",
        "TcpStream",
        "SystemTime",
        "std::thread",
        "std::fs",
        "libc",
    ];
    never("ike/src", &effects, &[]);
    // Tests and simulations need one true instant to count from.
    never(
        "ike/src",
        &["Instant::now"],
        &["ike/src/testing", "ike/src/sa/window.rs"],
    );
}

#[test]
fn the_dataplane_knows_no_ike_and_no_runtime() {
    never("dataplane/src", &["xvpn_ike", "xvpn::", "tokio", "tracing"], &[]);
}

#[test]
fn wire_and_crypto_lean_on_nothing_above_them() {
    let above = [
        "crate::endpoint",
        "crate::connection",
        "crate::state",
        "crate::exchange",
        "crate::sa",
        "crate::message",
        "crate::auth",
    ];
    never("ike/src/wire", &above, &[]);
    never("ike/src/crypto", &above, &[]);
    never(
        "ike/src/sa",
        &["crate::exchange", "crate::connection", "crate::endpoint"],
        &[],
    );
    never(
        "ike/src/message",
        &[
            "crate::exchange",
            "crate::connection",
            "crate::endpoint",
            "crate::sa",
        ],
        &[],
    );
}

#[test]
fn io_and_the_security_associations_do_not_know_each_other() {
    never(
        "dataplane/src/io",
        &[
            "crate::sa",
            "crate::esp",
            "crate::pipeline",
            "crate::tables",
            "crate::control",
        ],
        &[],
    );
    for room in ["dataplane/src/sa", "dataplane/src/esp", "dataplane/src/ip"] {
        never(room, &["crate::io", "crate::queue", "crate::control"], &[]);
    }
}

#[test]
fn only_the_bridge_knows_both_cores() {
    let of = |word: &str| {
        let mut files: Vec<_> = lines("src")
            .into_iter()
            .filter(|(_, line)| mentions(line, word))
            .map(|(place, _)| place)
            .collect();
        files.dedup();
        files
    };
    let ike = of("xvpn_ike");
    let both: Vec<_> = of("xvpn_dataplane")
        .into_iter()
        .filter(|file| ike.contains(file))
        .collect();
    assert_eq!(both, [Path::new("src/daemon/bridge.rs")]);
    never(
        "src",
        &["xvpn_dataplane"],
        &[
            "src/daemon/bridge.rs",
            "src/daemon/cost.rs",
            "src/daemon/sources.rs",
        ],
    );
}

#[test]
fn the_rooms_of_the_program_lean_one_way() {
    never(
        "src/config",
        &["crate::admin", "crate::daemon", "crate::cli"],
        &[],
    );
    never("src/admin", &["crate::daemon", "crate::cli"], &[]);
    never(
        "src/daemon",
        &["crate::cli", "crate::testbed", "crate::admin::client"],
        &[],
    );
}

#[test]
fn unsafe_code_is_where_system_calls_are_and_nowhere_else() {
    never("ike/src", &["unsafe"], &["ike/src/lib.rs"]);
    never("dataplane/src", &["unsafe"], &["dataplane/src/io"]);
    // The testbed moves threads between namespaces; no daemon does.
    never(
        "src",
        &["unsafe {", "unsafe fn", "unsafe impl"],
        &["src/testbed/sys.rs"],
    );
}

/// The words between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_file_and_test_in_the_map_of_rfcs_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("docs/internals/rfc.md")).unwrap();
    let code: String = ["ike", "dataplane", "src", "tests"]
        .into_iter()
        .flat_map(lines)
        .map(|(_, line)| line + "\n")
        .collect();
    let exists = |name: &str| match name.contains('/') {
        true => root.join(name).exists(),
        // A test, one of the table of `tests/netns/main.rs`, or a scenario of `tests/scenarios`.
        false => {
            code.contains(&format!("fn {name}("))
                || code.contains(&format!("\"{name}\""))
                || root.join("tests/scenarios").join(name).is_dir()
        }
    };
    let rows = map
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    let names: Vec<&str> = rows.flat_map(quoted).collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !exists(name)).collect();
    assert!(
        names.len() > 100,
        "the map is empty or has another shape: correct this test"
    );
    assert!(
        missing.is_empty(),
        "docs/internals/rfc.md names what does not exist: {missing:?}"
    );
}
