//! Two endpoints become one connection, and the order of what they do for it.

use std::time::Duration;

use xvpn_ike::api::{Event, Output, Step};
use xvpn_ike::testing::{Faults, Pair, Who};

const SOON: Duration = Duration::from_secs(1);

#[test]
fn two_endpoints_agree_on_keys_and_selectors() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(pair.alice.failures(), []);
    assert_eq!(pair.bob.failures(), []);
}

#[test]
fn the_responder_installs_inbound_answers_and_then_installs_outbound() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["transmit", "install inbound", "transmit", "install outbound", "ike established", "child established"]
    );
}

#[test]
fn the_initiator_installs_inbound_before_outbound() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        kinds(&pair.alice.outputs),
        [
            "transmit",
            "awaits the answer to IKE_SA_INIT",
            "transmit",
            "awaits the answer to IKE_AUTH",
            "install inbound",
            "install outbound",
            "ike established",
            "child established",
        ]
    );
}

fn kinds(outputs: &[Output]) -> Vec<&'static str> {
    outputs.iter().map(kind).collect()
}

fn kind(output: &Output) -> &'static str {
    match output {
        Output::InstallInbound(_) => "install inbound",
        Output::Transmit(_) => "transmit",
        Output::InstallOutbound(_) => "install outbound",
        Output::Remove(_) => "remove",
        Output::SetPath { .. } => "set path",
        Output::Event(Event::Progress { step: Step::InitResponse, .. }) => "awaits the answer to IKE_SA_INIT",
        Output::Event(Event::Progress { step: Step::AuthResponse, .. }) => "awaits the answer to IKE_AUTH",
        Output::Event(Event::IkeEstablished { .. }) => "ike established",
        Output::Event(Event::ChildEstablished { .. }) => "child established",
        Output::Event(_) => "another event",
    }
}
