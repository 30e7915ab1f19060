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
use super::psk::{decode, trim, weakness};
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

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the standard library's enum, which grows"
)]
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

/// Relative names are meant beside the file that has them.
pub(super) fn beside(span: &Span, path: &Path, out: &Report) -> PathBuf {
    let folder = out.sources.get(span).and_then(|source| source.path.parent());
    folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// An error in the system's words, without Rust's `(os error 2)`.
pub(super) fn plain(error: &io::Error) -> String {
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
pub(super) const OTHERS: u32 = 0o077;
