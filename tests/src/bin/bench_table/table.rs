//! The figures as a document.

use std::fmt::Write as _;

use crate::figures::Figures;
use crate::peers;
use crate::workloads::Workload;
use lowbit_tests::CORES;

const HEAD: &str = "\
# Instructions per layer
Written by `scripts/bench-table`, which keeps the sections behind the table; `scripts/test` fails if
a figure gets more than 2 % worse.

Counted by QEMU (`-icount shift=0`) on the emulated cores, exactly repeatable: **instructions, not
cycles**. Every layer runs through the real engine, in a model that the host has packed, batch 1,
requantization and packing included. A cell has the instructions, in brackets those per
multiplication with a weight, and behind them the ratio to what CMSIS-NN needs for the layer with
8-bit weights and activations on the same core (its Cortex-M0+ figures stand beside M0): below 1 is
faster. The timers advance once in 40 to 63 instructions, so that figures below 10 000 are a per cent
or so coarse.

The ResNets here have parameter-free shortcuts; those that CMSIS-NN is measured with have 1x1
convolutions there, 0.6 % more multiplications.
";

/// The figures, and the sections of `before`, the document that is replaced: people write them, and
/// they are kept.
pub(crate) fn text(workloads: &[Workload], figures: &Figures, before: &str) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n| layer | bits | MACs |");
    CORES
        .iter()
        .for_each(|core| push(&mut text, &format!(" {} |", core.name)));
    text.push_str("\n| --- | --- | --- |");
    CORES.iter().for_each(|_| text.push_str(" --- |"));
    text.push('\n');
    let mut last = "";
    for workload in workloads {
        let name = if workload.name == last {
            ""
        } else {
            workload.name
        };
        last = workload.name;
        push(
            &mut text,
            &format!("| {name} | {} | {} |", workload.bits, workload.macs),
        );
        for core in &CORES {
            push(
                &mut text,
                &format!(" {} |", cell(workload, core.name, figures)),
            );
        }
        text.push('\n');
    }
    if let Some(start) = before.find("\n## ") {
        text.push_str(&before[start..]);
    }
    text
}

fn push(text: &mut String, part: &str) {
    text.push_str(part);
}

fn cell(workload: &Workload, core: &str, figures: &Figures) -> String {
    let Some(count) = figures.get(&workload.key(), core) else {
        return "-".to_owned();
    };
    let mut cell = short(count);
    if workload.macs > 0 {
        // Writing to a string cannot fail.
        let _ = write!(cell, " ({:.2})", count as f64 / workload.macs as f64);
    }
    if let Some(peer) = peers::instructions(workload.name, core) {
        let _ = write!(cell, " {:.2}x", count as f64 / peer);
    }
    cell
}

/// Four digits or so.
fn short(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        1_000_000..10_000_000 => format!("{:.3}M", count as f64 / 1e6),
        _ => format!("{:.2}M", count as f64 / 1e6),
    }
}
