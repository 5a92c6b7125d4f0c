//! The guest's side of a door: knocks go out from here, and whether the door has opened is seen here.
//!
//! Called by the verbs `knock`, which is also the program's other name, and `spa`. Needs no rights and no daemon.

pub mod address;
pub mod hit;
pub mod knocking;
pub mod opened;
pub mod spa;
