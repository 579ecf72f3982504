//! The tasks that are linked with the product: the demo and the measurements.

fn main() {}
