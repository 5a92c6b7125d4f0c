//! The guest's side of a door: knocks go out from here, and whether the door has opened is seen here.
//!
//! Called by the verb `knock`, which is also the program's other name. Needs no rights and no daemon.

pub mod address;
pub mod hit;
pub mod opened;
