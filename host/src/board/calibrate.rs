//! Has a board calibrate itself on images that the host sends.

use lowbit_runtime::calibration::{Metric, Moments, PAYLOAD_OFFSET, Weights};
use lowbit_runtime::protocol::{
    CalibrationReply, CalibrationRequest, Judgement, Pass, Progress, Reply, Request, Tally,
};

use super::line::Work;
use super::{Client, Error, Inference, Inputs};
use crate::calibration::{self, Calibration, Settings, Trial};
use crate::integer::IntegerNetwork;

/// How a board is to calibrate itself.
#[derive(Debug, Clone, Copy)]
pub struct CalibrationOrder<'a> {
    /// Layers and prior.
    pub settings: Settings,
    /// Where the inputs come from.
    pub inputs: Inputs<'a>,
    /// Whether the labels of those that gave no statistics decide.
    pub labels: bool,
    /// Takes images of few classes.
    pub force: bool,
    /// Whether to use the new parameters from then on, if they are accepted.
    pub commit: bool,
    /// The board's model, to compute the record here too, from the board's sums.
    pub check: Option<IntegerNetwork<'a>>,
}

/// What a board found.
#[derive(Debug, Clone, PartialEq)]
pub struct BoardCalibration {
    /// The board's verdict.
    pub judgement: Judgement,
    /// Images per class among those that gave the statistics, with the new parameters.
    pub histogram: Vec<u32>,
    /// With the parameters that were in use, on images that gave no statistics.
    pub before: Trial,
    /// With the new ones, on the same images.
    pub after: Trial,
    /// Bytes of memory that the calibration took beside the model's arena.
    pub memory_bytes: u32,
    /// Mean duration of a run of the last pass, in the board's unit.
    pub ticks_per_run: f64,
    /// The record that is in use now, if one was written.
    pub record: Option<Vec<u8>>,
}

impl Client {
    /// Calibrates the board's model. `progress` learns how many images of how many have been run.
    ///
    /// # Errors
    /// If the board cannot calibrate its model, the images do not fit it, the board stops
    /// answering, or computes another record than this computer. That the calibration is not
    /// accepted is no error but a verdict.
    pub fn calibrate(
        &mut self,
        order: &CalibrationOrder<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<BoardCalibration, Error> {
        let inputs = &order.inputs;
        let model = self.greeting().model;
        if let Some(model) = model {
            inputs.check(model.pixel_bytes as usize)?;
        }
        let mut stage = self.begin_calibration(order.settings)?;
        let passes = usize::from(stage.passes);
        let [seen, unseen] = inputs.counts();
        let total = (passes + 1) * seen + 2 * unseen;
        let mut done = 0;
        let mut step = || {
            done += 1;
            progress(done, total);
        };
        let mut check = order.check.map(|network| Check {
            network,
            found: Calibration::default(),
        });
        let mut ticks = 0;
        while let Some(pass) = stage.pass {
            ticks = 0;
            for input in inputs.seen() {
                self.provide(input, inputs)?;
                ticks += self.collect()?;
                step();
            }
            if let Some(check) = &mut check {
                let sums = self.sums(&pass)?;
                check.finish_pass(&pass, &sums, order)?;
            }
            stage = self.finish_pass()?;
        }
        let classes = usize::from(model.map_or(0, |model| model.classes));
        let mut logits: [Vec<i32>; 3] = Default::default();
        for input in inputs.seen() {
            self.provide(input, inputs)?;
            logits[0].extend(self.trial(Tally::Seen, None)?.logits);
            step();
        }
        let labels = inputs.labels();
        for index in 0..unseen {
            let runs = [Tally::Before, Tally::After]
                .into_iter()
                .zip(&mut logits[1..]);
            for (tally, logits) in runs {
                self.provide(inputs.unseen(index, tally), inputs)?;
                logits.extend(self.trial(tally, labels.get(index).copied())?.logits);
                step();
            }
        }
        for _ in 0..stage.golden_images {
            self.golden_trial()?;
        }
        let judgement = self.judge(order)?;
        let record = match judgement.generation {
            Some(_) => self.record()?.map(|record| record.bytes),
            None => None,
        };
        if let Some(check) = check {
            let payload = self.read_record_bytes(stage.place, Vec::new(), check.length())?;
            check.compare(&payload, &judgement, order, record.as_deref())?;
        }
        let trial = |logits: &[i32], labels| Trial::new(logits, classes, labels);
        Ok(BoardCalibration {
            judgement,
            histogram: trial(&logits[0], &[]).histogram,
            before: trial(&logits[1], labels),
            after: trial(&logits[2], labels),
            memory_bytes: stage.memory_bytes,
            ticks_per_run: ticks as f64 / seen.max(1) as f64,
            record,
        })
    }

    fn begin_calibration(&mut self, settings: Settings) -> Result<Progress, Error> {
        let request = CalibrationRequest::Begin {
            passes: settings.passes,
            prior: settings.prior,
        };
        self.ask_calibration("a calibration", request, Work::Long, |reply| match reply {
            CalibrationReply::Progress(progress) => Some(progress),
            _ => None,
        })
    }

    /// Runs one input of a pass; returns the duration.
    fn collect(&mut self) -> Result<u64, Error> {
        let request = CalibrationRequest::Collect;
        self.ask_calibration("statistics", request, Work::Long, |reply| match reply {
            CalibrationReply::Collected { ticks, .. } => Some(ticks),
            _ => None,
        })
    }

    /// The sums of the pass, one per channel.
    fn sums(&mut self, pass: &Pass) -> Result<Vec<Moments>, Error> {
        let mut sums: Vec<Moments> = Vec::new();
        while sums.len() < pass.channels.into() {
            let first = sums.len() as u16;
            let request = CalibrationRequest::Sums { first };
            let more = self.ask_calibration("sums", request, Work::Short, |reply| match reply {
                CalibrationReply::Sums { sums } if !sums.is_empty() => Some(sums.to_vec()),
                _ => None,
            })?;
            let (channels, _) = more.as_chunks();
            sums.extend(channels.iter().map(|bytes| Moments::from_le_bytes(*bytes)));
        }
        Ok(sums)
    }

    fn finish_pass(&mut self) -> Result<Progress, Error> {
        let request = CalibrationRequest::FinishPass;
        self.ask_calibration("new parameters", request, Work::Long, |reply| match reply {
            CalibrationReply::Progress(progress) => Some(progress),
            _ => None,
        })
    }

    fn trial(&mut self, tally: Tally, label: Option<u16>) -> Result<Inference, Error> {
        let request = CalibrationRequest::Trial { tally, label };
        self.run_present(&Request::Calibration(request))
    }

    fn golden_trial(&mut self) -> Result<(), Error> {
        let request = Request::Calibration(CalibrationRequest::GoldenTrial);
        self.ask("a golden input", &request, Work::Long, |reply| {
            (reply == Reply::Done).then_some(())
        })
    }

    fn judge(&mut self, order: &CalibrationOrder<'_>) -> Result<Judgement, Error> {
        let request = CalibrationRequest::Judge {
            labels: order.labels,
            force: order.force,
            commit: order.commit,
        };
        let judgement =
            self.ask_calibration("a verdict", request, Work::Long, |reply| match reply {
                CalibrationReply::Judged(judgement) => Some(judgement),
                _ => None,
            })?;
        if judgement.generation.is_some() {
            self.note_record(judgement.generation);
        }
        Ok(judgement)
    }
}

/// The record as this computer computes it from the board's sums.
struct Check<'a> {
    network: IntegerNetwork<'a>,
    found: Calibration,
}

impl Check<'_> {
    fn finish_pass(
        &mut self,
        pass: &Pass,
        sums: &[Moments],
        order: &CalibrationOrder<'_>,
    ) -> Result<(), Error> {
        let model = self.network.model();
        let plan = self.network.plan(order.settings.passes)?;
        let mut layers = plan.passes(order.settings.passes);
        let layer = layers
            .nth(pass.index.into())
            .filter(|layer| (layer.operation, layer.channels) == (pass.operation, pass.channels))
            .ok_or(Error::OtherPlan)?;
        let [images, _] = order.inputs.counts().map(|count| count as u32);
        let weights = Weights {
            positions: images * layer.positions(model),
            images,
            prior: order.settings.prior,
        };
        self.found.add(&self.network, &layer, sums, &weights);
        Ok(())
    }

    /// Bytes of the record.
    fn length(&self) -> usize {
        PAYLOAD_OFFSET + self.found.payload.len()
    }

    /// Compares the layers in `place`, and the whole `record` if one was written.
    fn compare(
        &self,
        place: &[u8],
        judgement: &Judgement,
        order: &CalibrationOrder<'_>,
        record: Option<&[u8]>,
    ) -> Result<(), Error> {
        let mut pairs = vec![(
            self.found.payload.clone(),
            place.get(PAYLOAD_OFFSET..).unwrap_or_default(),
        )];
        if let (Some(record), Ok(metric)) = (record, judgement.verdict) {
            pairs.push((self.record(judgement, metric, order), record));
        }
        for (host, board) in pairs {
            if host != board {
                let differing = host
                    .iter()
                    .zip(board)
                    .position(|(host, board)| host != board);
                return Err(Error::RecordDiffers {
                    byte: differing.unwrap_or(host.len().min(board.len())),
                });
            }
        }
        Ok(())
    }

    fn record(
        &self,
        judgement: &Judgement,
        metric: Metric,
        order: &CalibrationOrder<'_>,
    ) -> Vec<u8> {
        calibration::record(
            self.network.model(),
            &self.found,
            order.inputs.counts()[0] as u32,
            order.settings,
            metric,
            judgement.generation.unwrap_or_default(),
        )
    }
}
