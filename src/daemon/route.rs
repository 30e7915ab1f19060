//! Routes, in our words.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to; without host bits.
    pub destination: IpNet,
    /// Lower wins. The kernel's default is 0 for IPv4 and 1024 for IPv6.
    pub metric: u32,
    /// By which way.
    pub via: Via,
}

/// The way a route takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Out of an interface.
    Interface {
        /// Its name.
        name: String,
        /// The next hop, if the destination is not on the link.
        gateway: Option<IpAddr>,
        /// The source address of packets that have none yet.
        source: Option<IpAddr>,
    },
    /// Nowhere: the kernel answers "unreachable".
    Unreachable,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.via {
            Via::Unreachable => write!(f, "unreachable {}", self.destination)?,
            Via::Interface {
                name,
                gateway,
                source,
            } => {
                write!(f, "{}", self.destination)?;
                if let Some(gateway) = gateway {
                    write!(f, " via {gateway}")?;
                }
                write!(f, " dev {name}")?;
                if let Some(source) = source {
                    write!(f, " src {source}")?;
                }
            }
        }
        if self.metric != default_metric(self.destination) {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// The metric that the kernel gives a route of this family if told nothing.
pub fn default_metric(destination: IpNet) -> u32 {
    match destination {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1024,
    }
}
