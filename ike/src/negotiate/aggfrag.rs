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
//! CHILD SA carries single packets.

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
    /// Congestion control, a flag that we do not know, or no octet of flags.
    #[error("the answer wants of AGGFRAG payloads what we do not do")]
    Wants,
}

impl Aggfrag {
    /// What we tell the peer.
    pub fn notify(self) -> Notify {
        let flags = if self.reassembles { 0 } else { DONT_FRAGMENT };
        Notify::with_data(NotifyType::USE_AGGFRAG, vec![flags])
    }

    /// What the peer says; `None` if it wants what we do not do.
    fn read(notify: &Notify) -> Option<Self> {
        match notify.data.as_slice() {
            [flags] if flags & !DONT_FRAGMENT == 0 => Some(Self {
                reassembles: flags & DONT_FRAGMENT == 0,
            }),
            [..] => None,
        }
    }
}

/// What the peer says, if we take up its offer. `ours`: what we would say.
pub fn take_up(ours: Option<Aggfrag>, offered: Option<&Notify>) -> Option<Aggfrag> {
    ours.and(offered).and_then(Aggfrag::read)
}

/// What the peer says if it took up what we offered; `None` if it refused.
pub fn accept(ours: Option<Aggfrag>, answered: Option<&Notify>) -> Result<Option<Aggfrag>, BadAnswer> {
    match (ours, answered) {
        (_, None) => Ok(None),
        (None, Some(_)) => Err(BadAnswer::Unasked),
        (Some(_), Some(notify)) => Aggfrag::read(notify).map(Some).ok_or(BadAnswer::Wants),
    }
}

const DONT_FRAGMENT: u8 = 0x01;

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
            assert_eq!(Aggfrag::read(&said.notify()), Some(said));
        }
    }

    #[test]
    fn declines_congestion_control_unknown_flags_and_no_flags() {
        let ours = Some(Aggfrag { reassembles: true });
        for data in [&[0x02_u8][..], &[0x03], &[0x80], &[], &[0, 0]] {
            assert_eq!(take_up(ours, Some(&notify(data))), None, "{data:?}");
            assert_eq!(
                accept(ours, Some(&notify(data))),
                Err(BadAnswer::Wants),
                "{data:?}"
            );
        }
        assert_eq!(take_up(None, Some(&notify(&[0]))), None);
        assert_eq!(accept(None, Some(&notify(&[0]))), Err(BadAnswer::Unasked));
        assert_eq!(accept(ours, None), Ok(None));
    }
}
