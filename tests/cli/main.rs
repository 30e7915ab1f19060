//! The command line as an operator meets it: without a daemon, and with one that is played by the test.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;

use std::process::{Command, Output};

use fake::{Act, Daemon, Folder};
use xvpn::admin::api::{Actor, TunnelState};

fn xvpn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xvpn"))
        .args(arguments)
        .env_remove("XVPN_CONFIG")
        .env_remove("XVPN_LOG")
        .output()
        .unwrap()
}

fn in_folder(folder: &Folder, arguments: &[&str]) -> (i32, String, String) {
    let config = folder.config();
    let output = xvpn(&[&["--config", config.to_str().unwrap()], arguments].concat());
    let text = |octets: Vec<u8>| {
        String::from_utf8(octets)
            .unwrap()
            .replace(folder.path().to_str().unwrap(), "DIR")
    };
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn genpsk_prints_one_key_that_check_finds_strong() {
    let output = xvpn(&["genpsk"]);
    let key = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!((key.len(), key.lines().count()), (45, 1));
    let folder = Folder::new(&key);
    assert_eq!(in_folder(&folder, &["check"]).0, 0);
}

#[test]
fn version_and_help_name_the_program_and_its_exit_statuses() {
    assert_eq!(
        xvpn(&["--version"]).stdout,
        format!("xvpn {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
    let help = String::from_utf8(xvpn(&["--help"]).stdout).unwrap();
    for word in [
        "run",
        "up",
        "down",
        "status",
        "check",
        "genpsk",
        "metrics",
        "demo",
        "completions",
        "Exit status",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn a_log_filter_that_is_none_is_a_usage_error() {
    let output = xvpn(&["--log", "info,xvpn_ike=loud", "status"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--log") && said.contains("write a level"), "{said}");
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let output = xvpn(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert!(script.contains("genpsk") && script.contains("status"), "{shell}");
    }
}

#[test]
fn an_unknown_verb_is_a_usage_error() {
    assert_eq!(xvpn(&["statsu"]).status.code(), Some(2));
}

#[test]
fn status_and_down_without_a_daemon_say_so_and_how_to_start_one() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    for verb in [&["status"][..], &[], &["down"]] {
        let (exit, out, err) = in_folder(&folder, verb);
        assert_eq!((exit, out.as_str()), (3, ""));
        assert_eq!(
            err,
            "error: xvpn is not running here (nobody answers at DIR/state/xvpn.sock)\n  remedy: start it with `xvpn up` or \
             `systemctl start xvpn`; if it runs with another configuration, name that with --config FILE\n"
        );
    }
}

#[test]
fn up_reports_a_wrong_configuration_instead_of_starting_a_daemon_that_would() {
    let folder = Folder::new("short\n");
    let (exit, _, err) = in_folder(&folder, &["up"]);
    assert_eq!(exit, 4);
    assert!(
        err.contains("error[weak-psk]") && err.ends_with("1 error\n"),
        "{err}"
    );
}

#[test]
fn status_shows_the_tunnels_and_exits_by_them() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let _daemon = Daemon::start(
        &folder,
        &[
            ("azure", TunnelState::Established),
            ("gcp", TunnelState::Connecting),
        ],
        vec![],
    );
    let (exit, out, err) = in_folder(&folder, &[]);
    assert_eq!((exit, err.as_str()), (5, ""));
    assert!(
        out.starts_with("xvpn 9.9.9, 1 of 2 tunnels established, up 1m 1s,"),
        "{out}"
    );
    let (exit, out, _) = in_folder(&folder, &["status", "azure", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (exit, &report["tunnels"][0]["name"], &report["tunnels"][1]),
        (0, &"azure".into(), &serde_json::Value::Null)
    );
    assert_eq!(report["tunnels"][0]["state"], "established");
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let _daemon = Daemon::start(
        &folder,
        &[("azure", TunnelState::Down), ("gcp", TunnelState::Down)],
        vec![],
    );
    for verb in ["up", "down", "status"] {
        let (exit, out, err) = in_folder(&folder, &[verb, "azrue"]);
        assert_eq!((exit, out.as_str()), (1, ""));
        assert_eq!(
            err,
            "error: there is no tunnel `azrue`\n  remedy: did you mean `azure` instead of `azrue`? the running daemon knows `azure`, `gcp`\n"
        );
    }
}

#[test]
fn up_tells_every_step_and_ends_when_the_tunnel_is_established() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let acts = vec![
        Act::Recall("azure", "asked 198.51.100.7:500 for an IKE SA", Actor::Both),
        Act::Stumble(
            "azure",
            TunnelState::Connecting,
            Actor::Network,
            "the peer did not answer",
            false,
        ),
        Act::Say("other", TunnelState::Connecting, "never to be shown"),
        Act::Say("azure", TunnelState::Established, "carries traffic"),
    ];
    let _daemon = Daemon::start(
        &folder,
        &[("azure", TunnelState::Down), ("other", TunnelState::Down)],
        acts,
    );
    let (exit, out, err) = in_folder(&folder, &["up", "azure"]);
    assert_eq!((exit, out.as_str()), (0, ""), "{err}");
    assert!(
        err.starts_with(
            "azure: asked 198.51.100.7:500 for an IKE SA\nazure: the peer did not answer; next attempt in 2 s\nazure: established ("
        ),
        "{err}"
    );
    assert!(!err.contains("never"));
}

#[test]
fn up_ends_at_once_with_the_reason_when_trying_again_is_of_no_use() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let acts = vec![Act::Stumble(
        "azure",
        TunnelState::Failed,
        Actor::Both,
        "the peer refused our key",
        true,
    )];
    let _daemon = Daemon::start(&folder, &[("azure", TunnelState::Down)], acts);
    let (exit, _, err) = in_folder(&folder, &["up"]);
    assert_eq!(exit, 1);
    assert_eq!(
        err,
        "azure: failed at IKE_AUTH: the peer refused our key\n  where: the two configurations do not fit together\n  \
         remedy: do something about it\n"
    );
}

#[test]
fn up_gives_up_after_its_time_and_says_what_stood_in_the_way() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let acts = vec![Act::Stumble(
        "azure",
        TunnelState::Connecting,
        Actor::Network,
        "the peer did not answer",
        false,
    )];
    let _daemon = Daemon::start(
        &folder,
        &[
            ("azure", TunnelState::Connecting),
            ("hub", TunnelState::Listening),
        ],
        acts,
    );
    let (exit, _, err) = in_folder(&folder, &["up", "--timeout", "1"]);
    assert_eq!(exit, 1);
    assert!(
        err.contains(
            "azure: failed at IKE_AUTH: the peer did not answer\n  where: the network between the gateways\n"
        ),
        "{err}"
    );
    assert!(
        err.contains("error: hub: still listening after 1 s\n  remedy: only the peer may begin here"),
        "{err}"
    );
}

#[test]
fn down_waits_until_the_tunnels_are_down() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let _daemon = Daemon::start(&folder, &[("azure", TunnelState::Established)], vec![]);
    assert_eq!(
        in_folder(&folder, &["down"]),
        (0, String::new(), "azure: down\n".to_owned())
    );
}

#[test]
fn an_answer_that_is_none_is_called_another_version() {
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let _daemon = Daemon::babble(&folder);
    let (exit, _, err) = in_folder(&folder, &["status"]);
    assert_eq!(exit, 1);
    assert!(
        err.contains("the daemon is of another version than this command"),
        "{err}"
    );
}

#[test]
fn trace_writes_wiresharks_tables_announces_itself_and_refuses_a_file_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6\n");
    let _daemon = Daemon::start(&folder, &[("azure", TunnelState::Established)], vec![]);
    let keys = folder.path().join("keys");
    let arguments = ["trace", "--for", "60", "--keys", keys.to_str().unwrap()];
    let (exit, out, err) = in_folder(&folder, &arguments);
    assert_eq!((exit, out.as_str()), (0, ""), "{err}");
    assert!(
        err.starts_with("EXPORTING KEYS: the keys of every tunnel are written to"),
        "{err}"
    );
    assert!(
        err.contains("WIRESHARK_CONFIG_DIR=") && err.contains("the keys of 2 SAs were exported"),
        "{err}"
    );
    let read = |file: &str| std::fs::read_to_string(keys.join(file)).unwrap();
    assert_eq!(read("ikev2_decryption_table"), "an IKE row\n");
    assert_eq!(read("esp_sa"), "an ESP row\n");
    std::fs::set_permissions(keys.join("esp_sa"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let (exit, _, err) = in_folder(&folder, &arguments);
    assert_eq!(exit, 1);
    assert!(
        err.contains("others than its owner may read it") && err.contains("chmod 600"),
        "{err}"
    );
    assert_eq!(read("esp_sa"), "an ESP row\n");
}
