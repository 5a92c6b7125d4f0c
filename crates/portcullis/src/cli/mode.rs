//! `observe`, `enforce` and `reload`.

use super::list::send;
use super::place::Place;
use crate::control::client::Failure;
use crate::control::protocol::Request;
use crate::exit::Exit;

/// Only tells from now on.
pub fn observe(place: &Place) -> Result<Exit, Failure> {
    send(place, &[()], |_| Request::Observe)
}

/// Blocks from now on.
pub fn enforce(place: &Place) -> Result<Exit, Failure> {
    send(place, &[()], |_| Request::Enforce)
}

/// Has the configuration read anew.
pub fn reload(place: &Place) -> Result<Exit, Failure> {
    send(place, &[()], |_| Request::Reload)
}
