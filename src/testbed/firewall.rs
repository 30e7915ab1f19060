//! A network that lets not everything pass: nf_tables spoken over netlink, like the NAT beside it.

use std::io;

use super::nat::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFPROTO_IPV4, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE, REGISTER, boundary, command_of, expression, number,
};
use super::netlink::{Message, Netlink};

/// What does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// UDP vanishes, as in networks that know only the web.
    Udp,
    /// TCP vanishes.
    Tcp,
    /// TCP is answered with a reset, which ends every connection that carries something.
    ResetTcp,
}

/// In the calling thread's namespace: sets a barrier before what is forwarded, of both families. Like
///
/// ```text
/// table ip NAME  { chain forward { type filter hook forward priority 0; ip protocol udp drop } }
/// table ip6 NAME { chain forward { type filter hook forward priority 0; ip6 nexthdr udp drop } }
/// ```
pub fn set_barrier(barrier: Barrier) -> io::Result<()> {
    for family in FAMILIES {
        let name = name(barrier);
        let mut table = command_of(family, NFT_MSG_NEWTABLE, libc::NLM_F_CREATE);
        table.text(1, name);
        let mut chain = command_of(family, NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE);
        chain
            .text(1, name)
            .text(3, CHAIN)
            .text(7, "filter")
            .nest(4, |hook| {
                hook.attribute(1, &HOOK_FORWARD.to_be_bytes())
                    .attribute(2, &0_i32.to_be_bytes());
            });
        batch(vec![table, chain, rule(family, barrier)])?;
    }
    Ok(())
}

/// Takes it away again.
pub fn lift_barrier(barrier: Barrier) -> io::Result<()> {
    for family in FAMILIES {
        let mut table = command_of(family, NFT_MSG_DELTABLE, 0);
        table.text(1, name(barrier));
        batch(vec![table])?;
    }
    Ok(())
}

fn batch(messages: Vec<Message>) -> io::Result<()> {
    let mut all = vec![boundary(NFNL_MSG_BATCH_BEGIN)];
    all.extend(messages);
    all.push(boundary(NFNL_MSG_BATCH_END));
    Netlink::netfilter()?.batch(all)
}

fn rule(family: u8, barrier: Barrier) -> Message {
    let mut message = command_of(family, NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
    let protocol = match barrier {
        Barrier::Udp => 17,
        Barrier::Tcp | Barrier::ResetTcp => 6,
    };
    // Where the header of IP says what it carries.
    let offset = if family == NFPROTO_IPV4 { 9 } else { 6 };
    message.text(1, name(barrier)).text(2, CHAIN).nest(4, |rule| {
        expression(rule, "payload", |data| {
            number(data, 1, REGISTER);
            number(data, 2, NETWORK_HEADER);
            number(data, 3, offset);
            number(data, 4, 1);
        });
        expression(rule, "cmp", |data| {
            number(data, 1, REGISTER);
            number(data, 2, 0);
            data.nest(3, |value| {
                value.attribute(1, &[protocol]);
            });
        });
        match barrier {
            Barrier::Udp | Barrier::Tcp => expression(rule, "immediate", |data| {
                number(data, 1, REGISTER_VERDICT);
                data.nest(2, |value| {
                    value.nest(2, |verdict| {
                        number(verdict, 1, VERDICT_DROP);
                    });
                });
            }),
            Barrier::ResetTcp => expression(rule, "reject", |data| {
                number(data, 1, REJECT_TCP_RESET);
                data.attribute(2, &[0]);
            }),
        }
    });
    message
}

fn name(barrier: Barrier) -> &'static str {
    match barrier {
        Barrier::Udp => "no-udp",
        Barrier::Tcp => "no-tcp",
        Barrier::ResetTcp => "reset-tcp",
    }
}

const FAMILIES: [u8; 2] = [NFPROTO_IPV4, NFPROTO_IPV6];
const CHAIN: &str = "forward";
const HOOK_FORWARD: u32 = 2;
const NETWORK_HEADER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;
const VERDICT_DROP: u32 = 0;
const REJECT_TCP_RESET: u32 = 1;
const NFPROTO_IPV6: u8 = 10;
const NFT_MSG_DELTABLE: u16 = 2;
