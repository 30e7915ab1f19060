//! The steps of the demo, in order. Each one is verified; the first that fails ends it.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use super::Arguments;
use super::files::{self, Folder};
use super::proof::{innocent, judge, measure_throughput, ping_to, send_files, send_pings};
use super::screen::{Screen, Trouble};
use crate::admin::api::TunnelState;
use crate::testbed::{self, Answer, Gateway, Sniffer, TwoClouds, inventory, write_secret};

/// Plays the demo to its end.
pub(super) fn play(arguments: &Arguments) -> Result<(), Trouble> {
    testbed::remember_interrupts()?;
    let screen = Screen::new();
    screen.heading("Two clouds on this machine, an xvpn gateway in each");
    let folder = Folder::new()?;
    let clouds = build(&screen)?;
    let program = std::env::current_exe()?;
    let mut aws = Gateway::new(
        &clouds.aws.gateway,
        &program,
        &folder.path().join("aws"),
        &files::aws(&clouds),
    )?;
    let mut azure = Gateway::new(
        &clouds.azure.gateway,
        &program,
        &folder.path().join("azure"),
        &files::azure(&clouds),
    )?;
    let outcome = perform(&screen, arguments, &clouds, folder.path(), &mut aws, &mut azure);
    if outcome.is_err() && !testbed::interrupted() {
        for gateway in [&aws, &azure] {
            screen.heading(&format!("The last words of {}", gateway.machine.name()));
            screen.quote(gateway.log_tail(25));
        }
    }
    outcome
}

fn perform(
    screen: &Screen,
    arguments: &Arguments,
    clouds: &TwoClouds,
    folder: &Path,
    aws: &mut Gateway<'_>,
    azure: &mut Gateway<'_>,
) -> Result<(), Trouble> {
    let before = [inventory_of(aws)?, inventory_of(azure)?];
    let wire = Sniffer::start(&clouds.internet)?;
    start(screen, folder, aws, azure)?;
    refuse(screen, clouds, &wire)?;
    bring_up(screen, aws, azure)?;
    send_pings(screen, clouds)?;
    send_files(screen, clouds, folder, &wire)?;
    judge(screen, &wire)?;
    measure_throughput(screen, arguments, clouds, &wire)?;
    show_status(screen, aws, azure)?;
    if arguments.keep {
        keep(screen, clouds, [aws, azure]);
        // What the audience sent meanwhile is its own affair.
        wire.take();
    }
    tear_down(screen, aws, azure, before, &wire)?;
    screen.verdict("Every step was verified, nothing is left behind.");
    Ok(())
}

fn build(screen: &Screen) -> Result<TwoClouds, Trouble> {
    screen
        .step("build the clouds", || {
            let clouds = TwoClouds::build(true)?;
            let word = format!(
                "{} machines, {} behind 1:1 NAT as {}",
                clouds.machines().len(),
                clouds.aws.own4,
                clouds.aws.public4
            );
            Ok((clouds, word))
        })
        .inspect(|clouds| {
            let [aws, azure] = clouds.clouds();
            screen.quote(format!(
                "aws-host {} -- aws-gw {} ~ {} == internet == {} azure-gw -- {} azure-host",
                aws.host4, aws.own4, aws.public4, azure.public4, azure.host4
            ));
        })
}

fn start(
    screen: &Screen,
    folder: &Path,
    aws: &mut Gateway<'_>,
    azure: &mut Gateway<'_>,
) -> Result<(), Trouble> {
    screen.step("make a pre-shared key, check both files", || {
        let key = succeeded("xvpn genpsk", &aws.xvpn(&["genpsk"])?)?;
        for name in ["aws", "azure"] {
            write_secret(&folder.join(name).join("psk"), key.trim().as_bytes())?;
        }
        for gateway in [&*aws, &*azure] {
            succeeded("xvpn check", &gateway.xvpn(&["check"])?)?;
        }
        Ok(((), aws.configuration().display().to_string()))
    })?;
    screen.step("start `xvpn run` on both gateways", || {
        aws.start()?;
        azure.start()?;
        let pids = [aws.pid(), azure.pid()].map(|pid| pid.unwrap_or_default());
        Ok(((), format!("processes {} and {}", pids[0], pids[1])))
    })
}

/// Before the tunnel is up nothing may pass it, and nothing may leave beside it.
fn refuse(screen: &Screen, clouds: &TwoClouds, wire: &Sniffer) -> Result<(), Trouble> {
    screen.step("no tunnel yet: packets are refused, not leaked", || {
        let answer = ping_to(&clouds.aws, &clouds.azure, false, Duration::from_millis(300))?;
        if answer.is_reply() {
            return Err(Trouble::new("azure-host answered before there was a tunnel"));
        }
        innocent(&wire.seen())?;
        Ok((
            (),
            match answer {
                Answer::Unreachable { .. } => "destination unreachable, nothing on the wire".to_owned(),
                Answer::Reply(_) | Answer::TooBig { .. } | Answer::Silence => {
                    "no answer, nothing on the wire".to_owned()
                }
            },
        ))
    })
}

fn bring_up(screen: &Screen, aws: &Gateway<'_>, azure: &Gateway<'_>) -> Result<(), Trouble> {
    let said = screen.step("bring it up with `xvpn up`", || {
        let begun = Instant::now();
        let output = aws.xvpn(&["up"])?;
        let time = begun.elapsed();
        succeeded("xvpn up", &output)?;
        if !azure.wait_for(TunnelState::Established, Duration::from_secs(2)) {
            return Err(Trouble::new(
                "xvpn up says the tunnel is up, but the azure side does not",
            ));
        }
        Ok((
            String::from_utf8_lossy(&output.stderr).into_owned(),
            format!("established {} ms after the command", time.as_millis()),
        ))
    })?;
    screen.quote(said);
    Ok(())
}

fn show_status(screen: &Screen, aws: &Gateway<'_>, azure: &Gateway<'_>) -> Result<(), Trouble> {
    for gateway in [aws, azure] {
        let said = screen.step(&format!("`xvpn status` on {}", gateway.machine.name()), || {
            let said = succeeded("xvpn status", &gateway.xvpn(&["status"])?)?;
            let memory = gateway.resident_memory().unwrap_or_default();
            Ok((said, format!("resident memory {:.1} MiB", memory as f64 / 1024.0)))
        })?;
        screen.quote(said);
    }
    Ok(())
}

fn keep(screen: &Screen, clouds: &TwoClouds, gateways: [&Gateway<'_>; 2]) {
    screen.heading("It keeps running until Ctrl-C. To enter a machine:");
    let user = if !testbed::is_machine_root() {
        format!("-U --preserve-credentials -t {} ", std::process::id())
    } else {
        String::new()
    };
    for machine in clouds.machines() {
        screen.quote(format!(
            "{:<11} nsenter {user}--net={}",
            machine.name(),
            machine.path().display()
        ));
    }
    screen.quote(format!(
        "then on aws-host, for example: ping {}",
        clouds.azure.host4
    ));
    for gateway in gateways {
        let file = gateway.configuration();
        screen.quote(format!(
            "or on {}: xvpn status --config {}",
            gateway.machine.name(),
            file.display()
        ));
    }
    while !testbed::interrupted() {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!();
    testbed::forget_interrupt();
}

fn tear_down(
    screen: &Screen,
    aws: &mut Gateway<'_>,
    azure: &mut Gateway<'_>,
    before: [Inventory; 2],
    wire: &Sniffer,
) -> Result<(), Trouble> {
    screen.step("SIGTERM: each says goodbye within 2 s", || {
        let mut words = Vec::new();
        let first = aws.stop(Duration::from_secs(2))?;
        let told = azure.wait_for(TunnelState::Listening, Duration::from_secs(1));
        if !told {
            return Err(Trouble::new("aws-gw ended without telling azure-gw"));
        }
        let second = azure.stop(Duration::from_secs(2))?;
        for ended in [first, second] {
            if !ended.status.success() {
                return Err(Trouble::new(format!("a gateway ended with {}", ended.status)));
            }
            words.push(format!("{} ms", ended.after.as_millis()));
        }
        for (gateway, before) in [&*aws, &*azure].into_iter().zip(&before) {
            left_nothing(gateway, before)?;
        }
        innocent(&wire.seen())?;
        Ok((
            (),
            format!(
                "{}; no route, interface, sysctl or file left",
                words.join(" and ")
            ),
        ))
    })
}

fn left_nothing(gateway: &Gateway<'_>, before: &Inventory) -> Result<(), Trouble> {
    let name = gateway.machine.name();
    let after = inventory_of(gateway)?;
    if let Some(left) = after.symmetric_difference(before).next() {
        return Err(Trouble::new(format!("{name} is not as it was: {left}")));
    }
    let Ok(files) = gateway.state_dir().read_dir() else {
        return Ok(());
    };
    // The secret of Quick Crash Detection is there for the next run (RFC 6290 5.1); it goes with the demo's folder.
    match files.flatten().find(|file| file.file_name() != "crash.key") {
        Some(file) => Err(Trouble::new(format!("{name} left {}", file.path().display()))),
        None => Ok(()),
    }
}

fn inventory_of(gateway: &Gateway<'_>) -> Result<Inventory, Trouble> {
    Ok(gateway.machine.run(inventory)??)
}

/// What a command printed, if it succeeded.
fn succeeded(command: &str, output: &Output) -> Result<String, Trouble> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::new(format!(
        "{command} ended with {}:\n{}",
        output.status,
        said.trim_end()
    )))
}

type Inventory = std::collections::BTreeSet<String>;
