//! Conversations of Alice and Bob on virtual time: one behaviour per file, through the public doors only.

// Helpers are tests too; the configured exception covers only functions with the attribute. And a test may ask for one
// kind of output without naming all the others.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod aggfrag;
mod aggfrag_demand;
mod by_hand;
mod certificate;
mod chaos;
mod childless;
mod children;
mod closing;
mod cookie;
mod crash;
mod critical;
mod drain;
mod eve;
mod explained;
mod follow_up;
mod fragmentation;
mod fragmentation_hostile;
mod group;
mod handshake;
mod hostile;
mod hostile_answers;
mod hostile_peer;
mod hybrid_default;
mod identity;
mod impostor;
mod intermediate;
mod key_export;
mod legacy;
mod liveness;
mod mobike;
mod narrowing;
mod nat;
#[path = "../pki/mod.rs"]
mod pki;
mod ppk;
mod proposals;
mod puzzle;
mod reauth;
mod redirect;
mod redirect_answers;
mod refused_rekey;
mod rekey_child;
mod rekey_collisions;
mod rekey_ike;
mod rekey_simulation;
mod restart;
mod resume;
mod resume_by_hand;
mod resume_refused;
mod revocation;
mod rotation;
mod secret;
mod selectors;
mod simulation;
mod simultaneous;
mod single_pair;
mod transcript;
mod unprotected;
mod unreachable;
mod version;

use std::time::Duration;

use xvpn_ike::api::{Event, Output, Step};
use xvpn_ike::testing::{Host, Pair};

/// Long enough for a handshake on a good network, too short for a second attempt.
const SOON: Duration = Duration::from_millis(900);
/// Long enough for anything on a good network.
const LATER: Duration = Duration::from_secs(20);

/// What outputs are, without their contents.
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
        Output::Fetch(_) => "fetch",
        Output::Keys(_) => "keys",
        Output::Event(event) => event_kind(event),
    }
}

fn event_kind(event: &Event) -> &'static str {
    match event {
        Event::Progress { step, .. } => match step {
            Step::InitResponse => "awaits the answer to IKE_SA_INIT",
            Step::ResumeResponse => "awaits the answer to IKE_SESSION_RESUME",
            Step::TicketRefused => "the ticket is refused",
            Step::IntermediateResponse => "awaits the answer to IKE_INTERMEDIATE",
            Step::AuthResponse => "awaits the answer to IKE_AUTH",
            Step::AuthRequest => "awaits the IKE_AUTH request",
            Step::PreviousKey => "tries the previous key",
            Step::DeleteResponse => "awaits the answer to the delete",
            Step::Retransmission { .. } => "retransmits",
        },
        Event::IkeEstablished { .. } => "ike established",
        Event::ChildEstablished { .. } => "child established",
        Event::Moved { .. } => "moved",
        Event::Redirected { .. } => "redirected",
        Event::ChildClosed { .. } => "child closed",
        Event::ChildFailed { .. } => "child failed",
        Event::ReauthFailed { .. } => "reauthentication failed",
        Event::IkeClosed { .. } => "ike closed",
        Event::Failed { .. } => "failed",
        Event::StatusUnknown { .. } => "status unknown",
        Event::Ignored { .. } => "ignored",
    }
}

/// How often an event of this kind occurred.
fn count(host: &Host, wanted: &str) -> usize {
    host.events().filter(|event| event_kind(event) == wanted).count()
}

/// A pair that has a connection, and whose outputs so far are forgotten.
fn settled() -> Pair {
    let mut pair = Pair::new(7, xvpn_ike::testing::Faults::NONE);
    pair.up(xvpn_ike::testing::Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.alice.clear();
    pair.bob.clear();
    pair
}
