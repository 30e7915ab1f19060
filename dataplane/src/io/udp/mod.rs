//! UDP sockets that know the local address and the traffic class of every datagram.

pub mod cmsg;
pub mod ike;
pub mod message;
pub mod socket;
mod steer;

pub use ike::{IkeInbox, IkeSocket};
pub use message::{Meta, Outgoing};
pub use socket::UdpSocket;
