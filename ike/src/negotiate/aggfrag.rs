//! Whether a CHILD SA carries AGGFRAG payloads instead of single IP packets (RFC 9347 5.1, 6.1.4).
//!
//! Each side says by USE_AGGFRAG that it wants them, and in one octet of flags what it cannot do without:
//!
//! ```text
//!   +-+-+-+-+-+-+-+-+
//!   |0|0|0|0|0|0|C|D|   C: the peer is to report loss and delay for congestion control
//!   +-+-+-+-+-+-+-+-+   D: the peer is not to cut inner packets: they are not reassembled
//! ```
//!
//! We do not control congestion and so cannot do what C asks for. A responder that cannot do what is asked leaves the notify out, and the
//! CHILD SA carries single packets. An initiator hears it when the SA is made: the peer sends nothing but AGGFRAG payloads on it (RFC 9347 2.3)
//! and counts on what we do not do, so it is deleted, and asked for once more without USE_AGGFRAG.

use crate::error::{Cause, Side};
use crate::wire::payload::{Notify, NotifyType};

/// What one side does with the AGGFRAG payloads that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggfrag {
    /// It makes inner packets whole that come in pieces, in several payloads. If not, none may be cut.
    pub reassembles: bool,
}

/// An answer to USE_AGGFRAG that we cannot live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// We did not ask for it.
    #[error("the answer has USE_AGGFRAG, which we did not ask for")]
    Unasked,
    /// There is not one octet of flags.
    #[error("the answer has a USE_AGGFRAG without its octet of flags")]
    Malformed,
    /// Congestion control, or a flag that we do not know.
    #[error("the answer demands of AGGFRAG payloads what we do not do (flags {0:#04x})")]
    Demands(u8),
}

impl BadAnswer {
    /// What it means for the CHILD SA.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Unasked | Self::Malformed => Cause::InvalidSyntax {
                refused_by: Side::Us,
                detail: self.to_string(),
            },
            Self::Demands(flags) => Cause::AggfragDemand { flags },
        }
    }
}

impl Aggfrag {
    /// What we tell the peer.
    pub fn notify(self) -> Notify {
        let flags = if self.reassembles { 0 } else { DONT_FRAGMENT };
        Notify::with_data(NotifyType::USE_AGGFRAG, vec![flags])
    }

    /// What the peer says.
    fn read(notify: &Notify) -> Result<Self, BadAnswer> {
        match notify.data.as_slice() {
            [flags] if flags & !DONT_FRAGMENT == 0 => Ok(Self {
                reassembles: flags & DONT_FRAGMENT == 0,
            }),
            [flags] => Err(BadAnswer::Demands(*flags)),
            [..] => Err(BadAnswer::Malformed),
        }
    }
}

/// What the peer says, if we take up its offer. `ours`: what we would say.
pub fn take_up(ours: Option<Aggfrag>, offered: Option<&Notify>) -> Option<Aggfrag> {
    ours.and(offered).and_then(|notify| Aggfrag::read(notify).ok())
}

/// What the peer says if it took up what we offered; `None` if it refused.
pub fn accept(ours: Option<Aggfrag>, answered: Option<&Notify>) -> Result<Option<Aggfrag>, BadAnswer> {
    match (ours, answered) {
        (_, None) => Ok(None),
        (None, Some(_)) => Err(BadAnswer::Unasked),
        (Some(_), Some(notify)) => Aggfrag::read(notify).map(Some),
    }
}

const DONT_FRAGMENT: u8 = 0x01;
/// The C flag.
pub(crate) const CONGESTION_CONTROL: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(data: &[u8]) -> Notify {
        Notify::with_data(NotifyType::USE_AGGFRAG, data.to_vec())
    }

    #[test]
    fn says_what_it_read_in_one_octet() {
        for reassembles in [false, true] {
            let said = Aggfrag { reassembles };
            assert_eq!(said.notify(), notify(&[u8::from(!reassembles)]));
            assert_eq!(Aggfrag::read(&said.notify()), Ok(said));
        }
    }

    #[test]
    fn declines_congestion_control_unknown_flags_and_no_flags() {
        let ours = Some(Aggfrag { reassembles: true });
        for (data, bad) in [
            (&[0x02_u8][..], BadAnswer::Demands(2)),
            (&[0x03], BadAnswer::Demands(3)),
            (&[0x80], BadAnswer::Demands(0x80)),
            (&[], BadAnswer::Malformed),
            (&[0, 0], BadAnswer::Malformed),
        ] {
            assert_eq!(take_up(ours, Some(&notify(data))), None, "{data:?}");
            assert_eq!(accept(ours, Some(&notify(data))), Err(bad), "{data:?}");
        }
        assert_eq!(take_up(None, Some(&notify(&[0]))), None);
        assert_eq!(accept(None, Some(&notify(&[0]))), Err(BadAnswer::Unasked));
        assert_eq!(accept(ours, None), Ok(None));
    }
}
