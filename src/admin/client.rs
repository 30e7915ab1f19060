//! The CLI's side of the control socket.
