//! A proving ground: two endpoints on virtual time with a faulty network between them (feature "testing").
//!
//! Everything follows from a seed: a failure is reported with the seed and can be replayed.

mod clock;
mod host;
mod judge;
mod kind;
mod model;
mod net;
mod pair;
mod random;

pub use clock::Clock;
pub use host::Host;
pub use model::{Model, Operation};
pub use net::{Faults, InTransit, Nat, Net};
pub use pair::{ALICE, BOB, EVE, LINK, Pair, SECRET, WALL_CLOCK, Who, config, ip, name, path};
pub use random::SeededRandom;
