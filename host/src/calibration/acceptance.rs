//! Whether a calibration helps, judged as a board judges it.

use lowbit_runtime::calibration::{Answer, Evidence, Guards, Metric, Rejection, judge};

use super::{Calibration, Error, Fitted, Settings, Trial, calibrate, fit_ranges, trial};
use crate::data::Dataset;
use crate::integer::{Calibrated, IntegerNetwork};
use crate::pack;

/// What is known about a calibration, and the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The figure that it was judged by, or the first test that it did not pass.
    pub result: Result<Metric, Rejection>,
    /// Images per class among those that it was calibrated on, with the new parameters.
    pub histogram: Vec<u32>,
    /// On other images, with the parameters that it would replace.
    pub before: Trial,
    /// On the same images, with the new ones.
    pub after: Trial,
}

/// What the acceptance test looks at.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// Images that were calibrated on.
    pub seen: &'a [&'a [u8]],
    /// Others.
    pub unseen: &'a Dataset,
    /// Whether the labels of those decide.
    pub labels: bool,
    /// How cautious to be.
    pub guards: Guards,
}

/// A calibration on this computer.
pub struct Attempt<'n, 'a> {
    network: &'n IntegerNetwork<'a>,
    /// The network with the new parameters.
    calibrated: Calibrated<'n, 'a>,
    /// Those.
    pub calibration: Calibration,
    /// The network with other ranges, too, if any changed.
    pub fitted: Option<Fitted>,
    /// Whether they help.
    pub verdict: Verdict,
}

impl<'n, 'a> Attempt<'n, 'a> {
    /// Calibrates the factory's network, and judges the new parameters by its own.
    ///
    /// # Errors
    /// As [`calibrate`].
    pub fn new(
        network: &'n IntegerNetwork<'a>,
        settings: Settings,
        judging: &Judging<'_>,
    ) -> Result<Self, Error> {
        let factory = Calibrated::new(network);
        let mut calibrated = Calibrated::new(network);
        let calibration = calibrate(network, &mut calibrated, judging.seen, settings)?;
        let verdict = accept(network, &factory, &calibrated, &calibration, judging)?;
        Ok(Self {
            network,
            calibrated,
            calibration,
            fitted: None,
            verdict,
        })
    }

    /// Re-estimates ranges as well, by the images that were calibrated on, and judges both; `margin`
    /// as of [`fit_ranges`].
    ///
    /// # Errors
    /// As [`fit_ranges`].
    pub fn fit_ranges(mut self, judging: &Judging<'_>, margin: i32) -> Result<Self, Error> {
        let network = self.network;
        let fitted = fit_ranges(network, &self.calibration.payload, judging.seen, margin)?;
        if let Some(fitted) = &fitted {
            let packed = IntegerNetwork::new(&fitted.packed)?;
            let (factory, changed) = (Calibrated::new(network), Calibrated::new(&packed));
            self.verdict = accept(network, &factory, &changed, &self.calibration, judging)?;
        }
        self.fitted = fitted;
        Ok(self)
    }

    /// What the network with the new parameters makes of all of `data`.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn trial(&self, data: &Dataset) -> Result<Trial, Error> {
        match &self.fitted {
            None => trial(&self.calibrated, data),
            Some(fitted) => {
                let network = IntegerNetwork::new(&fitted.packed)?;
                trial(&Calibrated::new(&network), data)
            }
        }
    }

    /// The packed file with the new parameters as its own.
    ///
    /// # Errors
    /// As [`pack::apply`].
    pub fn packed(&self) -> Result<Vec<u8>, pack::Error> {
        match &self.fitted {
            None => pack::apply(self.network.model(), &self.calibration.payload),
            Some(fitted) => Ok(fitted.packed.clone()),
        }
    }
}

/// Compares the parameters `calibrated` with `current`.
///
/// # Errors
/// If the images do not fit the network.
pub fn accept(
    network: &IntegerNetwork<'_>,
    current: &Calibrated<'_, '_>,
    calibrated: &Calibrated<'_, '_>,
    calibration: &Calibration,
    judging: &Judging<'_>,
) -> Result<Verdict, Error> {
    let classes = usize::from(network.model().header().classes);
    let trial = |network: &Calibrated<'_, '_>| {
        let logits = network.logits(&judging.unseen.images())?;
        Ok::<_, Error>(Trial::new(&logits, classes, &judging.unseen.labels))
    };
    let (before, after) = (trial(current)?, trial(calibrated)?);
    let seen = Trial::new(&calibrated.logits(judging.seen)?, classes, &[]);
    let golden = [current, calibrated].map(|calibrated| golden_agreeing(network, calibrated));
    let [golden_before, golden_after] = golden;
    let golden_images = network.model().golden().images.into();
    let result = judge(
        &Evidence {
            images: seen.images,
            histogram: &seen.histogram,
            channels: calibration.channels,
            clamped: calibration.clamped,
            before: before.evidence(golden_before?, golden_images),
            after: after.evidence(golden_after?, golden_images),
            correct: judging.labels.then_some([before.correct, after.correct]),
        },
        &judging.guards,
    );
    Ok(Verdict {
        result,
        histogram: seen.histogram,
        before,
        after,
    })
}

/// Golden inputs that are answered as the model's own results say.
fn golden_agreeing(
    network: &IntegerNetwork<'_>,
    calibrated: &Calibrated<'_, '_>,
) -> Result<u32, Error> {
    let model = network.model();
    let images: Vec<&[u8]> = (0..model.golden().images)
        .filter_map(|image| model.golden_pixels(image))
        .collect();
    let logits = calibrated.logits(&images)?;
    let classes = model.header().classes;
    let found = logits.chunks_exact(usize::from(classes).max(1));
    let agrees = (0u16..).zip(found).filter(|(image, logits)| {
        let stored = (0..classes).filter_map(|class| model.golden_logits(*image, class));
        Answer::of(stored).class == Answer::of(logits.iter().copied()).class
    });
    Ok(agrees.count() as u32)
}
