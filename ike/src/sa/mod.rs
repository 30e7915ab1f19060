//! What stands once an exchange is done: keys, SAs, windows.

pub mod keymat;
