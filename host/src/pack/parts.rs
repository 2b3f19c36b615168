//! A packed file in parts, to give it other parameters.

use lowbit_runtime::calibration::{Layer, Payload, Rescale};
use lowbit_runtime::format::{Calibration, Header, Kind, Model, Operation};

use super::rescale::rescaled;
use super::{Error, file};
use crate::integer::IntegerNetwork;
use crate::lower::Blobs;

/// A packed file whose parameters can be changed.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    header: Header<'a>,
    pub(super) operations: Vec<Operation<'a>>,
    pub(super) blobs: Blobs,
    version: u32,
}

impl<'a> Parts<'a> {
    /// Those of `model`.
    #[must_use]
    pub fn of(model: &Model<'a>) -> Self {
        Self {
            header: *model.header(),
            operations: model.operations().collect(),
            blobs: Blobs::of(model.blobs()),
            version: model.version(),
        }
    }

    /// Takes the layers in `payload`, which have been checked against the model, as the model's own
    /// parameters.
    pub fn correct(&mut self, payload: &[u8]) {
        for layer in Payload::new(payload) {
            self.replace(&layer);
        }
    }

    fn replace(&mut self, layer: &Layer<'_>) {
        let operation = self.operations.get(usize::from(layer.operation));
        let Some(Kind::Conv2d { requantize, .. }) = operation.map(|operation| operation.kind)
        else {
            return;
        };
        for channel in 0..layer.channels() {
            if let Some((multiplier, bias)) = layer.get(channel) {
                self.blobs
                    .put(requantize.multipliers, channel, &multiplier.to_le_bytes());
                self.blobs
                    .put(requantize.biases, channel, &bias.to_le_bytes());
            }
        }
    }

    /// Has `operation` write its tensor in another step, and all that read it know. Returns false,
    /// and changes nothing, if a parameter does not fit then.
    pub fn rescale(&mut self, operation: usize, rescale: Rescale) -> bool {
        match rescaled(self, operation, rescale) {
            Some(changed) => {
                *self = changed;
                true
            }
            None => false,
        }
    }

    /// Forgets the statistics of training, which are those of other parameters.
    pub fn forget_statistics(&mut self) {
        if self.header.calibration.plan.length > 0 {
            // Plan and statistics are the last blobs.
            let end = self.header.calibration.plan.offset as usize;
            self.blobs.truncate(end);
            self.header.calibration = Calibration::default();
        }
    }

    /// The file as it is, with the golden results that it came with.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn assemble(&self) -> Result<Vec<u8>, Error> {
        let mut operations = Vec::new();
        for operation in &self.operations {
            operations.extend(postcard::to_allocvec(operation)?);
        }
        let header = postcard::to_allocvec(&self.header)?;
        file::lay_out(&header, &operations, self.blobs.as_bytes())
    }

    /// The file with the golden results that follow from its parameters.
    ///
    /// # Errors
    /// If it breaks a rule of the format.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        let changed = self.assemble()?;
        self.answer_golden_inputs(&IntegerNetwork::new(&changed)?)?;
        let mut finished = self.assemble()?;
        file::finish(&mut finished, self.version);
        Model::new_checked(&finished)?;
        Ok(finished)
    }

    fn answer_golden_inputs(&mut self, network: &IntegerNetwork<'_>) -> Result<(), Error> {
        let model = network.model();
        let golden = model.golden();
        let images = (0..golden.images).filter_map(|image| model.golden_pixels(image));
        for (image, pixels) in images.enumerate() {
            let (logits, digests) = network.logits_and_digests(pixels)?;
            for (class, logit) in logits.iter().enumerate() {
                let place = image * logits.len() + class;
                self.blobs.put(golden.logits, place, &logit.to_le_bytes());
            }
            for (operation, digest) in digests.iter().enumerate() {
                let place = image * digests.len() + operation;
                self.blobs.put(golden.digests, place, &digest.to_le_bytes());
            }
        }
        Ok(())
    }
}
