//! Two real daemons with real TUNs and sockets in network namespaces.

#![allow(unreachable_pub, reason = "a test program exports nothing")]

mod bulk;
mod capture;
mod carriage;
mod crash;
mod demand;
mod demo;
mod flood;
#[path = "../harness/mod.rs"]
mod harness;
mod iptfs;
mod lanes;
mod life;
mod metrics;
mod mobility;
mod overlap;
mod packet;
mod refusal;
mod rekey;
mod single;
mod steady;
mod stream;
mod tcp;
mod trace;

use std::process::ExitCode;

use harness::runner::{self, Job, Outcome};

fn main() -> ExitCode {
    runner::main(REQUIRED, 2, || Ok(tests()))
}

/// Set to 1 in the environment, nothing is left out without being a failure.
const REQUIRED: &str = "XVPN_REQUIRE_NETNS";

type Test = fn() -> Outcome;

fn tests() -> Vec<Job> {
    let tests: &[(&str, Test)] = &[
        (
            "every_forwarded_checksum_is_valid",
            bulk::every_forwarded_checksum_is_valid,
        ),
        (
            "a_stream_at_full_load_does_not_notice_new_keys",
            bulk::a_stream_at_full_load_does_not_notice_new_keys,
        ),
        ("metrics_tell_how_tunnels_are", metrics::tell_how_tunnels_are),
        (
            "slow_clients_of_the_metrics_cost_nothing",
            metrics::slow_clients_cost_nothing,
        ),
        (
            "one_sa_is_sealed_on_two_queues",
            single::one_sa_is_sealed_on_two_queues,
        ),
        (
            "queues_take_turns_where_the_peers_window_is_short",
            single::queues_take_turns_where_the_peers_window_is_short,
        ),
        (
            "a_queue_for_each_direction_where_flows_are_not_spread",
            single::a_queue_for_each_direction_where_flows_are_not_spread,
        ),
        (
            "two_queues_have_an_sa_and_a_port_each",
            lanes::two_queues_have_an_sa_and_a_port_each,
        ),
        (
            "two_queues_have_a_port_each_behind_a_static_nat",
            lanes::behind_a_static_nat_too,
        ),
        (
            "behind_any_nat_one_queue_receives_and_flows_stay_in_order",
            lanes::behind_any_nat_one_queue_receives_and_flows_stay_in_order,
        ),
        ("the_demo_of_the_readme_succeeds", demo::succeeds),
        (
            "carries_ipv4_and_ipv6_in_ipv4_through_nat",
            carriage::carries_both_in_ipv4_through_nat,
        ),
        (
            "carries_ipv4_and_ipv6_in_ipv4_without_nat",
            carriage::carries_both_in_ipv4_without_nat,
        ),
        ("carries_ipv4_and_ipv6_in_ipv6", carriage::carries_both_in_ipv6),
        (
            "the_side_behind_the_nat_can_be_the_responder",
            carriage::responds_from_behind_the_nat,
        ),
        (
            "sends_native_esp_where_no_nat_is",
            carriage::sends_native_esp_where_no_nat_is,
        ),
        ("sends_native_esp_over_ipv6", carriage::sends_native_esp_over_ipv6),
        (
            "encapsulates_behind_nat_with_encapsulation_auto",
            carriage::encapsulates_behind_nat,
        ),
        (
            "encapsulates_without_nat_when_forced",
            carriage::encapsulates_when_forced,
        ),
        (
            "a_file_arrives_with_the_same_hash_both_ways",
            carriage::files_arrive,
        ),
        (
            "says_on_both_sides_that_the_keys_differ",
            refusal::says_that_keys_differ,
        ),
        (
            "says_on_both_sides_that_no_proposal_is_common",
            refusal::says_that_no_proposal_is_common,
        ),
        (
            "says_on_both_sides_that_only_the_group_differs",
            refusal::says_that_the_group_differs,
        ),
        (
            "says_on_both_sides_that_a_name_is_wrong",
            refusal::says_that_a_name_is_wrong,
        ),
        (
            "says_that_a_peer_without_a_connection_for_us_is_silent",
            refusal::says_that_nobody_knows_us,
        ),
        (
            "says_on_both_sides_that_the_networks_do_not_meet",
            refusal::says_that_networks_do_not_meet,
        ),
        (
            "says_that_an_unreachable_peer_does_not_answer",
            refusal::says_that_nobody_answers,
        ),
        (
            "down_keeps_the_routes_and_refuses_packets",
            life::down_refuses_packets,
        ),
        ("up_after_down_carries_traffic_again", life::comes_back_after_down),
        (
            "sigterm_ends_in_time_and_tells_the_peer",
            life::sigterm_tells_the_peer,
        ),
        ("leaves_the_host_as_it_was", life::leaves_the_host_as_it_was),
        (
            "cleans_up_after_a_crash_and_connects_again",
            life::recovers_from_a_crash,
        ),
        (
            "rubbish_on_both_ports_changes_nothing",
            packet::rubbish_changes_nothing,
        ),
        (
            "tcp_passes_a_narrow_path_because_the_mss_is_clamped",
            packet::clamps_mss,
        ),
        (
            "a_too_big_packet_is_answered_with_frag_needed",
            packet::answers_too_big,
        ),
        ("copies_dscp_to_the_outer_header", packet::copies_dscp),
        ("several_networks_share_one_child_sa", carriage::several_networks),
        (
            "overlapping_children_carry_in_the_order_of_the_configuration",
            overlap::overlapping_children,
        ),
        (
            "packets_outside_the_selectors_do_not_pass",
            packet::outside_the_selectors,
        ),
        ("up_starts_the_gateway_if_none_runs", life::up_starts_the_gateway),
        (
            "status_tells_both_sides_of_the_same_tunnel",
            carriage::status_agrees,
        ),
        ("new_keys_lose_no_packet", rekey::new_keys_lose_no_packet),
        (
            "reauthentication_loses_no_packet",
            rekey::reauthentication_loses_no_packet,
        ),
        (
            "the_first_packet_makes_a_tunnel_on_demand_and_idleness_ends_it",
            demand::comes_and_goes,
        ),
        (
            "a_gateway_that_crashed_tells_its_peer_at_the_next_message",
            crash::tells_the_peer,
        ),
        (
            "a_gateway_that_crashed_goes_on_by_the_ticket_that_it_gave",
            crash::resumes_the_session,
        ),
        (
            "a_gateway_that_lost_the_key_of_its_tickets_is_asked_for_a_new_session",
            crash::begins_anew_without_the_key,
        ),
        (
            "a_tunnel_follows_when_the_initiators_address_changes",
            mobility::follows_the_initiator,
        ),
        (
            "a_tunnel_follows_when_the_responders_address_changes",
            mobility::follows_the_responder,
        ),
        (
            "over_tcp_a_tunnel_carries_through_nat",
            tcp::carries_in_ipv4_through_nat,
        ),
        ("over_tcp_a_tunnel_carries_in_ipv6", tcp::carries_in_ipv6),
        (
            "over_tcp_a_client_that_is_not_ours_is_understood",
            tcp::speaks_the_format_to_a_client_that_is_not_ours,
        ),
        (
            "where_udp_does_not_pass_a_tunnel_goes_over_tcp",
            tcp::falls_back_where_udp_does_not_pass,
        ),
        (
            "where_udp_passes_tcp_is_not_tried",
            tcp::prefers_udp_where_it_passes,
        ),
        (
            "over_tcp_a_tunnel_survives_new_keys_and_a_cut",
            tcp::survives_new_keys_and_a_cut,
        ),
        ("over_tcp_flows_stay_in_order", tcp::flows_stay_in_order),
        (
            "small_packets_travel_together_through_new_keys",
            iptfs::small_packets_travel_together_through_new_keys,
        ),
        (
            "long_packets_are_cut_and_put_together",
            iptfs::long_packets_are_cut_and_put_together,
        ),
        (
            "flows_in_payloads_of_two_queues_stay_in_order",
            iptfs::flows_in_payloads_of_two_queues_stay_in_order,
        ),
        (
            "a_constant_rate_tells_nothing_on_the_wire",
            iptfs::a_constant_rate_tells_nothing,
        ),
        (
            "a_peer_that_does_not_want_payloads_gets_packets",
            iptfs::a_peer_that_does_not_want_payloads_gets_packets,
        ),
    ];
    let alone = tests.iter().map(|(name, test)| Job::single(name, *test));
    // First, for they take longest; one after the other, for each wants the whole machine.
    std::iter::once(under_load())
        .chain(alone)
        .chain(std::iter::once(trace::job()))
        .collect()
}

fn under_load() -> Job {
    let tests: &[(&str, Test)] = &[
        (
            "a_thousand_rekeys_at_20000_packets_a_second_lose_none",
            steady::a_thousand_rekeys_lose_no_packet,
        ),
        (
            "a_flood_of_first_messages_disturbs_nobody",
            flood::disturbs_nobody,
        ),
    ];
    Job {
        names: tests.iter().map(|(name, _)| (*name).to_owned()).collect(),
        run: Box::new(move |reporter| {
            tests.iter().for_each(|(name, test)| reporter.test(name, test));
        }),
    }
}
