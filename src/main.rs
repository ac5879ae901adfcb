//! The `peercam` command.

fn main() {}
