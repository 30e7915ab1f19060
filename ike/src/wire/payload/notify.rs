//! Notify payload (RFC 7296 3.10).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Protocol ID  |   SPI Size    |      Notify Message Type      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                Security Parameter Index (SPI)                 ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                       Notification Data                       ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

use super::Body;
use super::protocol::ProtocolId;
use crate::wire::malformed::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::{Writer, saturating_u8};

/// An error or a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Of which SA, if an SPI is given; otherwise to be ignored.
    pub protocol: ProtocolId,
    /// Of which SA; mostly empty.
    pub spi: Vec<u8>,
    /// What is notified.
    pub kind: NotifyType,
    /// What goes with it.
    pub data: Vec<u8>,
}

impl Notify {
    /// Without SPI and data.
    pub fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    /// Without SPI.
    pub fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self {
            protocol: ProtocolId::NONE,
            spi: Vec::new(),
            kind,
            data,
        }
    }

    /// Of one ESP SA.
    pub fn of_esp(kind: NotifyType, spi: u32) -> Self {
        Self {
            protocol: ProtocolId::ESP,
            spi: spi.to_be_bytes().to_vec(),
            kind,
            data: Vec::new(),
        }
    }

    /// The SPI, if it is one of ESP.
    pub fn esp_spi(&self) -> Option<u32> {
        match <[u8; 4]>::try_from(self.spi.as_slice()) {
            Ok(spi) if self.protocol == ProtocolId::ESP => Some(u32::from_be_bytes(spi)),
            Ok(_) | Err(_) => None,
        }
    }
}

impl Body for Notify {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let protocol = ProtocolId(reader.u8("the protocol ID")?);
        let spi_size = usize::from(reader.u8("the SPI size")?);
        let kind = NotifyType(reader.u16("the notify message type")?);
        let spi = reader.take(spi_size, "the SPI")?.to_vec();
        Ok(Self {
            protocol,
            spi,
            kind,
            data: reader.rest().to_vec(),
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.protocol.0);
        out.u8(saturating_u8(self.spi.len()));
        out.u16(self.kind.0);
        out.bytes(&self.spi);
        out.bytes(&self.data);
    }
}

/// What a notify says (RFC 7296 3.10.1 and the registry). Unknown types are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotifyType(pub u16);

impl NotifyType {
    /// RFC 7296 3.10.1: types below 16384 are errors, and an unknown one in a response fails the request.
    pub fn is_error(self) -> bool {
        self.0 < FIRST_STATUS
    }
}

macro_rules! notify_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl NotifyType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    Self(_) => None,
                }
            }
        }
    };
}

notify_types! {
    /// RFC 7296 2.5. Data: the payload type.
    UNSUPPORTED_CRITICAL_PAYLOAD = 1;
    /// RFC 7296 2.21.
    INVALID_IKE_SPI = 4;
    /// RFC 7296 2.5.
    INVALID_MAJOR_VERSION = 5;
    /// RFC 7296 3.10.1: everything that no other error says.
    INVALID_SYNTAX = 7;
    /// RFC 7296 2.3. Data: the message ID.
    INVALID_MESSAGE_ID = 9;
    /// RFC 7296 1.5. Data: the SPI of the packet.
    INVALID_SPI = 11;
    /// RFC 7296 2.7.
    NO_PROPOSAL_CHOSEN = 14;
    /// RFC 7296 1.2, 1.3. Data: the method wanted, two octets.
    INVALID_KE_PAYLOAD = 17;
    /// RFC 7296 2.21.2.
    AUTHENTICATION_FAILED = 24;
    /// RFC 7296 2.9.
    SINGLE_PAIR_REQUIRED = 34;
    /// RFC 7296 1.3.
    NO_ADDITIONAL_SAS = 35;
    /// RFC 7296 3.15.4.
    INTERNAL_ADDRESS_FAILURE = 36;
    /// RFC 7296 2.19.
    FAILED_CP_REQUIRED = 37;
    /// RFC 7296 2.9.
    TS_UNACCEPTABLE = 38;
    /// RFC 7296 3.10.1.
    INVALID_SELECTORS = 39;
    /// RFC 4555 4.1.1.
    UNACCEPTABLE_ADDRESSES = 40;
    /// RFC 4555 4.1.2.
    UNEXPECTED_NAT_DETECTED = 41;
    /// RFC 7296 2.25.
    TEMPORARY_FAILURE = 43;
    /// RFC 7296 2.25. With the SPI.
    CHILD_SA_NOT_FOUND = 44;
    /// RFC 9370 2.2.4: an additional key exchange came without its state.
    STATE_NOT_FOUND = 47;
    /// RFC 9611 5.2: no further SA for a resource.
    TS_MAX_QUEUE = 48;

    /// RFC 7296 2.4.
    INITIAL_CONTACT = 16384;
    /// RFC 7296 2.3. Data: four octets.
    SET_WINDOW_SIZE = 16385;
    /// RFC 7296 2.9.
    ADDITIONAL_TS_POSSIBLE = 16386;
    /// RFC 7296 2.22.
    IPCOMP_SUPPORTED = 16387;
    /// RFC 7296 2.23. Data: SHA-1 of the SPIs and the sender's address and port.
    NAT_DETECTION_SOURCE_IP = 16388;
    /// RFC 7296 2.23. Data: SHA-1 of the SPIs and the receiver's address and port.
    NAT_DETECTION_DESTINATION_IP = 16389;
    /// RFC 7296 2.6. Data: 1 to 64 octets.
    COOKIE = 16390;
    /// RFC 7296 1.3.1.
    USE_TRANSPORT_MODE = 16391;
    /// RFC 7296 3.6.
    HTTP_CERT_LOOKUP_SUPPORTED = 16392;
    /// RFC 7296 1.3.3. With the SPI.
    REKEY_SA = 16393;
    /// RFC 7296 1.3.1.
    ESP_TFC_PADDING_NOT_SUPPORTED = 16394;
    /// RFC 7296 1.3.1.
    NON_FIRST_FRAGMENTS_ALSO = 16395;
    /// RFC 4555 4.2.1.
    MOBIKE_SUPPORTED = 16396;
    /// RFC 4555 4.2.2.
    ADDITIONAL_IP4_ADDRESS = 16397;
    /// RFC 4555 4.2.2.
    ADDITIONAL_IP6_ADDRESS = 16398;
    /// RFC 4555 4.2.3.
    NO_ADDITIONAL_ADDRESSES = 16399;
    /// RFC 4555 4.2.4.
    UPDATE_SA_ADDRESSES = 16400;
    /// RFC 4555 4.2.5.
    COOKIE2 = 16401;
    /// RFC 4555 4.2.6.
    NO_NATS_ALLOWED = 16402;
    /// RFC 4478. Data: seconds, four octets.
    AUTH_LIFETIME = 16403;
    /// RFC 4739.
    MULTIPLE_AUTH_SUPPORTED = 16404;
    /// RFC 4739.
    ANOTHER_AUTH_FOLLOWS = 16405;
    /// RFC 5685.
    REDIRECT_SUPPORTED = 16406;
    /// RFC 5685.
    REDIRECT = 16407;
    /// RFC 5685.
    REDIRECTED_FROM = 16408;
    /// RFC 5723 7.1. Data: the lifetime in seconds (four octets) and the ticket.
    TICKET_LT_OPAQUE = 16409;
    /// RFC 5723 4.1.
    TICKET_REQUEST = 16410;
    /// RFC 5723 4.1: a ticket may be had later.
    TICKET_ACK = 16411;
    /// RFC 5723 4.1, 4.3.2: no ticket is given, or this one is not taken.
    TICKET_NACK = 16412;
    /// RFC 5723 7.2. Data: the ticket.
    TICKET_OPAQUE = 16413;
    /// RFC 5998.
    EAP_ONLY_AUTHENTICATION = 16417;
    /// RFC 6023.
    CHILDLESS_IKEV2_SUPPORTED = 16418;
    /// RFC 6290.
    QUICK_CRASH_DETECTION = 16419;
    /// RFC 6311.
    IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420;
    /// RFC 7383 2.3.
    IKEV2_FRAGMENTATION_SUPPORTED = 16430;
    /// RFC 7427 4. Data: two octets per hash algorithm.
    SIGNATURE_HASH_ALGORITHMS = 16431;
    /// RFC 8019 8.1. Data: the PRF's Transform ID (two octets) and the difficulty.
    PUZZLE = 16434;
    /// RFC 8784.
    USE_PPK = 16435;
    /// RFC 8784.
    PPK_IDENTITY = 16436;
    /// RFC 8784.
    NO_PPK_AUTH = 16437;
    /// RFC 9242 3.1.
    INTERMEDIATE_EXCHANGE_SUPPORTED = 16438;
    /// RFC 9370 2.2.4. Data: a blob to be repeated.
    ADDITIONAL_KEY_EXCHANGE = 16441;
    /// RFC 9347 6.1.4. Data: an octet of flags.
    USE_AGGFRAG = 16442;
    /// RFC 9593. Data: announcements.
    SUPPORTED_AUTH_METHODS = 16443;
    /// RFC 9611 5.1: the CHILD SA is for one resource, such as a CPU. Data: whatever identifies it to the sender.
    SA_RESOURCE_INFO = 16444;
}

impl fmt::Debug for NotifyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NotifyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.is_error()) {
            (Some(name), _) => f.write_str(name),
            (None, true) => write!(f, "error notify {}", self.0),
            (None, false) => write!(f, "status notify {}", self.0),
        }
    }
}

const FIRST_STATUS: u16 = 16384;
