//! Everything that is done twice in this project.

fn main() {}
