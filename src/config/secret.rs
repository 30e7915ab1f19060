//! Where a pre-shared key comes from, and whether it is worth the name. Nothing here is ever printed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xvpn_ike::config::Secret;
use zeroize::Zeroizing;

use super::defaults;
use super::diagnostic::{Diagnostic, Report};
use super::raw::RawPsk;
use super::source::{At, Span};

/// Fetches a key and judges it. `None` if something is wrong with it, which is reported then.
pub(super) fn load(psk: &RawPsk, weak_allowed: bool, out: &mut Report) -> Option<Secret> {
    let (text, span) = match psk {
        RawPsk::Inline(at) => (inline(at, out), &at.span),
        RawPsk::File(at) => (from_file(at, out)?, &at.span),
        RawPsk::Env(at) => (from_environment(at, out)?, &at.span),
        RawPsk::Credential(at) => (from_credential(at, out)?, &at.span),
        RawPsk::Command(at) => (from_command(at, out)?, &at.span),
    };
    let octets = decode(trim(&text), span, out)?;
    if let Some(weakness) = weakness(trim(&text), &octets).filter(|_| !weak_allowed) {
        out.push(
            Diagnostic::error(
                "weak-psk",
                "the pre-shared key is weak",
                "make one with `xvpn genpsk` and give it to both sides; if it cannot be changed, say weak_psk = true",
            )
            .at(span, weakness)
            .because(
                "whoever plays the responder once can try keys offline until one fits (RFC 7296 2.15): \
                 only a random key withstands that",
            ),
        );
        return None;
    }
    // The copy that stays is zeroized by its own type, the ones on the way by theirs.
    Some(Secret::new(octets.to_vec()))
}

fn inline(at: &At<Zeroizing<String>>, out: &mut Report) -> Zeroizing<String> {
    let file = out
        .sources
        .get(&at.span)
        .map(|source| source.path.clone())
        .unwrap_or_default();
    let mode = std::fs::metadata(&file).map_or(0, |m| m.mode());
    if mode & OTHERS != 0 {
        out.push(
            Diagnostic::error(
                "readable-secret",
                format!(
                    "{} holds a pre-shared key, and others than its owner may read it",
                    file.display()
                ),
                format!("chmod 600 {}", file.display()),
            )
            .at(&at.span, format!("in a file of mode {:04o}", mode & 0o7777)),
        );
    } else {
        out.push(
            Diagnostic::warning(
                "inline-psk",
                "the pre-shared key stands in the configuration itself",
                "put it into a file of mode 0600 and write psk = { file = \"/etc/xvpn/NAME.psk\" }",
            )
            .at(
                &at.span,
                "a secret among things that are shown, copied and committed",
            ),
        );
    }
    at.value.clone()
}

fn from_file(at: &At<String>, out: &mut Report) -> Option<Zeroizing<String>> {
    let path = beside(&at.span, Path::new(&at.value), out);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => return unreadable(&path, &error, &at.span, out),
    };
    // Of the open file, not of the name: nobody can exchange it in between.
    let mode = match file.metadata() {
        Ok(metadata) => metadata.mode(),
        Err(error) => return unreadable(&path, &error, &at.span, out),
    };
    if mode & OTHERS != 0 {
        out.push(
            Diagnostic::error(
                "readable-secret",
                format!("others than its owner may read {}", path.display()),
                format!(
                    "chmod 600 {}; if others could log in here, make a new key too: xvpn genpsk",
                    path.display()
                ),
            )
            .at(&at.span, format!("has mode {:04o}", mode & 0o7777)),
        );
        return None;
    }
    match read_limited(&mut file) {
        Ok(text) => Some(text),
        Err(error) => unreadable(&path, &error, &at.span, out),
    }
}

fn unreadable<T>(path: &Path, error: &io::Error, span: &Span, out: &mut Report) -> Option<T> {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "make it: (umask 077; xvpn genpsk > {}), and give the peer the same key",
                path.display()
            )
        }
        io::ErrorKind::PermissionDenied => "run xvpn as root, or as the owner of the file".to_owned(),
        _ => "put the key, and nothing else, into this file".to_owned(),
    };
    let title = format!(
        "cannot read the pre-shared key from {}: {}",
        path.display(),
        plain(error)
    );
    out.push(Diagnostic::error("psk-unreadable", title, remedy).at(span, "named here"));
    None
}

fn from_environment(at: &At<String>, out: &mut Report) -> Option<Zeroizing<String>> {
    match std::env::var(&at.value) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(_) => {
            let title = format!("the environment has no text variable `{}`", at.value);
            let remedy = format!(
                "set {} before xvpn starts (systemd: EnvironmentFile=), or use psk = {{ file = … }}",
                at.value
            );
            out.push(Diagnostic::error("psk-unreadable", title, remedy).at(&at.span, "not set"));
            None
        }
    }
}

/// systemd puts credentials where only the service can read them, whatever their mode.
fn from_credential(at: &At<String>, out: &mut Report) -> Option<Zeroizing<String>> {
    let fail = |title: String, out: &mut Report| {
        let remedy = format!(
            "add LoadCredential={0}:/etc/xvpn/{0} to xvpn.service (systemctl edit xvpn) and restart it",
            at.value
        );
        out.push(Diagnostic::error("psk-unreadable", title, remedy).at(&at.span, "named here"));
        None
    };
    if at.value.is_empty() || at.value.contains('/') || at.value == ".." {
        return fail(format!("`{}` is not the name of a credential", at.value), out);
    }
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return fail(
            "systemd passed no credentials: $CREDENTIALS_DIRECTORY is not set".to_owned(),
            out,
        );
    };
    let path = Path::new(&directory).join(&at.value);
    match File::open(&path).and_then(|mut file| read_limited(&mut file)) {
        Ok(text) => Some(text),
        Err(error) => fail(
            format!("cannot read the credential `{}`: {}", at.value, plain(&error)),
            out,
        ),
    }
}

fn from_command(at: &At<Vec<At<String>>>, out: &mut Report) -> Option<Zeroizing<String>> {
    let mut words = at.value.iter().map(|word| &word.value);
    let Some(program) = words.next() else {
        let remedy = "write the program and its arguments, such as [\"pass\", \"show\", \"xvpn\"]";
        out.push(Diagnostic::error("psk-command", "`command` is empty", remedy).at(&at.span, "no program"));
        return None;
    };
    match run(Command::new(program).args(words)) {
        Ok(text) => Some(text),
        Err(why) => {
            let title = format!("the command for the pre-shared key failed: {why}");
            let remedy = "run it by hand as the same user; it must print the key, and nothing else, on its standard output";
            out.push(Diagnostic::error("psk-command", title, remedy).at(&at.span, "this command"));
            None
        }
    }
}

fn run(command: &mut Command) -> Result<Zeroizing<String>, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| plain(&error))?;
    let mut stdout = child.stdout.take();
    // The pipe is read on a thread, so that a command which neither prints nor ends cannot hold us.
    let reader = std::thread::spawn(move || {
        stdout
            .as_mut()
            .map_or_else(|| Ok(Zeroizing::default()), read_limited)
    });
    let status = wait(&mut child, defaults::PSK_COMMAND_TIMEOUT)?;
    if !status.success() {
        return Err(status.to_string());
    }
    reader
        .join()
        .map_err(|_| "its output could not be read".to_owned())?
        .map_err(|error| plain(&error))
}

fn wait(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| plain(&error))? {
            return Ok(status);
        }
        if start.elapsed() > patience {
            // It may have ended just now; then there is nothing to kill, and nothing to do about it.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not end within {} s", patience.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read_limited(from: &mut impl Read) -> io::Result<Zeroizing<String>> {
    // Allocated once: a growing buffer would leave copies of the secret behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(defaults::PSK_MAX_OCTETS + 1));
    from.take(defaults::PSK_MAX_OCTETS as u64 + 1)
        .read_to_end(&mut octets)?;
    if octets.len() > defaults::PSK_MAX_OCTETS {
        return Err(io::Error::other("it is too long for a key"));
    }
    match std::str::from_utf8(&octets) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::other(
            "it is not text; write octets as 0x and hexadecimal digits",
        )),
    }
}

/// Without line ends, which editors and `echo` leave behind.
fn trim(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// The octets that IKE uses. `0x` hexadecimal and `0s` base64 as strongSwan and Openswan read them; all else as it is.
fn decode(text: &str, span: &Span, out: &mut Report) -> Option<Zeroizing<Vec<u8>>> {
    let (octets, what) = if let Some(digits) = text.strip_prefix("0x") {
        (
            hexadecimal(digits),
            "0x, but not by an even number of hexadecimal digits",
        )
    } else if let Some(letters) = text.strip_prefix("0s") {
        (base64(letters), "0s, but not by base64")
    } else {
        (Some(Zeroizing::new(text.as_bytes().to_vec())), "")
    };
    match octets {
        Some(octets) if !octets.is_empty() => return Some(octets),
        Some(_) => {
            let remedy = "make one with `xvpn genpsk` and give it to both sides";
            out.push(
                Diagnostic::error("psk-empty", "the pre-shared key is empty", remedy)
                    .at(span, "nothing there"),
            );
        }
        None => {
            let title = format!("the pre-shared key begins with {what}");
            let remedy = "correct the digits, or choose a key that does not begin with 0x or 0s";
            out.push(Diagnostic::error("psk-encoding", title, remedy).at(span, "this key"));
        }
    }
    None
}

fn hexadecimal(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        let digit = |at: usize| pair.get(at).and_then(|&c| char::from(c).to_digit(16));
        octets.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
    }
    Some(octets)
}

/// RFC 4648 4, padding optional.
fn base64(letters: &str) -> Option<Zeroizing<Vec<u8>>> {
    let letters = letters.trim_end_matches('=');
    let mut octets = Zeroizing::new(Vec::with_capacity(letters.len() * 3 / 4 + 1));
    let (mut bits, mut count) = (0u32, 0u32);
    for letter in letters.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    // Six left-over bits are a letter too many.
    (count < 6).then_some(octets)
}

/// Why a key would not withstand guessing, without telling anything of it.
fn weakness(text: &str, octets: &[u8]) -> Option<String> {
    let encoded = octets != text.as_bytes();
    if encoded && octets.len() < defaults::PSK_MIN_OCTETS {
        return Some(format!(
            "{} octets; at least {} are needed",
            octets.len(),
            defaults::PSK_MIN_OCTETS
        ));
    }
    let characters = text.chars().count();
    if !encoded && characters < defaults::PSK_MIN_CHARACTERS {
        return Some(format!(
            "{characters} characters; at least {} are needed",
            defaults::PSK_MIN_CHARACTERS
        ));
    }
    let lower = Zeroizing::new(text.to_lowercase());
    if !encoded
        && text.len() < 2 * defaults::PSK_MIN_CHARACTERS
        && WORDS.iter().any(|word| lower.contains(word))
    {
        return Some("contains a word that every list of passwords has".to_owned());
    }
    let variety = (0..=u8::MAX).filter(|octet| octets.contains(octet)).count();
    if variety < defaults::PSK_MIN_VARIETY {
        return Some("the same few characters again and again".to_owned());
    }
    let repeats = (1..=octets.len() / 2)
        .any(|period| octets.iter().zip(octets.iter().skip(period)).all(|(a, b)| a == b));
    if repeats {
        return Some("the same piece again and again".to_owned());
    }
    let steps = octets
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.abs_diff(*b) <= 1))
        .count();
    (steps * 4 >= octets.len() * 3).then(|| "runs along the keyboard or the alphabet".to_owned())
}

/// Relative names are meant beside the file that has them.
fn beside(span: &Span, path: &Path, out: &Report) -> PathBuf {
    let folder = out.sources.get(span).and_then(|source| source.path.parent());
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// An error in the system's words, without Rust's `(os error 2)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(text.as_str(), |(words, _)| words)
        .to_owned();
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Any permission for group or others.
const OTHERS: u32 = 0o077;

const WORDS: [&str; 14] = [
    "password",
    "passwort",
    "passw0rd",
    "p@ssw0rd",
    "secret",
    "changeme",
    "change-me",
    "qwerty",
    "letmein",
    "12345678",
    "abcdefgh",
    "example",
    "welcome",
    "sharedkey",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_and_base64_as_other_gateways_do() {
        assert_eq!(hexadecimal("00fF").unwrap().as_slice(), [0, 255]);
        assert!(hexadecimal("0").is_none());
        assert!(hexadecimal("zz").is_none());
        assert!(hexadecimal("é").is_none());
        // RFC 4648 10.
        for (letters, text) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmE", "fooba"),
            ("", ""),
        ] {
            assert_eq!(base64(letters).unwrap().as_slice(), text.as_bytes(), "{letters}");
        }
        assert!(base64("Zm9v!").is_none());
        assert!(base64("Zm9vA").is_none());
    }

    #[test]
    fn calls_weak_keys_weak_and_random_keys_not() {
        let weak = |text: &str| weakness(text, text.as_bytes()).is_some();
        assert!(weak("short-9Xk2"));
        assert!(weak("MyPassword-of-2026-is-long"));
        assert!(weak("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        assert!(weak("a1B2c3D4e5a1B2c3D4e5a1B2c3D4e5"));
        assert!(weak("bcdefghijklmnopqrstuvwxyz"));
        assert!(!weak("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6"));
        assert!(weakness("0x0102", &[1, 2]).is_some());
        let octets: Vec<u8> = (0..32u8).map(|n| n.wrapping_mul(71)).collect();
        assert!(weakness("0x…", &octets).is_none());
    }
}
