//! How many images per second a computer runs.

use std::time::{Duration, Instant};

use super::{Error, IntegerNetwork, Processor, Runner};

/// How long each measurement of a round takes at least.
const ROUND: Duration = Duration::from_millis(200);

/// Images that are run before anything is measured.
const WARM_UP: usize = 64;

/// Measures processors with batches of several sizes, all in turn, round after round, so that
/// whatever else the computer does hits all of them.
pub struct SpeedTest<'n, 'a> {
    cases: Vec<Case<'n, 'a>>,
    images: Vec<Vec<u8>>,
    classes: usize,
}

struct Case<'n, 'a> {
    processor: usize,
    batch: usize,
    runner: Runner<'n, 'a>,
    images_per_second: Vec<f64>,
    gpu_seconds: Vec<f64>,
}

/// What a processor reaches with batches of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Index of the processor.
    pub processor: usize,
    /// Images that are given at once.
    pub batch: usize,
    /// The median of all rounds, from pixels in main memory to logits there.
    pub images_per_second: f64,
    /// Seconds per image that the GPU itself computes, the median of all rounds; nothing of other
    /// processors and GPUs without a clock.
    pub gpu_seconds: Option<f64>,
}

impl<'n, 'a> SpeedTest<'n, 'a> {
    /// Brings `network` to each of `processors`, for each size of `batches`. Images are taken from
    /// `images` in turn.
    ///
    /// # Errors
    /// If the network does not fit a GPU, an image has another size, or a GPU fails.
    pub fn new(
        network: &'n IntegerNetwork<'a>,
        processors: &[Processor],
        batches: &[usize],
        images: Vec<Vec<u8>>,
    ) -> Result<Self, Error> {
        let mut test = Self {
            cases: Vec::new(),
            images,
            classes: network.model().header().classes.into(),
        };
        for (index, processor) in processors.iter().enumerate() {
            for batch in batches {
                test.cases.push(Case {
                    processor: index,
                    batch: *batch,
                    runner: Runner::new(network, processor, *batch)?,
                    images_per_second: Vec::new(),
                    gpu_seconds: Vec::new(),
                });
            }
        }
        for case in &mut test.cases {
            // Shaders are compiled and memory is touched by the first run.
            let images = batch(&test.images, case.batch.min(WARM_UP));
            let mut logits = vec![0; images.len() * test.classes];
            case.runner.run(&images, &mut logits, |_| ())?;
        }
        Ok(test)
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn round(&mut self) -> Result<(), Error> {
        for case in &mut self.cases {
            let images = batch(&self.images, case.batch);
            case.measure(&images, self.classes)?;
        }
        Ok(())
    }

    /// The results so far, processor after processor.
    #[must_use]
    pub fn speeds(&self) -> Vec<Speed> {
        let speed = |case: &Case<'_, '_>| Speed {
            processor: case.processor,
            batch: case.batch,
            images_per_second: median(&case.images_per_second).unwrap_or(0.0),
            gpu_seconds: median(&case.gpu_seconds),
        };
        self.cases.iter().map(speed).collect()
    }
}

impl Case<'_, '_> {
    fn measure(&mut self, images: &[&[u8]], classes: usize) -> Result<(), Error> {
        let mut logits = vec![0; images.len() * classes];
        let (start, mut done) = (Instant::now(), 0);
        let elapsed = loop {
            self.runner.run(images, &mut logits, |_| ())?;
            done += images.len();
            let elapsed = start.elapsed();
            if elapsed >= ROUND {
                break elapsed;
            }
        };
        self.images_per_second
            .push(done as f64 / elapsed.as_secs_f64());
        #[cfg(feature = "wgpu")]
        if let Some((time, images)) = self.runner.gpu_time(images)? {
            self.gpu_seconds.push(time.as_secs_f64() / images as f64);
        }
        Ok(())
    }
}

/// `count` images, the same ones again where there are fewer.
fn batch(images: &[Vec<u8>], count: usize) -> Vec<&[u8]> {
    let images = images.iter().map(Vec::as_slice);
    images.cycle().take(count).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_take_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
