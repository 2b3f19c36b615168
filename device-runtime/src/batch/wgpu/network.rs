//! A model on a GPU.

use std::time::Duration;
use std::vec;
use std::vec::Vec;

use wgpu::BufferUsages;

use super::buffers::integers;
use super::clock::Clock;
use super::device::checked;
use super::operators::{Bindings, Operator, WORKGROUP_SIZE};
use super::parameters::Tensor;
use super::program::{Dispatch, Memory, Program, Work};
use super::{Error, Gpu};
use crate::format::{Model, TensorSpec};

/// A model whose weights and working memory lie on a GPU.
#[derive(Debug)]
pub struct GpuNetwork {
    gpu: Gpu,
    steps: Vec<Step>,
    slots: Vec<wgpu::Buffer>,
    pixels: wgpu::Buffer,
    batch: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Images that there is room for.
    capacity: usize,
    /// Bytes of an image, and of the whole words that it takes.
    image: [usize; 2],
    classes: usize,
}

#[derive(Debug)]
struct Step {
    runs: Vec<Run>,
    output: TensorSpec,
    slot: usize,
}

#[derive(Debug)]
struct Run {
    operator: Operator,
    bindings: wgpu::BindGroup,
    work: Work,
}

impl GpuNetwork {
    /// Brings `model` to `gpu`, with room for `images` at once or for as many as the limits of the
    /// GPU and 1 GiB of tensors allow.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if not even one image or the weights of a layer fit a buffer of the GPU,
    /// and [`Error::Command`] if its memory is full.
    pub fn new(gpu: &Gpu, model: &Model<'_>, images: usize) -> Result<Self, Error> {
        let program = Program::new(model);
        let capacity = capacity(gpu, &program, images)?;
        for dispatch in program.steps.iter().flat_map(|step| &step.dispatches) {
            gpu.check_size("weights", dispatch.parameters.len() as u64 * 4)?;
        }
        checked(&gpu.device, || Self::build(gpu, model, &program, capacity))
    }

    fn build(gpu: &Gpu, model: &Model<'_>, program: &Program, capacity: usize) -> Self {
        let storage = |words: u64| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
            gpu.buffer(words * 4 * capacity as u64, usage)
        };
        let slots: Vec<_> = program.slots.iter().map(|words| storage(*words)).collect();
        let shared = Shared {
            gpu,
            slots: &slots,
            pixels: storage(program.pixels),
            sums: storage(program.sums),
            batch: gpu.buffer(16, BufferUsages::UNIFORM | BufferUsages::COPY_DST),
            unused: gpu.upload(&[0; 16], BufferUsages::STORAGE),
        };
        let steps = program.steps.iter().map(|step| Step {
            runs: step.dispatches.iter().map(|it| shared.run(it)).collect(),
            output: step.output,
            slot: step.slot,
        });
        let steps = steps.collect();
        let classes = usize::from(model.header().classes);
        let readback = (classes.next_multiple_of(4) * 4 * capacity) as u64;
        Self {
            gpu: gpu.clone(),
            steps,
            pixels: shared.pixels,
            batch: shared.batch,
            readback: gpu.buffer(readback, BufferUsages::MAP_READ | BufferUsages::COPY_DST),
            slots,
            capacity,
            image: [model.pixel_bytes(), program.pixels as usize * 4],
            classes,
        }
    }

    /// The GPU.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Images that are computed at once.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Runs any number of images, each height x width x channels bytes; `logits` gets one row of
    /// `i32` (unit 2^-16) per image. Images of another size count as black, rows that `logits` has
    /// no room for are left out.
    ///
    /// # Errors
    /// [`Error::Command`] or [`Error::Lost`] if the GPU fails.
    pub fn run(&mut self, images: &[&[u8]], logits: &mut [i32]) -> Result<(), Error> {
        let classes = self.classes.max(1);
        let rows = logits.chunks_mut(classes * self.capacity);
        for (images, rows) in images.chunks(self.capacity).zip(rows) {
            self.run_batch(images, rows)?;
        }
        Ok(())
    }

    /// Runs at most [`capacity`](Self::capacity) images and returns how long the GPU computed,
    /// without the way there and back; nothing if it has no clock.
    ///
    /// # Errors
    /// [`Error::Command`] or [`Error::Lost`] if the GPU fails.
    pub fn time(&self, images: &[&[u8]]) -> Result<Option<Duration>, Error> {
        let images = &images[..images.len().min(self.capacity)];
        let Some(clock) = checked(&self.gpu.device, || Clock::new(&self.gpu))? else {
            return Ok(None);
        };
        self.submit(images, Some(&clock))?;
        clock.read(&self.gpu).map(Some)
    }

    fn run_batch(&self, images: &[&[u8]], logits: &mut [i32]) -> Result<(), Error> {
        self.submit(images, None)?;
        let row = self.classes.next_multiple_of(4);
        let bytes = self.logit_bytes(images.len());
        self.gpu.read(&self.readback, bytes, |words| {
            let found = words.chunks_exact(row.max(1));
            for (to, from) in logits.chunks_exact_mut(self.classes.max(1)).zip(found) {
                for (logit, word) in to.iter_mut().zip(from) {
                    *logit = i32::from_ne_bytes(*word);
                }
            }
        })
    }

    /// Has all operations computed and the logits copied to where they can be read.
    fn submit(&self, images: &[&[u8]], clock: Option<&Clock>) -> Result<(), Error> {
        checked(&self.gpu.device, || {
            self.write(images);
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: clock.map(Clock::writes),
            });
            for step in &self.steps {
                self.encode(&mut pass, step, images.len());
            }
            drop(pass);
            if let Some(clock) = clock {
                clock.stop(&mut encoder);
            }
            if let Some(last) = self.steps.last() {
                let (logits, bytes) = (&self.slots[last.slot], self.logit_bytes(images.len()));
                encoder.copy_buffer_to_buffer(logits, 0, &self.readback, 0, bytes);
            }
            self.gpu.queue.submit([encoder.finish()]);
        })
    }

    /// Bytes of the logits of `images` images on the GPU, where rows are whole quads.
    fn logit_bytes(&self, images: usize) -> u64 {
        (self.classes.next_multiple_of(4) * 4 * images) as u64
    }

    fn write(&self, images: &[&[u8]]) {
        let [size, padded] = self.image;
        let mut bytes = vec![0; padded * images.len()];
        for (place, image) in bytes.chunks_exact_mut(padded.max(1)).zip(images) {
            if image.len() == size {
                place[..size].copy_from_slice(image);
            }
        }
        let queue = &self.gpu.queue;
        queue.write_buffer(&self.pixels, 0, &bytes);
        let count = images.len() as u32;
        queue.write_buffer(&self.batch, 0, &count.to_ne_bytes());
    }

    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, step: &Step, images: usize) {
        for run in &step.runs {
            let pieces = u64::from(run.work.pieces) * images as u64;
            let block = u64::from(WORKGROUP_SIZE * run.work.together);
            let workgroups = self.gpu.workgroups(pieces.div_ceil(block));
            pass.set_pipeline(self.gpu.pipelines.get(run.operator));
            pass.set_bind_group(0, &run.bindings, &[]);
            pass.dispatch_workgroups(workgroups, run.work.quads, 1);
        }
    }

    /// Every output of every image in canonical order as integers, operation after operation, to
    /// find the first that a GPU computes otherwise. Takes the first [`capacity`](Self::capacity)
    /// images.
    ///
    /// # Errors
    /// [`Error::Command`] or [`Error::Lost`] if the GPU fails.
    pub fn outputs(&self, images: &[&[u8]]) -> Result<Vec<Vec<Vec<i32>>>, Error> {
        let images = &images[..images.len().min(self.capacity)];
        checked(&self.gpu.device, || self.write(images))?;
        let mut found = Vec::new();
        for step in &self.steps {
            let tensor = Tensor::new(&step.output);
            let bytes = tensor.words_per_image() * 4 * images.len() as u64;
            let readback = checked(&self.gpu.device, || {
                let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
                let readback = self.gpu.buffer(bytes, usage);
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                let mut pass = encoder.begin_compute_pass(&Default::default());
                self.encode(&mut pass, step, images.len());
                drop(pass);
                encoder.copy_buffer_to_buffer(&self.slots[step.slot], 0, &readback, 0, bytes);
                self.gpu.queue.submit([encoder.finish()]);
                readback
            })?;
            let words = self.gpu.read(&readback, bytes, integers)?;
            let images = words.chunks_exact(tensor.words_per_image() as usize);
            found.push(images.map(|image| tensor.elements(image)).collect());
        }
        Ok(found)
    }
}

/// Most bytes of all tensors together: GPUs do not say how much memory they have.
const MEMORY: u64 = 1 << 30;

/// How many of `wanted` images fit the limits of `gpu`.
fn capacity(gpu: &Gpu, program: &Program, wanted: usize) -> Result<usize, Error> {
    let tensors = program.slots.iter().chain([&program.pixels, &program.sums]);
    let largest = tensors.clone().copied().max().unwrap_or(1) * 4;
    gpu.check_size("a tensor of one image", largest)?;
    let all = tensors.sum::<u64>() * 4;
    let most = (gpu.largest_buffer() / largest).min(MEMORY / all);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    Ok(wanted.clamp(1, most.max(1)))
}

/// What all dispatches are bound to.
struct Shared<'a> {
    gpu: &'a Gpu,
    slots: &'a [wgpu::Buffer],
    pixels: wgpu::Buffer,
    sums: wgpu::Buffer,
    batch: wgpu::Buffer,
    unused: wgpu::Buffer,
}

impl Shared<'_> {
    fn buffer(&self, memory: Memory) -> &wgpu::Buffer {
        match memory {
            Memory::Unused => &self.unused,
            Memory::Pixels => &self.pixels,
            Memory::Slot(slot) => &self.slots[slot],
            Memory::Sums => &self.sums,
        }
    }

    fn run(&self, dispatch: &Dispatch) -> Run {
        let gpu = self.gpu;
        let parameters = bytemuck::cast_slice(&dispatch.parameters);
        let bindings = Bindings {
            layer: &gpu.upload(&dispatch.layer, BufferUsages::UNIFORM),
            batch: &self.batch,
            input: self.buffer(dispatch.input),
            parameters: &gpu.upload(parameters, BufferUsages::STORAGE),
            addend: self.buffer(dispatch.addend),
            output: self.buffer(dispatch.output),
        };
        Run {
            operator: dispatch.operator,
            bindings: gpu.pipelines.bind(&gpu.device, &bindings),
            work: dispatch.work,
        }
    }
}
