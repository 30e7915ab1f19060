//! Datagrams that change nothing, and why.

/// Why a datagram changed nothing. One variant is one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignore {
    /// Shorter than it claims to be, or than an IKE header (RFC 7296 3.1).
    Truncated,
    /// Not an IKE message at all: the length field does not agree with the datagram.
    NotIke,
    /// Another major version than 2 (RFC 7296 2.5).
    WrongVersion,
    /// An exchange type that RFC 7296 does not know, or one that does not fit the message.
    WrongExchange,
    /// No IKE SA has these SPIs (RFC 7296 2.21.4).
    UnknownSpi,
    /// The integrity check failed, or the message is not protected though it should be.
    BadIcv,
    /// The payloads do not parse, in a message that proves nothing about its sender.
    Malformed,
    /// A message ID outside the window of one (RFC 7296 2.3).
    OutOfWindow,
    /// A fragment with impossible numbers, one that is there already, or one too many (RFC 7383 2.6).
    Fragment,
    /// Our own message came back.
    Reflected,
    /// A response to no request of ours.
    Unasked,
    /// The message came from a place this SA does not know, and does not prove that the peer moved.
    WrongPath,
    /// Too many half-open SAs: not even a cookie is given out (RFC 7296 2.6).
    HalfOpenFull,
    /// No configured connection fits the addresses.
    NoConnection,
    /// Not expected in this state.
    UnexpectedState,
    /// Refused, as something like it was a moment ago: counted, not told again.
    RefusedAgain,
    /// An unauthenticated error notification: remembered as the probable cause, not obeyed (RFC 7296 2.21.1).
    UnprotectedError,
    /// The peer asks again while we ask the network whether its certificate is still good.
    AwaitingStatus,
}

impl Ignore {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 18] = [
        Self::Truncated,
        Self::NotIke,
        Self::WrongVersion,
        Self::WrongExchange,
        Self::UnknownSpi,
        Self::BadIcv,
        Self::Malformed,
        Self::OutOfWindow,
        Self::Fragment,
        Self::Reflected,
        Self::Unasked,
        Self::WrongPath,
        Self::HalfOpenFull,
        Self::NoConnection,
        Self::UnexpectedState,
        Self::RefusedAgain,
        Self::UnprotectedError,
        Self::AwaitingStatus,
    ];

    /// The name of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotIke => "not_ike",
            Self::WrongVersion => "wrong_version",
            Self::WrongExchange => "wrong_exchange",
            Self::UnknownSpi => "unknown_spi",
            Self::BadIcv => "bad_icv",
            Self::Malformed => "malformed",
            Self::OutOfWindow => "out_of_window",
            Self::Fragment => "fragment",
            Self::Reflected => "reflected",
            Self::Unasked => "unasked",
            Self::WrongPath => "wrong_path",
            Self::HalfOpenFull => "half_open_full",
            Self::NoConnection => "no_connection",
            Self::UnexpectedState => "unexpected_state",
            Self::RefusedAgain => "refused_again",
            Self::UnprotectedError => "unprotected_error",
            Self::AwaitingStatus => "awaiting_status",
        }
    }
}
