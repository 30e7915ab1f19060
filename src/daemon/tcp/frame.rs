//! Messages in a stream of octets (RFC 9329 3, 4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!                                 +-------------------------------+
//!                                 | Length (of itself, too)       |
//! +-------------------------------+-------------------------------+
//! | four octets of zero, then an IKE message; or an ESP packet    ~
//! +---------------------------------------------------------------+
//! ```
//!
//! The side that opened the connection sends "IKETCP" before all of them, once. Both parsing and emitting are total: any
//! octets in, in pieces of any size.

/// RFC 9329 4: what a stream begins with.
pub const PREFIX: [u8; 6] = *b"IKETCP";
/// RFC 9329 3: the longest message that the length can count.
pub const LONGEST: usize = u16::MAX as usize - LENGTH;

/// A message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An IKE message, without its non-ESP marker.
    Ike(&'a [u8]),
    /// What must be an ESP packet, for it is nothing else.
    Esp(&'a [u8]),
    /// A NAT-keepalive, or an empty message: to be ignored without a word (RFC 9329 3, 6.6).
    Silence,
    /// Too short for anything.
    Rubbish,
}

/// A stream that cannot be read on: the connection is to be closed (RFC 9329 3, 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It did not begin with the prefix.
    Prefix,
    /// A length of 0 or 1.
    Length,
    /// A message that is longer than is accepted of this peer.
    TooLong,
}

/// Finds the messages in what was received of a stream. It keeps no more than one that is not complete.
#[derive(Debug)]
pub struct Decoder {
    awaits_prefix: bool,
    received: Vec<u8>,
    /// So many octets of that are done with.
    done: usize,
    longest: usize,
}

impl Decoder {
    /// Of the side that was connected to. Messages are at most so long.
    pub fn of_responder(longest: usize) -> Self {
        Self {
            awaits_prefix: true,
            received: Vec::new(),
            done: 0,
            longest: longest.min(LONGEST),
        }
    }

    /// Of the side that has opened the connection: the other one sends no prefix.
    pub fn of_originator() -> Self {
        Self {
            awaits_prefix: false,
            ..Self::of_responder(LONGEST)
        }
    }

    /// The prefix is still to come, or to be complete.
    pub fn awaits_prefix(&self) -> bool {
        self.awaits_prefix
    }

    /// From now on messages may have any length.
    pub fn trust(&mut self) {
        self.longest = LONGEST;
    }

    /// Takes what was received. To be followed by [`next_frame`](Self::next_frame) until that gives nothing more.
    pub fn push(&mut self, octets: &[u8]) {
        self.received.drain(..self.done);
        self.done = 0;
        self.received.extend_from_slice(octets);
    }

    /// Looks for the prefix, if it is still to come.
    pub fn check_prefix(&mut self) -> Result<(), Broken> {
        let rest = self.received.get(self.done..).unwrap_or_default();
        if !self.awaits_prefix {
            return Ok(());
        }
        // Who speaks something else is recognised at the first octet.
        if !PREFIX.starts_with(rest) && !rest.starts_with(&PREFIX) {
            return Err(Broken::Prefix);
        }
        if rest.len() >= PREFIX.len() {
            self.awaits_prefix = false;
            self.done += PREFIX.len();
        }
        Ok(())
    }

    /// The next message, if it is complete.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Broken> {
        self.check_prefix()?;
        if self.awaits_prefix {
            return Ok(None);
        }
        let rest = self.received.get(self.done..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        // RFC 9329 3.1: the length counts itself, so 0 and 1 are impossible.
        let length = usize::from(u16::from_be_bytes(*length))
            .checked_sub(LENGTH)
            .ok_or(Broken::Length)?;
        if length > self.longest {
            return Err(Broken::TooLong);
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        self.done += LENGTH + length;
        Ok(Some(classify(message)))
    }
}

fn classify(message: &[u8]) -> Frame<'_> {
    match message {
        [] | [KEEPALIVE] => Frame::Silence,
        [0, 0, 0, 0, ike @ ..] => Frame::Ike(ike),
        [_, _, _, _, ..] => Frame::Esp(message),
        [_, ..] => Frame::Rubbish,
    }
}

/// Appends an IKE message (RFC 9329 3.1). False if it is too long for a stream.
pub fn emit_ike(out: &mut Vec<u8>, message: &[u8]) -> bool {
    emit(out, &NON_ESP_MARKER, message)
}

/// Appends an ESP packet (RFC 9329 3.2). False if it is too long for a stream.
pub fn emit_esp(out: &mut Vec<u8>, packet: &[u8]) -> bool {
    emit(out, &[], packet)
}

fn emit(out: &mut Vec<u8>, marker: &[u8], message: &[u8]) -> bool {
    let Ok(length) = u16::try_from(LENGTH + marker.len() + message.len()) else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(marker);
    out.extend_from_slice(message);
    true
}

/// Octets of the length itself.
const LENGTH: usize = 2;
/// RFC 3948 2.2, RFC 9329 3.1.
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 2.3, RFC 9329 6.6.
const KEEPALIVE: u8 = 0xff;

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
