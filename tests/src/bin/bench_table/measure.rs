//! Runs the bench on a core.

use lowbit_tests::Core;

use crate::workloads::Workload;

/// Instructions of every workload.
pub(crate) fn measure(core: &Core, workloads: &[Workload]) -> Result<Vec<u64>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let models = workloads.iter().flat_map(|workload| {
        let length = (workload.model.len() as u32).to_le_bytes();
        length.into_iter().chain(workload.model.iter().copied())
    });
    let models = models.collect::<Vec<u8>>();
    let path = directory.path().join("models.bench");
    fs_err::write(path, models).map_err(|error| error.to_string())?;
    let output = core.run("bench", directory.path())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let counts = parse(&text, workloads);
    counts.ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}: {words}{text}", core.name, output.status)
    })
}

/// For every workload the instructions of its layer, or of all.
fn parse(text: &str, workloads: &[Workload]) -> Option<Vec<u64>> {
    let mut lines = text.lines();
    let count = |workload: &Workload| {
        let mut sum = None;
        for line in lines.by_ref() {
            if line == "end" {
                return sum;
            }
            let (count, name) = line.split_once(' ')?;
            if workload.layer.is_none_or(|layer| layer == name) {
                sum = Some(sum.unwrap_or(0) + count.parse::<u64>().ok()?);
            }
        }
        None
    };
    workloads.iter().map(count).collect()
}
