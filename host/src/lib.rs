//! The workstation's half of lowbit.
//!
//! ```text
//! checkpoint ──import──▶ Graph ──dfq──▶ QuantizedGraph ──lower──▶ Program ──pack──▶ model.lowbit
//!                                                                                      │ board
//!                                            report ◀──verify── logits, digests ◀──────┘
//! ```
//! Each arrow is one module with one public function and one error type; the values between them
//! are plain data.

pub mod accuracy;
pub mod board;
pub mod calibration;
pub mod data;

pub mod demo;
pub mod dfq;
pub mod doctor;
mod durable;
pub mod graph;
pub mod import;
pub mod integer;
pub mod keys;
pub mod lower;
pub mod nn;
pub mod pack;
pub mod pickle;
pub mod report;
pub mod shifts;
pub mod suggest;
pub mod summary;
pub mod zoo;
