//! What `xvpn check` says about configurations, right and wrong: every file in `cases/` against its golden text.
//!
//! `XVPN_UPDATE_GOLDENS=1 cargo test --test config` writes the texts anew; read the difference before committing it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod certificates;
mod presets;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_case_is_reported_as_its_golden_says() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in files_in(&cases)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "toml"))
    {
        seen += 1;
        let folder = Folder::new();
        folder.write("xvpn.toml", &fs::read_to_string(&case).unwrap(), 0o600);
        let said = folder.check();
        if !agrees(&case.with_extension("txt"), &said) {
            wrong.push(format!("--- {}\n{said}", case.display()));
        }
        let name = case.file_stem().unwrap().to_str().unwrap();
        let exit = said.lines().last().unwrap();
        let expected = if name.starts_with("refuses_") || name.starts_with("reports_") {
            "exit 4"
        } else {
            "exit 0"
        };
        assert_eq!(exit, expected, "{name}:\n{said}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 25);
}

#[test]
fn no_case_shows_a_secret() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases");
    for golden in files_in(&cases)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "txt"))
    {
        let text = fs::read_to_string(&golden).unwrap();
        for secret in [
            "hush-hush",
            "Zq8-w2",
            "MyPassword",
            "abc1abc1",
            "q7Zt0mWc",
            "0x123",
        ] {
            assert!(!text.contains(secret), "{} shows {secret}", golden.display());
        }
    }
}

#[test]
fn reads_the_files_of_conf_d_in_the_order_of_their_names_and_reports_on_all() {
    let folder = Folder::new();
    folder.write("xvpn.toml", "[gateway]\nid = \"aws.example\"\n", 0o600);
    folder.write(
        "conf.d/20-b.toml",
        &tunnel("b", "10.3.0.0/16", "203.0.113.9"),
        0o600,
    );
    folder.write(
        "conf.d/10-a.toml",
        &tunnel("a", "10.2.0.0/16", "198.51.100.7"),
        0o600,
    );
    folder.write("conf.d/ignored.txt", "this is not TOML", 0o600);
    assert_eq!(
        folder.check(),
        "/etc/xvpn/xvpn.toml: good, 2 tunnels (a, b)\nexit 0\n"
    );

    folder.write(
        "conf.d/30-again.toml",
        &tunnel("a", "10.4.0.0/16", "203.0.113.10"),
        0o600,
    );
    folder.write(
        "conf.d/40-gateway.toml",
        "[gateway]\nid = \"other.example\"\n",
        0o600,
    );
    let said = folder.check();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/conf_d.txt");
    assert!(agrees(&golden, &said), "{said}");
}

#[test]
fn refuses_a_readable_configuration_with_an_inline_key() {
    let folder = Folder::new();
    let text = tunnel("a", "10.2.0.0/16", "198.51.100.7")
        .replace("{ file = \"../good.psk\" }", "\"q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\"");
    folder.write(
        "xvpn.toml",
        &format!("[gateway]\nid = \"aws.example\"\n{text}"),
        0o640,
    );
    let said = folder.check();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/readable.txt");
    assert!(agrees(&golden, &said), "{said}");
}

#[test]
fn names_the_remedy_when_there_is_no_configuration() {
    let folder = Folder::new();
    let said = folder.check();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/absent.txt");
    assert!(agrees(&golden, &said), "{said}");
}

fn tunnel(name: &str, network: &str, peer: &str) -> String {
    format!(
        "[[tunnel]]\nname = \"{name}\"\nlocal = {{ networks = [\"10.1.0.0/16\"] }}\n\
         remote = {{ address = \"{peer}\", networks = [\"{network}\"] }}\npsk = {{ file = \"../good.psk\" }}\n"
    )
}

/// A folder that stands for /etc/xvpn.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(std::env::temp_dir().join(format!("xvpn-config-{}-{number}", std::process::id())));
        let key = "q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n";
        folder.write("good.psk", key, 0o600);
        folder.write("readable.psk", key, 0o644);
        folder.write("empty.psk", "\n", 0o600);
        fs::write(folder.0.join("binary.psk"), [0xff, 0xfe]).unwrap();
        fs::set_permissions(folder.0.join("binary.psk"), fs::Permissions::from_mode(0o600)).unwrap();
        folder
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What the operator sees, and the exit status.
    fn check(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_xvpn"))
            .args(["check", "--config"])
            .arg(self.0.join("xvpn.toml"))
            .env("XVPN_TEST_PSK", "q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6")
            .env("XVPN_TEST_PSK_WITH_DASH", "q7Zt0mWc-4Vx9Ls2Hd8Rk1Yb6")
            .env_remove("XVPN_TEST_UNSET")
            .env_remove("CREDENTIALS_DIRECTORY")
            .output()
            .unwrap();
        let text = [output.stderr, output.stdout].concat();
        let text = String::from_utf8(text)
            .unwrap()
            .replace(self.0.to_str().unwrap(), "/etc/xvpn");
        format!("{text}exit {}\n", output.status.code().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn agrees(golden: &Path, said: &str) -> bool {
    if std::env::var_os("XVPN_UPDATE_GOLDENS").is_some() {
        fs::write(golden, said).unwrap();
        return true;
    }
    fs::read_to_string(golden).unwrap_or_default() == said
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn the_examples_of_the_guide_are_good() {
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/config.md")).unwrap();
    let examples: Vec<&str> = guide
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 4);
    for example in examples {
        let folder = Folder::new();
        folder.write("azure.psk", "q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n", 0o600);
        folder.write("azure-old.psk", "w3Kx8nQe5Tz1Bp7Jf0Gm9Vd2\n", 0o600);
        folder.write("azure.ppk", "t6Rb4mWq9Hx2Ls8Yd1Kc7Vn5\n", 0o600);
        folder.write(
            "xvpn.toml",
            &example
                .replace("/etc/xvpn", folder.0.to_str().unwrap())
                // An address that this host does have.
                .replace("10.0.0.4", "127.0.0.1"),
            0o644,
        );
        let said = folder.check();
        assert!(
            said.ends_with("exit 0\n") && !said.contains("warning"),
            "{example}\n{said}"
        );
    }
}

#[test]
fn the_reference_of_the_guide_names_every_key_and_its_default() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/guide/config.md")).unwrap();
    let whole = guide
        .split("```toml\n")
        .map(|rest| rest.split("```").next().unwrap())
        .find(|block| block.contains("state_dir"))
        .unwrap();
    let raw = fs::read_to_string(root.join("src/config/raw.rs")).unwrap();
    let readers = [
        "string(",
        "strings(",
        "integer(",
        "boolean(",
        "duration(",
        "octets(",
        "section(",
    ];
    for reader in readers {
        for call in raw.split(&format!(".{reader}\"")).skip(1) {
            let key = call.split('"').next().unwrap();
            // The sources of `psk` have a table of their own.
            assert!(
                whole
                    .lines()
                    .any(|line| line.starts_with(&format!("{key} = ")) || line == format!("[tunnel.{key}]"))
                    || key == "gateway"
                    || guide.contains(&format!("psk = {{ {key} = "))
                    // Keys of certificates have a table of their own, too.
                    || guide.contains(&format!("| `{key} = ")),
                "docs/guide/config.md does not name `{key}`"
            );
        }
    }
    let folder = Folder::new();
    folder.write("azure.psk", "q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n", 0o600);
    folder.write("azure-old.psk", "w3Kx8nQe5Tz1Bp7Jf0Gm9Vd2\n", 0o600);
    folder.write("azure.ppk", "t6Rb4mWq9Hx2Ls8Yd1Kc7Vn5\n", 0o600);
    let load = |keep: &dyn Fn(&str) -> bool| {
        let text: Vec<&str> = whole.lines().filter(|line| keep(line)).collect();
        let text = text.join("\n").replace("/etc/xvpn", folder.0.to_str().unwrap());
        folder.write("xvpn.toml", &text, 0o600);
        match xvpn::config::load(&folder.0.join("xvpn.toml"), xvpn::config::Purpose::Run) {
            Ok(loaded) => format!("{:#?}", loaded.config),
            Err(report) => panic!("{text}\n{}", report.render(false)),
        }
    };
    let told =
        |line: &str| !line.contains(" = ") || line.contains("# required") || line.contains("# example");
    assert_eq!(load(&|_| true), load(&told));
}

#[test]
fn the_guide_explains_every_counter() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/operations.md");
    let guide = fs::read_to_string(guide).unwrap();
    let discards = xvpn_dataplane::Discard::ALL.iter().map(|reason| reason.name());
    let ignored = xvpn_ike::error::Ignore::ALL.iter().map(|reason| reason.name());
    for name in discards.chain(ignored) {
        assert!(
            guide.contains(&format!("| `{name}` |")),
            "docs/guide/operations.md does not explain the counter {name}"
        );
    }
}

#[test]
fn no_damage_to_a_file_makes_reading_it_panic() {
    let folder = Folder::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    for case in files_in(&cases)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "toml"))
    {
        let text = fs::read_to_string(case).unwrap();
        // A damaged command must not be run.
        if text.is_empty() || text.contains("command") {
            continue;
        }
        for _ in 0..40 {
            let mut octets = text.clone().into_bytes();
            for _ in 0..=random(3) {
                let (from, to) = (random(octets.len()), random(octets.len()));
                match random(3) {
                    0 => octets.swap(from, to),
                    1 => octets.truncate(octets.len().max(1) - 1 - from.min(octets.len() - 1) / 8),
                    _ => octets.insert(from, b"\"'[]{}=\n\\.#\xc3\0"[random(13)]),
                }
                if octets.is_empty() {
                    break;
                }
            }
            let path = folder.0.join("xvpn.toml");
            fs::write(&path, &octets).unwrap();
            match xvpn::config::load(&path, xvpn::config::Purpose::Run) {
                Ok(loaded) => drop(loaded.warnings.render(true)),
                Err(report) => assert!(!report.render(false).is_empty()),
            }
        }
    }
}
