//! The kernel's interfaces, addresses and routes: the one file that speaks rtnetlink.
//!
//! Concurrency: for the supervisor's thread. Each call waits for the kernel's answer, which takes microseconds.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums are the kernel's and grow with it"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::mpsc;

use super::route::{Route, Via};

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no such interface.
    #[error("there is no interface `{0}`")]
    NoInterface(String),
    /// The kernel said no.
    #[error("the kernel refused to {what}: {source}")]
    Refused {
        /// To do what.
        what: String,
        /// Its error.
        source: io::Error,
    },
}

/// A connection to rtnetlink.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens the connection; its driver becomes a task of the current runtime.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Tells whoever listens which addresses the host has: now, and whenever addresses, links or routes have changed.
    /// A task of the current runtime; it ends with the receiver.
    pub fn watch(&self, found: mpsc::Sender<Vec<IpNet>>) -> io::Result<()> {
        let (connection, _, mut changes) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Link,
        ])?;
        tokio::spawn(connection);
        let netlink = self.clone();
        tokio::spawn(async move {
            loop {
                match netlink.addresses().await {
                    Ok(addresses) => {
                        if found.send(addresses).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::debug!("cannot see which addresses this host has: {error}"),
                }
                if changes.next().await.is_none() {
                    return;
                }
                // Changes come in flocks: one look when they have calmed down, or after a while.
                let calm = tokio::time::sleep(CALM);
                tokio::pin!(calm);
                loop {
                    tokio::select! {
                        () = &mut calm => break,
                        change = changes.next() => if change.is_none() { return },
                    }
                }
            }
        });
        Ok(())
    }

    /// Switches an interface on and sets its MTU.
    pub async fn set_up(&self, interface: &str, mtu: u32) -> Result<(), NetlinkError> {
        let link = LinkUnspec::new_with_index(self.index_of(interface).await?)
            .up()
            .mtu(mtu)
            .build();
        let done = self.handle.link().set(link).execute().await;
        done.map_err(|error| refused(format!("set interface {interface} up with MTU {mtu}"), error))
    }

    /// Adds an address to an interface; an address that is there already is no error.
    pub async fn add_address(&self, interface: &str, address: IpNet) -> Result<(), NetlinkError> {
        let index = self.index_of(interface).await?;
        let mut request = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        // A tunnel has no neighbours to ask whether the address is free (RFC 4862 5.4), and while the kernel would wait for
        // their answer it refuses routes with this source.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        let done = request.execute().await;
        match done.map_err(|error| refused(format!("add address {address} to {interface}"), error)) {
            Err(error) if error.is(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Takes an address from an interface; one that is not there is no error.
    pub async fn delete_address(&self, interface: &str, address: IpNet) -> Result<(), NetlinkError> {
        let index = match self.index_of(interface).await {
            Err(NetlinkError::NoInterface(_)) => return Ok(()),
            other => other?,
        };
        let found = self.address_messages().await?;
        let message = found
            .into_iter()
            .find(|message| message.header.index == index && net_of(message) == Some(address));
        let Some(message) = message else { return Ok(()) };
        let done = self.handle.address().del(message).execute().await;
        done.map_err(|error| refused(format!("delete address {address} from {interface}"), error))
    }

    /// Addresses of global scope on all interfaces.
    pub async fn addresses(&self) -> Result<Vec<IpNet>, NetlinkError> {
        let found = self.address_messages().await?;
        let global = found
            .iter()
            .filter(|message| message.header.scope == AddressScope::Universe);
        Ok(global.filter_map(net_of).collect())
    }

    /// Adds a route.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = self.route_message(route).await?;
        let done = self.handle.route().add(message).execute().await;
        done.map_err(|error| refused(format!("add the route {route}"), error))
    }

    /// Deletes a route; one that is not there is no error.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        let message = match self.route_message(route).await {
            // With an interface its routes go too.
            Err(NetlinkError::NoInterface(_)) => return Ok(()),
            other => other?,
        };
        let done = self.handle.route().del(message).execute().await;
        match done.map_err(|error| refused(format!("delete the route {route}"), error)) {
            Err(error) if error.is(libc::ESRCH) || error.is(libc::ENOENT) || error.is(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// All routes of the main table to exactly this destination.
    pub async fn routes_to(&self, destination: IpNet) -> Result<Vec<Route>, NetlinkError> {
        let message = match destination {
            IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let messages: Vec<_> = self
            .handle
            .route()
            .get(message)
            .execute()
            .try_collect()
            .await
            .map_err(|error| refused("list routes", error))?;
        let mut routes = Vec::new();
        for message in messages {
            if is_main(&message)
                && !message.header.flags.contains(RouteFlags::Cloned)
                && destination_of(&message) == Some(destination)
            {
                routes.push(self.route_of(destination, &message).await?);
            }
        }
        Ok(routes)
    }

    /// The way packets to this address take now.
    pub async fn way_to(&self, address: IpAddr) -> Result<Via, NetlinkError> {
        let what = || format!("say which way leads to {address}");
        let message = match address {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(v4, 32)
                .build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(v6, 128)
                .build(),
        };
        let mut answers = Box::pin(self.handle.route().get(message).execute());
        let answer = answers
            .next()
            .await
            .transpose()
            .map_err(|error| refused(what(), error))?;
        let answer = answer.ok_or_else(|| NetlinkError::Refused {
            what: what(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        self.via_of(&answer).await
    }

    async fn index_of(&self, interface: &str) -> Result<u32, NetlinkError> {
        let mut found = Box::pin(
            self.handle
                .link()
                .get()
                .match_name(interface.to_owned())
                .execute(),
        );
        match found.next().await {
            Some(Ok(link)) => Ok(link.header.index),
            Some(Err(error)) => {
                let error = refused(format!("look up interface {interface}"), error);
                Err(if error.is(libc::ENODEV) {
                    NetlinkError::NoInterface(interface.to_owned())
                } else {
                    error
                })
            }
            None => Err(NetlinkError::NoInterface(interface.to_owned())),
        }
    }

    async fn name_of(&self, index: u32) -> Result<String, NetlinkError> {
        let mut found = Box::pin(self.handle.link().get().match_index(index).execute());
        let link = found
            .next()
            .await
            .transpose()
            .map_err(|error| refused(format!("look up interface {index}"), error))?;
        link.as_ref()
            .and_then(link_name)
            .ok_or_else(|| NetlinkError::NoInterface(format!("number {index}")))
    }

    async fn address_messages(&self) -> Result<Vec<AddressMessage>, NetlinkError> {
        let all = self.handle.address().get().execute().try_collect().await;
        all.map_err(|error| refused("list addresses", error))
    }

    async fn route_message(&self, route: &Route) -> Result<RouteMessage, NetlinkError> {
        let mut message = match route.destination {
            IpNet::V4(net) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(net.network(), net.prefix_len())
            }
            IpNet::V6(net) => {
                let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(net.network(), net.prefix_len());
                return self.finish_route(v6.priority(route.metric).build(), route).await;
            }
        }
        .priority(route.metric)
        .build();
        // iproute2 does the same: an IPv4 route without a next hop has the scope of a link.
        message.header.scope = match &route.via {
            Via::Interface { gateway: None, .. } => RouteScope::Link,
            Via::Interface { gateway: Some(_), .. } | Via::Unreachable => RouteScope::Universe,
        };
        self.finish_route(message, route).await
    }

    async fn finish_route(
        &self,
        mut message: RouteMessage,
        route: &Route,
    ) -> Result<RouteMessage, NetlinkError> {
        match &route.via {
            Via::Unreachable => message.header.kind = RouteType::Unreachable,
            Via::Interface {
                name,
                gateway,
                source,
            } => {
                message
                    .attributes
                    .push(RouteAttribute::Oif(self.index_of(name).await?));
                message
                    .attributes
                    .extend(gateway.map(|address| RouteAttribute::Gateway(address.into())));
                message
                    .attributes
                    .extend(source.map(|address| RouteAttribute::PrefSource(address.into())));
            }
        }
        Ok(message)
    }

    async fn route_of(&self, destination: IpNet, message: &RouteMessage) -> Result<Route, NetlinkError> {
        let metric = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
        Ok(Route {
            destination,
            metric: metric.unwrap_or(0),
            via: self.via_of(message).await?,
        })
    }

    async fn via_of(&self, message: &RouteMessage) -> Result<Via, NetlinkError> {
        if message.header.kind != RouteType::Unicast && message.header.kind != RouteType::Local {
            return Ok(Via::Unreachable);
        }
        let (mut name, mut gateway, mut source) = (String::new(), None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => name = self.name_of(*index).await?,
                RouteAttribute::Gateway(address) => gateway = ip_of(address),
                RouteAttribute::PrefSource(address) => source = ip_of(address),
                _ => {}
            }
        }
        Ok(Via::Interface {
            name,
            gateway,
            source,
        })
    }
}

impl NetlinkError {
    /// Is it this error of the kernel?
    pub fn is(&self, errno: i32) -> bool {
        match self {
            Self::NoInterface(_) => false,
            Self::Refused { source, .. } => source.raw_os_error() == Some(errno),
        }
    }
}

/// Between the first sign of a change and the look at it.
const CALM: Duration = Duration::from_millis(100);

fn refused(what: impl Into<String>, error: rtnetlink::Error) -> NetlinkError {
    let source = match &error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    };
    NetlinkError::Refused {
        what: what.into(),
        source,
    }
}

fn is_main(message: &RouteMessage) -> bool {
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or(u32::from(message.header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn destination_of(message: &RouteMessage) -> Option<IpNet> {
    use rtnetlink::packet_route::AddressFamily;
    let given = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip_of(address),
        _ => None,
    });
    // A default route has no destination attribute.
    let address = match message.header.address_family {
        AddressFamily::Inet => given.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => given.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => return None,
    };
    IpNet::new(address, message.header.destination_prefix_length).ok()
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn net_of(message: &AddressMessage) -> Option<IpNet> {
    // On a point-to-point link `Address` is the other end and `Local` is ours; elsewhere they are the same.
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    IpNet::new(find(true).or_else(|| find(false))?, message.header.prefix_len).ok()
}

fn link_name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}
