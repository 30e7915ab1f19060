//! Error notifies that nobody vouches for (RFC 7296 2.21.1): remembered, not obeyed.

use std::time::Duration;

use xvpn_ike::api::{Command, Output};
use xvpn_ike::error::{Cause, Ignore, Negotiated, Side};
use xvpn_ike::message::{InitResponse, build_plain, only_notify};
use xvpn_ike::testing::{Faults, LINK, Pair, Who, path};
use xvpn_ike::wire::payload::{Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, Flags, Header};

use super::{SOON, settled};

/// How long a genuine answer may take after a forged one.
const SUSPICION: Duration = Duration::from_secs(1);

/// What anyone who saw the request could answer.
pub(crate) fn answer(outputs: &[Output], response: InitResponse) -> Vec<u8> {
    let request = outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    let (header, _) = Header::parse(&request.unwrap()).unwrap();
    let flags = Flags {
        initiator: false,
        version: false,
        response: true,
    };
    build_plain(&Header { flags, ..header }, &response.emit())
}

#[test]
fn a_forged_refusal_does_not_stop_the_genuine_answer() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    for forged in [
        InitResponse::NoProposalChosen,
        InitResponse::OtherError(NotifyType::INVALID_SYNTAX),
    ] {
        let forged = answer(&outputs, forged);
        pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
    }
    assert_eq!(pair.alice.ignored(Ignore::UnprotectedError), 2);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(pair.alice.failures(), []);
}

#[test]
fn a_forged_demand_for_another_group_does_not_stop_it_either() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let forged = answer(&outputs, InitResponse::InvalidKe(14));
    pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn if_nothing_better_comes_the_suspicion_is_the_cause() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    pair.net.clear();
    let refusal = answer(&outputs, InitResponse::NoProposalChosen);
    pair.inject(Who::Alice, path(Who::Alice, 500), &refusal);
    pair.net.faults.loss = 100;
    pair.run_for(SUSPICION);
    let cause = pair.alice.failures().first().map(|failure| failure.cause.clone());
    assert!(matches!(
        cause,
        Some(Cause::NoProposal {
            of: Negotiated::Ike,
            refused_by: Side::Peer,
            ..
        })
    ));
}

#[test]
fn a_refusal_from_elsewhere_is_not_even_a_suspicion() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let forged = answer(&outputs, InitResponse::NoProposalChosen);
    let mut elsewhere = path(Who::Alice, 500);
    elsewhere.remote.set_port(501);
    pair.inject(Who::Alice, elsewhere, &forged);
    assert_eq!(pair.alice.ignored(Ignore::WrongPath), 1);
}

#[test]
fn an_established_connection_ignores_unprotected_errors() {
    let mut pair = settled();
    let (header, _) = Header::parse(&pair.net.tape.last().unwrap().bytes).unwrap();
    for kind in [
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::INVALID_IKE_SPI,
        NotifyType::INVALID_SYNTAX,
    ] {
        for (message_id, response) in [(0, false), (2, true)] {
            let flags = Flags {
                response,
                ..header.flags
            };
            let header = Header {
                exchange: ExchangeType::INFORMATIONAL,
                flags,
                message_id,
                ..header
            };
            let forged = build_plain(&header, &only_notify(&Notify::new(kind)));
            let outputs = pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
            assert_eq!(super::kinds(&outputs), ["ignored"]);
        }
    }
    assert!(pair.has_settled());
}
