//! What the benchmarks with real threads have in common: their arguments, what they measure, the machine they measure it
//! on, and how they show it.

// Each of the benchmarks is a program of its own, and uses its part of this.
#![allow(dead_code)]

pub mod arguments;
pub mod latencies;
pub mod machine;
pub mod plot;
pub mod table;
