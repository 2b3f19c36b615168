//! Instruction counts by workload and core.

use std::collections::BTreeMap;
use std::path::Path;

/// A count may be this much above the committed one.
const TOLERANCE: f64 = 0.02;
/// And this much in any case: the coarsest clock advances once in 62.5 instructions.
const RESOLUTION: u64 = 128;

/// Workload, core, instructions.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, BTreeMap<String, u64>>);

impl Figures {
    pub(crate) fn set(&mut self, workload: &str, core: &str, count: u64) {
        let row = self.0.entry(workload.to_owned()).or_default();
        row.insert(core.to_owned(), count);
    }

    pub(crate) fn get(&self, workload: &str, core: &str) -> Option<u64> {
        self.0.get(workload)?.get(core).copied()
    }

    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs_err::read(path).map_err(|error| error.to_string())?;
        let figures = serde_json::from_slice(&text);
        Ok(Self(figures.map_err(|error| {
            format!("`{}`: {error}", path.display())
        })?))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&self.0).map_err(|error| error.to_string())?;
        fs_err::write(path, text + "\n").map_err(|error| error.to_string())
    }

    /// A line for every figure that is worse than the committed one.
    pub(crate) fn worse_than(&self, committed: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (workload, row) in &self.0 {
            for (core, &count) in row {
                let Some(before) = committed.get(workload, core) else {
                    continue;
                };
                let limit = (before as f64 * (1.0 + TOLERANCE)) as u64;
                if count > limit.max(before + RESOLUTION) {
                    let percent = 100.0 * (count as f64 / before as f64 - 1.0);
                    lines.push(format!(
                        "{workload} on {core}: {count} instructions, {before} before \
                         (+{percent:.1} %)"
                    ));
                }
            }
        }
        lines
    }
}
