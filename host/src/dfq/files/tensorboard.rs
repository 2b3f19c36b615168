//! The metrics as TensorBoard reads them: a file of records, each a length, its checksum, an
//! `Event` in protocol buffers and its checksum. Only the fields that are used are declared; their
//! numbers are those of TensorFlow's `event.proto` and `summary.proto`.

use std::{
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crc::{CRC_32_ISCSI, Crc};
use fs_err as fs;
use prost::Message;

use crate::{
    dfq::{Result, entropies::EntropyHistogram, events::Metrics},
    durable,
};

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Bytes of a record beside the event: a length, its checksum and the event's.
const LENGTH: usize = 8;
const CHECKSUM: usize = 4;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Iterations done.
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "5")]
    histo: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    /// Upper end of every bucket.
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

/// Starts the file anew.
pub(super) fn create(path: &Path) -> Result<()> {
    let event = Event {
        wall_time: now(),
        file_version: Some("brain.Event:2".to_owned()),
        ..Event::default()
    };
    Ok(durable::write(path, &record(&event))?)
}

/// Adds the figures of an iteration or an epoch; `iterations` is the number per epoch.
pub(super) fn append(path: &Path, metrics: &Metrics<'_>, iterations: usize) -> Result<()> {
    let (step, value) = match metrics {
        Metrics::Iteration(report) => {
            let step = report.epoch * iterations + report.iteration + 1;
            (
                step,
                report
                    .losses
                    .named()
                    .map(|(name, loss)| scalar(&format!("loss/{name}"), loss))
                    .to_vec(),
            )
        }
        Metrics::Epoch(report) => {
            let mut values = vec![
                scalar("learning_rate/student", report.student_learning_rate),
                scalar("learning_rate/generator", report.generator_learning_rate),
                scalar("time/seconds_per_epoch", report.seconds),
            ];
            values.extend(
                report
                    .evaluation
                    .map(|found| scalar("accuracy/top1", found.top1)),
            );
            values.extend(histogram(&report.entropies));
            (report.iterations, values)
        }
    };
    let event = Event {
        wall_time: now(),
        step: step as i64,
        summary: Some(Summary { value }),
        ..Event::default()
    };
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    Ok(file.write_all(&record(&event))?)
}

/// Drops events after `steps` iterations, and what a crash has cut short.
pub(super) fn cut(path: &Path, steps: usize) -> Result<()> {
    let bytes = fs::read(path)?;
    let mut kept = 0;
    while let Some((event, length)) = read(&bytes[kept..])
        && event.step <= steps as i64
    {
        kept += length;
    }
    if kept == 0 {
        return create(path);
    }
    if kept < bytes.len() {
        durable::write(path, &bytes[..kept])?;
    }
    Ok(())
}

fn scalar(tag: &str, value: f64) -> Value {
    Value {
        tag: tag.to_owned(),
        simple_value: Some(value as f32),
        histo: None,
    }
}

fn histogram(entropies: &EntropyHistogram) -> Option<Value> {
    let counts = entropies.counts();
    let num: f64 = counts.iter().map(|&count| count as f64).sum();
    if num == 0.0 {
        return None;
    }
    let width = 1.0 / counts.len() as f64;
    let moment = |power: i32| {
        let middle = |index: usize| (index as f64 + 0.5) * width;
        let terms = counts.iter().enumerate();
        terms
            .map(|(index, &count)| count as f64 * middle(index).powi(power))
            .sum()
    };
    let histo = Histogram {
        min: 0.0,
        max: 1.0,
        num,
        sum: moment(1),
        sum_squares: moment(2),
        bucket_limit: (1..=counts.len())
            .map(|index| index as f64 * width)
            .collect(),
        bucket: counts.iter().map(|&count| count as f64).collect(),
    };
    Some(Value {
        tag: "entropy/disagreement".to_owned(),
        simple_value: None,
        histo: Some(histo),
    })
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

fn record(event: &Event) -> Vec<u8> {
    let event = event.encode_to_vec();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &event, &masked(&event)].concat()
}

/// The checksum as the format has it, rotated and moved so that a record within a record differs.
fn masked(bytes: &[u8]) -> [u8; CHECKSUM] {
    let checksum = CASTAGNOLI.checksum(bytes);
    checksum
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
        .to_le_bytes()
}

/// The first record and its length, if it is whole.
fn read(bytes: &[u8]) -> Option<(Event, usize)> {
    let length = bytes.first_chunk::<LENGTH>()?;
    let checked = bytes.get(LENGTH..LENGTH + CHECKSUM)? == masked(length);
    let start = LENGTH + CHECKSUM;
    let end = start.checked_add(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let event = bytes.get(start..end)?;
    let checksum = bytes.get(end..end.checked_add(CHECKSUM)?)?;
    if !checked || checksum != masked(event) {
        return None;
    }
    Some((Event::decode(event).ok()?, end + CHECKSUM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::{Iteration, Losses};

    fn events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut events = Vec::new();
        let mut position = 0;
        while let Some((event, length)) = read(&bytes[position..]) {
            events.push(event);
            position += length;
        }
        events
    }

    fn filled(path: &Path) {
        create(path).unwrap();
        for iteration in 0..3 {
            let losses = Losses {
                generator: iteration as f64,
                ..Losses::default()
            };
            let report = Iteration {
                epoch: 2,
                iteration,
                losses,
            };
            append(path, &Metrics::Iteration(&report), 10).unwrap();
        }
    }

    #[test]
    fn records_are_those_of_the_format() {
        // `brain.Event:2` at time 0, as TensorFlow's own writer puts it down.
        let event = Event {
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        };
        let bytes = record(&event);
        assert_eq!(bytes[..8], 15_u64.to_le_bytes());
        assert_eq!(&bytes[12..27], b"\x1a\x0dbrain.Event:2");
        // The check value of CRC-32C, masked.
        let unmasked = u32::from_le_bytes(masked(b"123456789")).wrapping_sub(0xa282_ead8);
        assert_eq!(unmasked.rotate_left(15), 0xe306_9283);
    }

    #[test]
    fn events_after_the_checkpoint_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        filled(&path);
        let steps = |path: &Path| {
            events(path)
                .iter()
                .map(|event| event.step)
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(&path), [0, 21, 22, 23]);
        let summary = events(&path)[3].summary.clone().unwrap();
        let generator = summary
            .value
            .iter()
            .find(|value| value.tag == "loss/generator");
        assert_eq!(generator.unwrap().simple_value, Some(2.0));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        cut(&path, 99).unwrap();
        assert_eq!(steps(&path), [0, 21, 22]);
        cut(&path, 21).unwrap();
        assert_eq!(steps(&path), [0, 21]);
        fs::write(&path, b"").unwrap();
        cut(&path, 21).unwrap();
        assert_eq!(steps(&path), [0]);
    }
}
