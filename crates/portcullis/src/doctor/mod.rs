//! Is it really so? What stands between a door that is open and its guest, and what else is wrong; with the mend.
//!
//! The room reads the host and changes nothing. [`scene`] looks at the kernel, [`way`] walks packets that were never sent
//! through the rules of others, [`doors`] makes findings of it; [`mends`] and [`marks`] know other firewalls. The daemon's
//! slow path calls it after an opening, and the verb `doctor`.

pub mod doors;
pub mod examination;
pub mod finding;
pub mod host;
pub mod marks;
pub mod mends;
pub mod scene;
pub mod way;

pub use self::doors::{Behind, try_door};
pub use self::finding::{Finding, Grade, Step};
pub use self::scene::Scene;
