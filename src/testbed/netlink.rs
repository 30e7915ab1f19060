//! Netlink, as little as the test bed needs: messages of nested attributes, requests that wait for their
//! acknowledgement, dumps. Blocking, because namespaces belong to threads.

use std::io::{self, Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

/// A netlink request under construction (linux/netlink.h).
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A request of type `kind`; `flags` come on top of `NLM_F_REQUEST`.
    pub(super) fn new(kind: u16, flags: i32) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
        let mut message = Self(Vec::with_capacity(128));
        message
            .put(&[0; 4])
            .put(&kind.to_ne_bytes())
            .put(&flags.to_ne_bytes())
            .put(&[0; 8]);
        message
    }

    /// Appends the fixed part that follows the header.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.put(value);
        self.close(start)
    }

    /// Appends a NUL-terminated string.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.put(value.as_bytes()).put(&[0]);
        self.close(start)
    }

    /// Appends an attribute that contains attributes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(kind | NESTED);
        fill(self);
        self.close(start)
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.put(&[0; 2]).put(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) -> &mut Self {
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn seal(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
pub(super) struct Netlink(Socket);

impl Netlink {
    /// Links, addresses, routes.
    pub(super) fn route() -> io::Result<Self> {
        Self::open(libc::NETLINK_ROUTE)
    }

    /// nf_tables.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(libc::NETLINK_NETFILTER)
    }

    fn open(family: i32) -> io::Result<Self> {
        Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(family)),
        )
        .map(Self)
    }

    /// Performs one request.
    pub(super) fn request(&mut self, message: Message) -> io::Result<()> {
        self.batch(vec![message])
    }

    /// Sends several messages at once and waits until each one that asked for an acknowledgement has it.
    pub(super) fn batch(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let mut datagram = Vec::new();
        let mut pending = 0;
        for (sequence, message) in (1..).zip(messages) {
            let octets = message.seal(sequence);
            pending += usize::from(i32::from(half(&octets, 6)) & libc::NLM_F_ACK != 0);
            datagram.extend_from_slice(&octets);
        }
        self.0.write_all(&datagram)?;
        let mut first_error = None;
        while pending > 0 {
            for (kind, body) in self.receive()? {
                if i32::from(kind) != libc::NLMSG_ERROR {
                    continue;
                }
                pending -= 1;
                if let Err(error) = outcome(&body) {
                    // nf_tables reports a failed batch once, not once for each message.
                    first_error.get_or_insert(error);
                    pending = 0;
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Everything the kernel answers to a dump request, as (type, body).
    pub(super) fn dump(&mut self, message: Message) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.0.write_all(&message.seal(1))?;
        let mut answers = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => outcome(&body)?,
                    _ => answers.push((kind, body)),
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let mut buffer = vec![0; 1 << 16];
        let length = self.0.read(&mut buffer)?;
        let mut rest = &buffer[..length];
        let mut messages = Vec::new();
        while rest.len() >= 16 {
            let length = (word(rest, 0) as usize).clamp(16, rest.len());
            messages.push((half(rest, 4), rest[16..length].to_vec()));
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(messages)
    }
}

/// The attributes in `bytes`, as (type, value).
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(half(bytes, 0)).clamp(4, bytes.len());
        found.push((half(bytes, 2) & !NESTED, &bytes[4..length]));
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    found
}

/// The 32-bit word at `at`, in host order; 0 beyond the end.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_ne_bytes(*b))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u16::from_ne_bytes(*b))
}

fn outcome(error: &[u8]) -> io::Result<()> {
    match word(error, 0).cast_signed() {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

const NESTED: u16 = 0x8000;
