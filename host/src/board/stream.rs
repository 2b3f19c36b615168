//! Inferences on many images, one after the other, with requests sent ahead: while the board
//! computes, the next image is on its way.
//!
//! No lost, doubled or late frame can change a result. The board carries requests out in the order
//! of their numbers, each once at most, and replies bear their request's number. An image's result
//! counts only if every one of its requests was answered, in order, from the pixels at offset 0 on,
//! which start a new image, to the last part of the result; otherwise the image is done again, one
//! request at a time.

use std::ops::Range;

use lowbit_runtime::protocol::{Reply, Request};

use super::client::{as_words, done};
use super::line::Work;
use super::{Client, Error, Inference};
use crate::data::Dataset;

/// One request about an image.
#[derive(Debug, Clone)]
enum Step {
    Pixels(Range<usize>),
    Run,
    /// From that class on.
    Logits(usize),
    /// From that operation on.
    Digests(usize),
}

/// What the replies have told about an image.
#[derive(Default)]
struct Found {
    ticks: u64,
    logits: Vec<i32>,
    digests: Vec<u32>,
}

/// The images of a data set on their way through a board.
pub(super) struct Stream<'c, 'd> {
    client: &'c mut Client,
    images: &'d Dataset,
    digests: bool,
    /// The same for every image.
    steps: Vec<Step>,
    first: usize,
    /// The image whose results come next.
    image: usize,
    /// The image and the step of it that are sent next.
    next: (usize, usize),
}

impl Client {
    /// Runs the model on `images` from number `first` on, with checksums of every operation's
    /// output if `digests` are wanted.
    pub(super) fn stream<'d>(
        &mut self,
        images: &'d Dataset,
        first: usize,
        digests: bool,
    ) -> Stream<'_, 'd> {
        Stream {
            steps: steps(self, images, digests),
            client: self,
            images,
            digests,
            first,
            image: first,
            next: (first, 0),
        }
    }
}

fn steps(client: &Client, images: &Dataset, digests: bool) -> Vec<Step> {
    let chunk = client.greeting().chunk_bytes;
    let words = (chunk / 4).max(1);
    let bytes = images.shape.iter().product::<usize>();
    let parts = (0..bytes).step_by(chunk);
    let pixels = parts.map(|start| Step::Pixels(start..bytes.min(start + chunk)));
    let logits = (words..client.classes()).step_by(words).map(Step::Logits);
    let operations = if digests { client.operations() } else { 0 };
    let digests = (0..operations).step_by(words).map(Step::Digests);
    pixels
        .chain([Step::Run])
        .chain(logits)
        .chain(digests)
        .collect()
}

impl Stream<'_, '_> {
    /// The board, for other requests. What was sent ahead is given up.
    pub(super) fn client(&mut self) -> &mut Client {
        self.next = (self.image, 0);
        self.client
    }

    /// Sends as much as the board keeps.
    pub(super) fn send(&mut self) -> Result<(), Error> {
        // The first image tells how long replies take.
        if self.image == self.first {
            return Ok(());
        }
        while self.next.0 < self.images.len() {
            let (image, step) = self.next;
            let Some(step) = self.steps.get(step) else {
                self.next = (image + 1, 0);
                continue;
            };
            let (name, request, work) = step.request(self.images.image(image), self.digests);
            if !self.client.line.send_ahead(name, &request, work)? {
                break;
            }
            self.next.1 += 1;
        }
        Ok(())
    }

    /// The result of the next image, and the checksums.
    pub(super) fn result(&mut self) -> Result<(Inference, Vec<u32>), Error> {
        let result = match self.found()? {
            Some(found) => found,
            None => self.alone()?,
        };
        self.image += 1;
        Ok(result)
    }

    /// The same from what was sent ahead; `None` if anything of it is missing.
    fn found(&mut self) -> Result<Option<(Inference, Vec<u32>)>, Error> {
        let mut found = Found::default();
        for index in 0..self.steps.len() {
            self.send()?;
            let step = &self.steps[index];
            let reply = self
                .client
                .line
                .reply_ahead(|reply| found.take(step, reply))?;
            if reply.is_none() {
                return Ok(None);
            }
        }
        let Found {
            ticks,
            logits,
            digests,
        } = found;
        Ok(Some((Inference { logits, ticks }, digests)))
    }

    /// The same one request at a time.
    fn alone(&mut self) -> Result<(Inference, Vec<u32>), Error> {
        self.next = (self.image + 1, 0);
        let pixels = self.images.image(self.image);
        match self.digests {
            true => self.client.infer_with_digests(pixels),
            false => Ok((self.client.infer(pixels)?, Vec::new())),
        }
    }
}

impl Step {
    fn request<'p>(&self, pixels: &'p [u8], digests: bool) -> (&'static str, Request<'p>, Work) {
        match self {
            Self::Pixels(part) => {
                let (offset, data) = (part.start as u32, &pixels[part.clone()]);
                ("pixels", Request::Input { offset, data }, Work::Short)
            }
            Self::Run => ("an inference", Request::Run { digests }, Work::Long),
            &Self::Logits(first) => {
                let first = first as u16;
                ("logits", Request::Logits { first }, Work::Short)
            }
            &Self::Digests(first) => {
                let first = first as u16;
                let request = Request::LayerDigests { first };
                ("layer checksums", request, Work::Short)
            }
        }
    }
}

impl Found {
    /// Takes in the reply to a step; `None` if it is not what the next step goes on from.
    fn take(&mut self, step: &Step, reply: Reply<'_>) -> Option<()> {
        match (step, reply) {
            (Step::Pixels(_), reply) => done(reply)?,
            (Step::Run, Reply::Ran { ticks, logits }) => {
                self.ticks = ticks;
                self.logits = as_words(logits).map(i32::from_le_bytes).collect();
            }
            (&Step::Logits(first), Reply::Logits { logits }) if first == self.logits.len() => {
                self.logits.extend(as_words(logits).map(i32::from_le_bytes));
            }
            (&Step::Digests(first), Reply::LayerDigests { digests })
                if first == self.digests.len() =>
            {
                self.digests
                    .extend(as_words(digests).map(u32::from_le_bytes));
            }
            _ => return None,
        }
        Some(())
    }
}
