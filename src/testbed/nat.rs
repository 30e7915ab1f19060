//! 1:1 NAT as an Elastic IP is one: nf_tables spoken over netlink (linux/netfilter/nf_tables.h), so that no `nft`
//! has to be installed.

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{Message, Netlink};

/// In the calling thread's namespace: what comes for `public` goes to `private`, what comes from `private` leaves as
/// `public`. Like
///
/// ```text
/// table ip xvpn {
///     chain prerouting  { type nat hook prerouting priority dstnat;  ip daddr PUBLIC dnat to PRIVATE }
///     chain postrouting { type nat hook postrouting priority srcnat; ip saddr PRIVATE snat to PUBLIC }
/// }
/// ```
pub(super) fn one_to_one(private: Ipv4Addr, public: Ipv4Addr) -> io::Result<()> {
    let mut messages = vec![boundary(NFNL_MSG_BATCH_BEGIN), table()];
    for (name, hook, priority) in [(PREROUTING, 0, -100), (POSTROUTING, 4, 100)] {
        messages.push(chain(name, hook, priority));
    }
    messages.push(rule(
        PREROUTING,
        DESTINATION_OFFSET,
        public,
        NFT_NAT_DNAT,
        private,
    ));
    messages.push(rule(POSTROUTING, SOURCE_OFFSET, private, NFT_NAT_SNAT, public));
    messages.push(boundary(NFNL_MSG_BATCH_END));
    Netlink::netfilter()?.batch(messages)
}

/// The beginning or the end of what is done in one go.
pub(super) fn boundary(kind: u16) -> Message {
    let mut message = Message::new(kind, 0);
    message.put(&[0, 0]).put(&NFNL_SUBSYS_NFTABLES.to_be_bytes());
    message
}

fn table() -> Message {
    let mut message = command(NFT_MSG_NEWTABLE, libc::NLM_F_CREATE);
    message.text(1, TABLE);
    message
}

fn chain(name: &str, hook: u32, priority: i32) -> Message {
    let mut message = command(NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE);
    message
        .text(1, TABLE)
        .text(3, name)
        .text(7, "nat")
        .nest(4, |message| {
            message
                .attribute(1, &hook.to_be_bytes())
                .attribute(2, &priority.to_be_bytes());
        });
    message
}

/// A rule: if the address at `offset` of the IP header is `from`, translate it to `to`.
fn rule(chain: &str, offset: u32, from: Ipv4Addr, kind: u32, to: Ipv4Addr) -> Message {
    let mut message = command(NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
    message.text(1, TABLE).text(2, chain).nest(4, |rule| {
        expression(rule, "payload", |data| {
            number(data, 1, REGISTER).attribute(2, &1_u32.to_be_bytes());
            number(data, 3, offset).attribute(4, &4_u32.to_be_bytes());
        });
        expression(rule, "cmp", |data| {
            number(data, 1, REGISTER).attribute(2, &0_u32.to_be_bytes());
            data.nest(3, |value| {
                value.attribute(1, &from.octets());
            });
        });
        expression(rule, "immediate", |data| {
            number(data, 1, REGISTER).nest(2, |value| {
                value.attribute(1, &to.octets());
            });
        });
        expression(rule, "nat", |data| {
            number(data, 1, kind).attribute(2, &2_u32.to_be_bytes());
            number(data, 3, REGISTER);
        });
    });
    message
}

/// One step of a rule.
pub(super) fn expression(rule: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    rule.nest(1, |element| {
        element.text(1, name).nest(2, fill);
    });
}

/// A 32-bit attribute.
pub(super) fn number(message: &mut Message, kind: u16, value: u32) -> &mut Message {
    message.attribute(kind, &value.to_be_bytes())
}

fn command(kind: u16, flags: i32) -> Message {
    command_of(NFPROTO_IPV4, kind, flags)
}

/// A command about the tables of one address family.
pub(super) fn command_of(family: u8, kind: u16, flags: i32) -> Message {
    let mut message = Message::new(NFNL_SUBSYS_NFTABLES << 8 | kind, flags | libc::NLM_F_ACK);
    message.put(&[family, 0, 0, 0]);
    message
}

const TABLE: &str = "xvpn";
const PREROUTING: &str = "prerouting";
const POSTROUTING: &str = "postrouting";
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
pub(super) const REGISTER: u32 = 1;
pub(super) const NFPROTO_IPV4: u8 = 2;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 16;
pub(super) const NFNL_MSG_BATCH_END: u16 = 17;
pub(super) const NFT_MSG_NEWTABLE: u16 = 0;
pub(super) const NFT_MSG_NEWCHAIN: u16 = 3;
pub(super) const NFT_MSG_NEWRULE: u16 = 6;
const NFT_NAT_SNAT: u32 = 0;
const NFT_NAT_DNAT: u32 = 1;
