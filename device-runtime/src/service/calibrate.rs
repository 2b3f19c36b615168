//! Requests about calibrations.

use crate::calibration::{Answer, Guards, Moments, Passes, Plan, Weights, finish_pass, judge};
use crate::engine::Engine;
use crate::format::{Model, TENSOR_ALIGNMENT};
use crate::protocol::{
    CalibrationReply, CalibrationRequest, Judgement, Progress, Refusal, SensorInput, Tally,
};

use super::commands::{Commands, Outcome, PerOperation, WORD, in_range};
use super::facts::Facts;
use super::records::Records;
use super::session::{Parameters, Session, TALLIES, memory_bytes, parameters};
use super::{ModelFlash, Platform};

/// Whether there is code for all this: some boards have no flash for it.
pub(super) const CALIBRATES: bool = !cfg!(lowbit_without_calibration);

/// What a request led to; the bytes of the reply are still where they were made.
pub(super) enum CalibrationOutcome {
    Progress(Progress),
    Collected { images: u32, ticks: u64 },
    Sums { bytes: usize },
    Judged(Judgement),
    RecordPlace { place: u8, offset: u32 },
    InUse { record: Option<u32> },
    Sensed { left: Option<u32> },
}

/// The arena of the model, and what is behind it.
fn split<'a>(arena: &'a mut [u8], facts: &Facts) -> (&'a mut [u8], &'a mut [u8]) {
    let used = (facts.info.arena_bytes as usize).next_multiple_of(TENSOR_ALIGNMENT);
    arena.split_at_mut_checked(used).unwrap_or_default()
}

/// As many numbers as the memory holds; it starts at a multiple of [`TENSOR_ALIGNMENT`].
fn numbers<T: bytemuck::Pod>(memory: &mut [u8], count: usize) -> &mut [T] {
    let bytes = memory.get_mut(..count.wrapping_mul(size_of::<T>()));
    bytemuck::try_cast_slice_mut(bytes.unwrap_or_default()).unwrap_or_default()
}

fn done(outcome: CalibrationOutcome) -> Result<Outcome, Refusal<'static>> {
    Ok(Outcome::Calibration(outcome))
}

/// The model in use, which has been checked when it became that.
fn open(bytes: &[u8]) -> Result<Model<'_>, Refusal<'static>> {
    Model::reopen(bytes).map_err(|_| Refusal::NoModel)
}

/// Every request is a function of its own, so that a small stack holds one of them at a time.
impl<F: ModelFlash, P: Platform> Commands<'_, F, P> {
    /// Carries out a request.
    pub(super) fn calibrate(
        &mut self,
        request: CalibrationRequest,
    ) -> Result<Outcome, Refusal<'static>> {
        if !CALIBRATES {
            return Err(Refusal::CannotCalibrate);
        }
        match request {
            CalibrationRequest::Begin { passes, prior } => self.begin(passes, prior),
            CalibrationRequest::Collect => self.collect(),
            CalibrationRequest::Sums { first } => self.sums(first),
            CalibrationRequest::FinishPass => self.finish_pass(),
            CalibrationRequest::Trial { tally, label } => self.trial(tally, label),
            CalibrationRequest::GoldenTrial => self.golden_trial(),
            CalibrationRequest::Judge {
                labels,
                force,
                commit,
            } => self.judge(labels, force, commit),
            CalibrationRequest::RecordPlace { place, offset } => self.record_place(place, offset),
            CalibrationRequest::Rollback => self.rollback(),
            CalibrationRequest::Reset => self.reset(),
            CalibrationRequest::Sense { input } => self.sense(input),
        }
    }

    pub(super) fn calibration_reply(&self, outcome: CalibrationOutcome) -> CalibrationReply<'_> {
        match outcome {
            CalibrationOutcome::Progress(progress) => CalibrationReply::Progress(progress),
            CalibrationOutcome::Collected { images, ticks } => {
                CalibrationReply::Collected { images, ticks }
            }
            CalibrationOutcome::Sums { bytes } => CalibrationReply::Sums {
                sums: self.results_memory.get(..bytes).unwrap_or_default(),
            },
            CalibrationOutcome::Judged(judgement) => CalibrationReply::Judged(judgement),
            CalibrationOutcome::RecordPlace { place, offset } => self.record_part(place, offset),
            CalibrationOutcome::InUse { record } => CalibrationReply::InUse { record },
            CalibrationOutcome::Sensed { left } => CalibrationReply::Sensed { left },
        }
    }

    /// The model's facts and where its records lie.
    fn calibratable(&self) -> Result<(Facts, Records), Refusal<'static>> {
        let facts = self.facts.ok_or(Refusal::NoModel)?;
        Ok((facts, facts.records.ok_or(Refusal::NoStatistics)?))
    }

    #[inline(never)]
    fn begin(&mut self, passes: Passes, prior: u32) -> Result<Outcome, Refusal<'static>> {
        let (facts, records) = self.calibratable()?;
        let model = open(self.slots.active_bytes())?;
        let plan = Plan::of(&model).ok_or(Refusal::NoStatistics)?;
        let count = plan.passes(passes).count() as u16;
        if count == 0 {
            return Err(Refusal::NoStatistics);
        }
        if let Some(convolutions) = plan.lacks(&model, passes) {
            return Err(Refusal::FastOnly {
                held: count,
                convolutions: convolutions as u16,
            });
        }
        let (_, memory) = split(self.arena, &facts);
        let needed = memory_bytes(&model, passes);
        if memory.len() < needed {
            return Err(Refusal::CalibrationMemory {
                needed: needed as u32,
                available: memory.len() as u32,
            });
        }
        records.check_room(&self.slots.behind_active())?;
        records.next_generation(self.slots.memory())?;
        let place = records.spare(self.slots.memory(), &model);
        self.session = None;
        self.forget_inference();
        records.erase(self.slots.flash_mut(), place)?;
        let (_, memory) = split(self.arena, &facts);
        memory.fill(0);
        let session = Session::new(passes, prior, count, place);
        let reply = session.reply(&open(self.slots.active_bytes())?);
        self.session = Some(session);
        done(CalibrationOutcome::Progress(reply))
    }

    #[inline(never)]
    fn sense(&mut self, input: SensorInput) -> Result<Outcome, Refusal<'static>> {
        let facts = self.facts.ok_or(Refusal::NoModel)?;
        let shape = open(self.slots.active_bytes())?.header().input;
        self.forget_inference();
        let sensor = self.platform.sensor().ok_or(Refusal::NoSensor)?;
        let pixels = self.arena.get_mut(facts.pixels as usize..);
        let pixels = pixels.and_then(|rest| rest.get_mut(..facts.info.pixel_bytes as usize));
        let left = sensor.sense(input, shape, pixels.unwrap_or_default());
        let left = left.map_err(Refusal::Sensor)?;
        self.received = facts.info.pixel_bytes;
        done(CalibrationOutcome::Sensed { left })
    }

    #[inline(never)]
    fn collect(&mut self) -> Result<Outcome, Refusal<'static>> {
        let session = self.session.as_mut().ok_or(Refusal::NotCalibrating)?;
        let images = session.images.saturating_add(1);
        {
            let model = open(self.slots.active_bytes())?;
            let layer = session.layer(&model)?;
            let most = layer.most_images(&model);
            if images > most {
                let operation = layer.operation;
                return Err(Refusal::SumsFull { operation, most });
            }
        }
        let facts = self.take_input()?;
        let session = self.session.as_mut().ok_or(Refusal::NotCalibrating)?;
        let model = open(self.slots.active_bytes())?;
        let layer = session.layer(&model)?;
        let (arena, memory) = split(self.arena, &facts);
        let corrections = parameters(&self.slots, &facts, Some(session), Parameters::New);
        let engine = Engine::new(model, arena).map_err(|_| Refusal::NoModel)?;
        let mut engine = engine.with_corrections(corrections);
        self.platform.begin_measurement();
        let start = self.platform.ticks();
        engine.collect(&layer, numbers::<Moments>(memory, layer.channels.into()));
        let ticks = self.platform.ticks() - start;
        session.images = images;
        done(CalibrationOutcome::Collected { images, ticks })
    }

    #[inline(never)]
    fn sums(&mut self, first: u16) -> Result<Outcome, Refusal<'static>> {
        let (facts, _) = self.calibratable()?;
        let session = self.session.as_ref().ok_or(Refusal::NotCalibrating)?;
        let layer = session.layer(&open(self.slots.active_bytes())?)?;
        in_range(first, layer.channels.into())?;
        self.results = None;
        let (_, memory) = split(self.arena, &facts);
        let moments = numbers::<Moments>(memory, layer.channels.into());
        let moments = moments.iter().skip(first.into());
        let room = self.chunk.min(self.results_memory.len());
        let (places, _) = self
            .results_memory
            .get_mut(..room)
            .unwrap_or_default()
            .as_chunks_mut::<{ Moments::BYTES }>();
        let mut bytes = 0;
        for (place, moments) in places.iter_mut().zip(moments) {
            *place = moments.to_le_bytes();
            bytes += Moments::BYTES;
        }
        done(CalibrationOutcome::Sums { bytes })
    }

    #[inline(never)]
    fn finish_pass(&mut self) -> Result<Outcome, Refusal<'static>> {
        let (facts, records) = self.calibratable()?;
        let session = self.session.as_mut().ok_or(Refusal::NotCalibrating)?;
        let model = open(self.slots.active_bytes())?;
        let layer = session.layer(&model)?;
        if session.images == 0 {
            return Err(Refusal::NoInput);
        }
        let weights = Weights {
            positions: session.images.saturating_mul(layer.positions(&model)),
            images: session.images,
            prior: session.prior,
        };
        let (_, memory) = split(self.arena, &facts);
        let clamped = finish_pass(&model, &layer, &weights, memory).ok_or(Refusal::NoStatistics)?;
        let (bytes, channels) = (layer.payload_bytes(), layer.channels);
        let parameters = memory.get(..bytes).unwrap_or_default();
        let written = records.write(
            self.slots.flash_mut(),
            session.place,
            session.written,
            parameters,
        );
        memory.fill(0);
        if let Err(refusal) = written {
            // The sums are gone, and the place is in disorder.
            self.session = None;
            return Err(refusal);
        }
        session.written += bytes as u32;
        session.finished += 1;
        session.fewest = session.fewest.min(session.images);
        session.images = 0;
        session.channels += u32::from(channels);
        session.clamped += clamped;
        done(CalibrationOutcome::Progress(
            session.reply(&open(self.slots.active_bytes())?),
        ))
    }

    #[inline(never)]
    fn trial(&mut self, tally: Tally, label: Option<u16>) -> Result<Outcome, Refusal<'static>> {
        let session = self.session.as_ref().ok_or(Refusal::NotCalibrating)?;
        session.is_complete()?;
        let which = match tally {
            Tally::Before => Parameters::InUse,
            Tally::Seen | Tally::After => Parameters::New,
        };
        let outcome = self.run(PerOperation::Nothing, which)?;
        let (facts, _) = self.calibratable()?;
        let answer = self.answer();
        let session = self.session.as_mut().ok_or(Refusal::NotCalibrating)?;
        if let Some(counts) = session.tallies.get_mut(tally as usize) {
            counts.images += 1;
            counts.margins += u64::from(answer.margin);
            counts.correct += u32::from(label == Some(answer.class));
        }
        let (_, memory) = split(self.arena, &facts);
        let classes = usize::from(facts.info.classes);
        let histograms = numbers::<u32>(memory, TALLIES * classes);
        let place = tally as usize * classes + usize::from(answer.class);
        if let Some(count) = histograms.get_mut(place) {
            *count += 1;
        }
        Ok(outcome)
    }

    #[inline(never)]
    fn golden_trial(&mut self) -> Result<Outcome, Refusal<'static>> {
        let (facts, _) = self.calibratable()?;
        let session = self.session.as_ref().ok_or(Refusal::NotCalibrating)?;
        session.is_complete()?;
        let image = session.golden_images as u16;
        in_range(
            image,
            open(self.slots.active_bytes())?.golden().images.into(),
        )?;
        let mut agrees = [false; 2];
        for (agrees, which) in agrees.iter_mut().zip([Parameters::InUse, Parameters::New]) {
            *agrees = self.answers_golden(&facts, image, which)?;
        }
        let session = self.session.as_mut().ok_or(Refusal::NotCalibrating)?;
        session.golden_images += 1;
        let counts = session.golden_agreeing.iter_mut().zip(agrees);
        counts.for_each(|(count, agrees)| *count += u32::from(agrees));
        Ok(Outcome::Done)
    }

    /// Whether a golden input is answered as the model says.
    fn answers_golden(
        &mut self,
        facts: &Facts,
        image: u16,
        which: Parameters,
    ) -> Result<bool, Refusal<'static>> {
        let model = open(self.slots.active_bytes())?;
        let stored = (0..facts.info.classes).filter_map(|class| model.golden_logits(image, class));
        let expected = Answer::of(stored).class;
        let pixels = self.arena.get_mut(facts.pixels as usize..);
        let places = pixels.unwrap_or_default().iter_mut();
        let golden = model.golden_pixels(image).unwrap_or_default();
        places.zip(golden).for_each(|(to, from)| *to = *from);
        self.received = facts.info.pixel_bytes;
        self.run(PerOperation::Nothing, which)?;
        Ok(self.answer().class == expected)
    }

    /// What the last inference said.
    fn answer(&self) -> Answer {
        let logits = self.results.as_ref().map(|results| results.logits.clone());
        let logits = self.arena.get(logits.unwrap_or_default());
        let (words, _) = logits.unwrap_or_default().as_chunks::<WORD>();
        Answer::of(words.iter().map(|word| i32::from_le_bytes(*word)))
    }

    #[inline(never)]
    fn judge(
        &mut self,
        labels: bool,
        force: bool,
        commit: bool,
    ) -> Result<Outcome, Refusal<'static>> {
        let (facts, records) = self.calibratable()?;
        let session = self.session.as_ref().ok_or(Refusal::NotCalibrating)?;
        session.is_complete()?;
        let [_, before, after] = session.tallies;
        if before.images != after.images {
            return Err(Refusal::Trials {
                before: before.images,
                after: after.images,
            });
        }
        let (_, memory) = split(self.arena, &facts);
        let classes = usize::from(facts.info.classes);
        let histograms = numbers::<u32>(memory, TALLIES * classes);
        let guards = Guards {
            force_diversity: force,
            ..Guards::default()
        };
        let verdict = judge(&session.evidence(histograms, classes, labels), &guards);
        let mut judgement = Judgement {
            verdict,
            images: session.fewest,
            layers: session.finished,
            channels: session.channels,
            clamped: session.clamped,
            generation: None,
        };
        if let (Ok(metric), true) = (verdict, commit) {
            let model = open(self.slots.active_bytes())?;
            let memory = self.slots.memory();
            let payload = session.payload(&records, memory);
            let generation = records.next_generation(memory)?;
            let header = session.header(&model, payload, metric, generation).encode();
            let place = session.place;
            self.session = None;
            let committed = records.commit(self.slots.flash_mut(), place, &header);
            self.find_record();
            committed?;
            judgement.generation = Some(generation);
        }
        done(CalibrationOutcome::Judged(judgement))
    }

    /// Looks again which record is in use.
    fn find_record(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.find_record(&self.slots);
        }
    }

    /// Generation of the record in use.
    fn in_use(&self) -> CalibrationOutcome {
        let record = self.facts.and_then(|facts| facts.info.record);
        CalibrationOutcome::InUse { record }
    }

    #[inline(never)]
    fn record_place(&self, place: u8, offset: u32) -> Result<Outcome, Refusal<'static>> {
        let (_, records) = self.calibratable()?;
        in_range(place.into(), records.count().into())?;
        done(CalibrationOutcome::RecordPlace { place, offset })
    }

    /// A part of a place for records.
    fn record_part(&self, place: u8, offset: u32) -> CalibrationReply<'_> {
        let records = self.facts.and_then(|facts| facts.records);
        let bytes = records.map(|records| records.bytes(self.slots.memory(), place));
        let rest = bytes.and_then(|bytes| bytes.get(offset as usize..));
        let rest = rest.unwrap_or_default();
        CalibrationReply::RecordPlace {
            places: records.map_or(0, |records| records.count()),
            data: rest.get(..self.chunk).unwrap_or(rest),
        }
    }

    #[inline(never)]
    fn rollback(&mut self) -> Result<Outcome, Refusal<'static>> {
        let (facts, records) = self.calibratable()?;
        let active = facts.record.ok_or(Refusal::NoRecord)?;
        self.session = None;
        let revoked = records.revoke(self.slots.flash_mut(), active.place);
        self.find_record();
        revoked?;
        done(self.in_use())
    }

    #[inline(never)]
    fn reset(&mut self) -> Result<Outcome, Refusal<'static>> {
        let (facts, records) = self.calibratable()?;
        self.session = None;
        let reset = records.reset(self.slots.flash_mut(), facts.record);
        self.find_record();
        reset?;
        done(self.in_use())
    }
}
