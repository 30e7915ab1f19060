//! `xvpn trace`: tshark decrypts what an eavesdropper captured, with the keys that the gateway exported.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xvpn::admin::api::ChildStatus;
use xvpn::testbed::{Daemon, wait_until};

use crate::Test;
use crate::harness::pair::{PATIENCE, Pair, Plan, XVPN, child, tunnel, with_pair};
use crate::harness::runner::{Failure, Job, Outcome, check};

/// Skipped, loudly, where there is no tshark.
pub fn job() -> Job {
    let tests: [(&str, Test); 5] = [
        (
            "tshark_decrypts_the_default_key_exchange_and_aes_gcm_and_what_replaces_them",
            the_default,
        ),
        ("tshark_decrypts_aes_cbc_with_sha2", cbc),
        ("tshark_decrypts_aes128_gcm_over_ipv6", gcm_over_ipv6),
        ("chacha20_spoils_no_table_and_the_rest_is_decrypted", chacha20),
        (
            "keys_are_exported_to_one_at_a_time_and_never_in_silence",
            never_in_silence,
        ),
    ];
    let names: Vec<_> = tests.iter().map(|(name, _)| (*name).to_owned()).collect();
    Job {
        names: names.clone(),
        run: Box::new(move |reporter| {
            if Command::new("tshark").arg("--version").output().is_err() {
                return reporter.skip(&names, "there is no tshark (Debian: apt-get install tshark)");
            }
            tests.iter().for_each(|(name, test)| reporter.test(name, test));
        }),
    }
}

/// A capture of a whole life of a tunnel, and the keys to it.
struct Traced<'p, 'c> {
    keys: PathBuf,
    capture: PathBuf,
    _client: Daemon,
    pair: &'p Pair<'c>,
}

fn start<'p, 'c>(pair: &'p mut Pair<'c>) -> Result<Traced<'p, 'c>, Failure> {
    pair.start()?;
    let (keys, capture) = (pair.folder.join("keys"), pair.folder.join("capture.pcap"));
    pair.wire.record(&capture)?;
    let client = exporter(pair, &keys)?;
    Ok(Traced {
        keys,
        capture,
        _client: client,
        pair,
    })
}

/// `xvpn trace` on the aws gateway, once it exports.
fn exporter(pair: &Pair<'_>, keys: &Path) -> Result<Daemon, Failure> {
    let mut command = pair.aws.machine.command(Path::new(XVPN));
    command.arg("trace").arg("--keys").arg(keys);
    command.arg("--config").arg(pair.aws.configuration());
    let mut client = Daemon::start("trace", command, &pair.folder.join("trace.log"))?;
    let begun = client.wait_for_log("EXPORTING KEYS", PATIENCE);
    check(begun, client.log())?;
    Ok(client)
}

impl Traced<'_, '_> {
    /// What tshark shows of the frames that fit a filter: these fields of each.
    fn shown(&self, filter: &str, fields: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new("tshark");
        command.env("WIRESHARK_CONFIG_DIR", &self.keys);
        command
            .arg("-r")
            .arg(&self.capture)
            .args(["-Y", filter, "-T", "fields"]);
        fields.iter().for_each(|field| {
            command.args(["-e", field]);
        });
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // A table with a name that tshark does not know is not read at all, and that is all it says.
        check(
            output.status.success() && !said.contains("Error loading"),
            format!("tshark: {said}"),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// tshark shows frames that fit the filter, with these words in the fields.
    fn shows(&self, filter: &str, fields: &[&str], words: &[&str]) -> Outcome {
        let mut shown = Err(Failure("nothing".into()));
        // The last frames may still be on their way to the file.
        wait_until(PATIENCE, || {
            shown = self.shown(filter, fields);
            matches!(&shown, Ok(text) if words.iter().all(|word| text.contains(word)) && !text.is_empty())
        });
        let shown = shown?;
        check(
            !shown.is_empty() && words.iter().all(|word| shown.contains(word)),
            format!("tshark -Y '{filter}' shows `{shown}`, not {words:?}"),
        )
    }

    /// The identities in IKE_AUTH.
    fn ike_auth_is_shown(&self) -> Outcome {
        self.shows(
            "isakmp.exchangetype == 35 && isakmp.id.data.fqdn",
            &["isakmp.id.data.fqdn"],
            &["aws.example", "azure.example"],
        )
    }

    /// Pings inside of the ESP packets with these SPIs.
    fn ping_is_shown(&self, v6: bool, spi: &str) -> Outcome {
        let inner = if v6 {
            "icmpv6.type == 128"
        } else {
            "icmp.type == 8"
        };
        self.shows(&format!("esp.spi == 0x{spi} && {inner}"), &["frame.number"], &[])
    }

    /// Pings both ways inside of the SPIs of the current CHILD SA.
    fn traffic_is_shown(&self) -> Outcome {
        self.pair.pings_pass()?;
        let now = current(self.pair)?;
        for spi in [&now.spi_in, &now.spi_out] {
            self.ping_is_shown(false, spi)?;
            self.ping_is_shown(true, spi)?;
        }
        Ok(())
    }
}

/// But for the implicit IV of ESP, which tshark does not know.
fn the_default() -> Outcome {
    let plan = Plan::new().both("esp_proposals = [\"aes256gcm16\"]");
    with_pair(&plan, |pair| {
        let traced = start(pair)?;
        traced.pair.up()?;
        let suite = tunnel(&traced.pair.aws)?
            .ike
            .map(|ike| ike.suite)
            .unwrap_or_default();
        check(suite.contains("mlkem768"), format!("the default is {suite}"))?;
        traced.ike_auth_is_shown()?;
        traced.traffic_is_shown()?;
        // New keys of both kinds, of either side.
        for gateway in [&traced.pair.aws, &traced.pair.azure] {
            let before = (current(traced.pair)?.spi_in, ike_spi(traced.pair)?);
            for words in [&["rekey"][..], &["rekey", "--ike"]] {
                check(gateway.xvpn(words)?.status.success(), "xvpn rekey")?;
                std::thread::sleep(Duration::from_millis(500));
            }
            let replaced = wait_until(DRAINED, || {
                let child = child(&traced.pair.aws).map(|child| child.spi_in);
                let ike = ike_spi(traced.pair);
                child.is_ok_and(|spi| spi != before.0) && ike.is_ok_and(|spi| spi != before.1)
            });
            check(replaced, "not all SAs were replaced")?;
            traced.traffic_is_shown()?;
            // A message on the new IKE SA is read, too: the delete of a CHILD SA names its SPI.
            let old = current(traced.pair)?.spi_in;
            check(gateway.xvpn(&["rekey"])?.status.success(), "xvpn rekey")?;
            let ike = ike_spi(traced.pair)?;
            traced.shows(
                &format!("isakmp.ispi == {} && isakmp.delete.spi", separated(&ike)),
                &["isakmp.delete.spi"],
                &[&old],
            )?;
        }
        Ok(())
    })
}

/// The CHILD SA, once the one before it is gone.
fn current(pair: &Pair<'_>) -> Result<ChildStatus, Failure> {
    wait_until(DRAINED, || child(&pair.aws).is_ok());
    child(&pair.aws)
}

/// The initiator's SPI of the current IKE SA.
fn ike_spi(pair: &Pair<'_>) -> Result<String, Failure> {
    let ike = tunnel(&pair.aws)?.ike;
    Ok(ike.ok_or_else(|| Failure("there is no IKE SA".into()))?.spi_i)
}

/// `0102` as tshark's filters want it: `01:02`.
fn separated(hex: &str) -> String {
    let octets: Vec<_> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    octets.join(":")
}

fn proposals(ike: &str, esp: &str) -> Plan {
    Plan::new()
        .both(&format!("ike_proposals = [\"{ike}\"]"))
        .both(&format!("esp_proposals = [\"{esp}\"]"))
}

fn cbc() -> Outcome {
    with_pair(&proposals("aes256-sha384-ecp384", "aes256-sha256"), |pair| {
        let traced = start(pair)?;
        traced.pair.up()?;
        traced.ike_auth_is_shown()?;
        traced.traffic_is_shown()
    })
}

fn gcm_over_ipv6() -> Outcome {
    let mut plan = proposals("aes128gcm16-prfsha256-ecp256", "aes128gcm16").without_nat();
    plan.outer6 = true;
    with_pair(&plan, |pair| {
        let traced = start(pair)?;
        traced.pair.up()?;
        traced.ike_auth_is_shown()?;
        traced.traffic_is_shown()
    })
}

/// The tshark of Debian 12 knows no ChaCha20-Poly1305, neither for IKE nor for ESP.
fn chacha20() -> Outcome {
    let plan = proposals("aes256gcm16-prfsha256-x25519", "chacha20poly1305");
    with_pair(&plan, |pair| {
        let traced = start(pair)?;
        traced.pair.up()?;
        traced.pair.pings_pass()?;
        traced.ike_auth_is_shown()?;
        let table = fs::read_to_string(traced.keys.join("esp_sa"))?;
        check(
            table.lines().count() >= 2
                && table
                    .lines()
                    .all(|line| line.starts_with('#') && line.contains("ChaCha20 with Poly1305 [RFC7634]")),
            "esp_sa has other rows than comments for ChaCha20",
        )
    })
}

fn never_in_silence() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        let keys = pair.folder.join("keys");
        let mut first = exporter(pair, &keys)?;
        // What stood before is there at once.
        for (file, rows) in [("ikev2_decryption_table", 1), ("esp_sa", 2)] {
            let path = keys.join(file);
            let full = || fs::read_to_string(&path).is_ok_and(|text| text.lines().count() >= rows);
            check(wait_until(PATIENCE, full), format!("{file} has no {rows} rows"))?;
            let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
            check(mode == 0o600, format!("{file} has mode {mode:o}"))?;
        }
        check(
            pair.aws.log().contains("WARN") && pair.aws.log().contains("EXPORTING KEYS"),
            "no word in the log",
        )?;
        let said = String::from_utf8_lossy(&pair.aws.xvpn(&["status"])?.stdout).into_owned();
        check(
            said.contains("KEYS ARE BEING EXPORTED to process"),
            format!("xvpn status says: {said}"),
        )?;
        let second = pair.aws.xvpn(&["trace", "--keys", "/nonexistent/keys"])?;
        check(
            !second.status.success(),
            "a folder that cannot be made is accepted",
        )?;
        let other = pair.folder.join("others").display().to_string();
        let second = pair.aws.xvpn(&["trace", "--keys", &other])?;
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        check(
            !second.status.success() && said.contains("the keys are given to process"),
            format!("the second said: {said}"),
        )?;
        first.end(libc::SIGINT, PATIENCE)?;
        let over = || {
            pair.aws
                .status()
                .is_ok_and(|status| status.key_exports.is_empty())
        };
        check(
            wait_until(PATIENCE, over),
            "the export goes on without its client",
        )?;
        check(
            pair.aws.log().contains("no longer exporting keys"),
            "no word of the end in the log",
        )?;
        // Nothing secret went to the log: no run of 64 hexadecimal digits, such as every key is.
        let digits = |text: &str| {
            text.split(|c: char| !c.is_ascii_hexdigit())
                .any(|word| word.len() >= 64)
        };
        check(!digits(&pair.aws.log()), "there are keys in the log")?;
        let path = keys.join("ikev2_decryption_table");
        check(digits(&fs::read_to_string(path)?), "the table has no keys")
    })
}

/// How long an SA that was replaced still receives, at most.
const DRAINED: Duration = Duration::from_secs(60);
