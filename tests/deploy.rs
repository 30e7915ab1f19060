//! The deployment files: well-formed, the same boot script in every cloud, and that script run for real.

use std::path::{Path, PathBuf};
use std::process::Command;

const MARK: &str = "# ---- from here on";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The part of the user-data that is the same in every cloud.
fn boot_script() -> String {
    let text = read("deploy/cloud-init/user-data");
    let at = text.find(MARK).expect("the mark line");
    text[at..]
        .split_once('\n')
        .expect("a body after the mark line")
        .1
        .to_owned()
}

/// Says why a check cannot run here; a failure where CI demands that it runs.
fn skip(why: &str) {
    assert!(
        std::env::var_os("XVPN_REQUIRE_DEPLOY").is_none(),
        "XVPN_REQUIRE_DEPLOY is set, but {why}"
    );
    eprintln!("SKIPPED: {why}");
}

fn python() -> Option<&'static str> {
    let found = Command::new("python3")
        .args(["-c", "import jsonschema, yaml"])
        .output();
    found.is_ok_and(|o| o.status.success()).then_some("python3")
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "{command:?} failed:\n{text}");
    text
}

#[test]
fn cloudformation_template_boots_with_the_shared_script() {
    let template = read("deploy/aws/gateway.yaml");
    let indented: String = boot_script()
        .lines()
        .map(|l| {
            if l.is_empty() {
                "\n".to_owned()
            } else {
                format!("            {l}\n")
            }
        })
        .collect();
    assert!(
        template.contains(&indented),
        "deploy/aws/gateway.yaml does not carry deploy/cloud-init/user-data's body"
    );
    assert!(!boot_script().contains("${"), "Fn::Sub would replace it");
    for needed in [
        "SourceDestCheck: false",
        "FromPort: 500",
        "FromPort: 4500",
        "cfn-signal",
        "secretsmanager",
    ] {
        assert!(template.contains(needed), "{needed} is missing");
    }
}

#[test]
fn arm_template_boots_with_the_shared_script() {
    let template: serde_json::Value =
        serde_json::from_str(&read("deploy/azure/azuredeploy.json")).expect("JSON");
    let lines: Vec<&str> = template["variables"]["boot"]
        .as_array()
        .expect("boot")
        .iter()
        .map(|l| l.as_str().expect("text"))
        .collect();
    assert_eq!(
        lines.join("\n"),
        boot_script(),
        "deploy/azure/azuredeploy.json does not carry the shared body"
    );
}

#[test]
fn arm_template_satisfies_its_schema() {
    let Some(python) = python() else {
        return skip("python3 has no jsonschema (pip install jsonschema pyyaml)");
    };
    let check = "import json, sys, jsonschema\n\
                 jsonschema.validate(json.load(open(sys.argv[1])), json.load(open(sys.argv[2])))";
    run(Command::new(python)
        .args([
            "-c",
            check,
            "deploy/azure/azuredeploy.json",
            "tests/deploy/arm.schema.json",
        ])
        .current_dir(root()));
    let broken = read("deploy/azure/azuredeploy.json")
        .replace("\"enableIPForwarding\": true", "\"enableIPForwarding\": false");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-arm.json");
    std::fs::write(&path, broken).expect("write");
    let out = Command::new(python)
        .args(["-c", check])
        .arg(&path)
        .arg(root().join("tests/deploy/arm.schema.json"))
        .output();
    assert!(
        !out.expect("python3").status.success(),
        "the schema accepts a gateway that does not forward"
    );
}

#[test]
fn cloudformation_template_passes_cfn_lint() {
    if Command::new("cfn-lint").arg("--version").output().is_err() {
        return skip("cfn-lint is not installed (pip install cfn-lint)");
    }
    run(Command::new("cfn-lint")
        .arg("deploy/aws/gateway.yaml")
        .current_dir(root()));
}

#[test]
fn unit_verb_prints_the_systemd_unit() {
    let out = Command::new(env!("CARGO_BIN_EXE_xvpn"))
        .arg("unit")
        .output()
        .expect("xvpn unit");
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        read("deploy/systemd/xvpn.service")
    );
}

#[test]
fn user_data_boots_a_gateway_up_to_an_established_tunnel() {
    let probe = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "test",
            "-c",
            "/dev/net/tun",
        ])
        .status();
    if !probe.is_ok_and(|s| s.success()) {
        return skip("namespaces or /dev/net/tun are not to be had (run as root)");
    }
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).expect("work directory");
    let text = run(Command::new(root().join("tests/deploy/boot.sh"))
        .arg(env!("CARGO_BIN_EXE_xvpn"))
        .arg(&work));
    assert!(text.contains("boot: ok"), "{text}");
}
