//! The program `fcdd`.

fn main() {}
