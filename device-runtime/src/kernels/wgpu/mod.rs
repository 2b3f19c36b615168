//! Operators on a GPU. Their shaders lie in the top-level folder `shaders`; each gives the same
//! integers as the portable code, bit for bit.

mod requantize;
#[cfg(test)]
mod tests;

use std::string::String;
use std::sync::mpsc;
use std::vec::Vec;

use pollster::block_on;
use wgpu::{BufferUsages, ErrorFilter};

/// Invocations per workgroup, for every shader. WebGPU guarantees up to 256.
const WORKGROUP_SIZE: u32 = 64;

/// Why a GPU cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This build has no graphics interface for this operating system.
    #[error("no graphics interface for this operating system is compiled in: Vulkan expected")]
    NoInterface,
    /// There is neither a GPU nor a software driver.
    #[error("no GPU found: install its Vulkan driver, or software Vulkan (scripts/setup --vulkan)")]
    NoAdapter(#[source] wgpu::RequestAdapterError),
    /// The GPU refuses to be opened, for example because it has less than the required limits.
    #[error("the GPU `{adapter}` cannot be used")]
    Device {
        /// Name of the GPU.
        adapter: String,
        /// What the driver said.
        source: wgpu::RequestDeviceError,
    },
    /// The GPU has no memory left, or its driver refuses a command.
    #[error("the GPU failed")]
    Command(#[source] wgpu::Error),
    /// The GPU stopped while its results were awaited.
    #[error("the GPU was lost while it computed")]
    Lost,
    /// More elements than one buffer holds.
    #[error("{found} bytes of {what} do not fit into a buffer of the GPU: at most {most} expected")]
    TooLarge {
        /// What was to be stored.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The limit of the GPU.
        most: u64,
    },
    /// Parameters of a channel outside the ranges in which nothing overflows.
    #[error(
        "channel {channel}: multiplier {multiplier}, bias {bias} and shift {shift} found; sizes of \
         at most 2^30 and below 2^61, and a shift of 1 to 62 expected"
    )]
    Channel {
        /// Index of the channel.
        channel: usize,
        /// Its multiplier.
        multiplier: i32,
        /// Its bias.
        bias: i64,
        /// Its shift.
        shift: u8,
    },
    /// Elements that are not a whole number of positions.
    #[error("{elements} elements found, a multiple of {channels} channels expected")]
    Shape {
        /// Number of elements.
        elements: usize,
        /// Number of channels; 0 fits no elements at all.
        channels: usize,
    },
}

/// An opened GPU with its compiled operators. Opening takes about a second: share one.
#[derive(Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    requantize: wgpu::ComputePipeline,
}

impl Gpu {
    /// Opens the fastest GPU, or the software driver if there is no other.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::NoAdapter`], [`Error::Device`] or [`Error::Command`] if
    /// there is no usable GPU.
    pub fn new() -> Result<Self, Error> {
        if wgpu::Instance::enabled_backend_features().is_empty() {
            return Err(Error::NoInterface);
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        }))
        .map_err(Error::NoAdapter)?;
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::downlevel_defaults(),
            ..Default::default()
        }))
        .map_err(|source| Error::Device {
            adapter: adapter.get_info().name,
            source,
        })?;
        let requantize = checked(&device, || requantize::pipeline(&device))?;
        Ok(Self {
            device,
            queue,
            requantize,
        })
    }

    /// Runs a pipeline with one invocation per element of its result, or fewer if those are more
    /// than one dispatch has; the shader then loops. The buffers are bound in their order, and
    /// `result` last. Returns the `elements`, at least one, that `result` then holds.
    fn run(
        &self,
        pipeline: &wgpu::ComputePipeline,
        inputs: &[Input<'_>],
        elements: usize,
    ) -> Result<Vec<i32>, Error> {
        for input in inputs {
            self.check_size(input.what, input.bytes.len())?;
        }
        let bytes = elements.saturating_mul(size_of::<i32>());
        self.check_size("results", bytes)?;
        let bytes = bytes as u64;
        let (sender, receiver) = mpsc::channel();
        let readback = checked(&self.device, || {
            let mut buffers: Vec<_> = inputs.iter().map(|input| self.upload(input)).collect();
            let result = self.buffer(bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
            let readback = self.buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
            buffers.push(result.clone());

            let mut encoder = self.device.create_command_encoder(&Default::default());
            self.encode(&mut encoder, pipeline, &buffers, elements);
            encoder.copy_buffer_to_buffer(&result, 0, &readback, 0, bytes);
            self.queue.submit([encoder.finish()]);
            readback.map_async(wgpu::MapMode::Read, .., move |mapped| {
                // Nobody listens any more if an error has been returned meanwhile.
                let _ = sender.send(mapped);
            });
            readback
        })?;
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        waited.map_err(|_| Error::Lost)?;
        let mapped = receiver.recv().map_err(|_| Error::Lost)?;
        mapped.map_err(|_| Error::Lost)?;
        let view = readback.get_mapped_range(..).map_err(|_| Error::Lost)?;
        let (words, _) = view.as_chunks();
        Ok(words.iter().copied().map(i32::from_ne_bytes).collect())
    }

    fn check_size(&self, what: &'static str, found: usize) -> Result<(), Error> {
        let most = self.device.limits().max_storage_buffer_binding_size;
        if found as u64 > most {
            return Err(Error::TooLarge { what, found, most });
        }
        Ok(())
    }

    fn buffer(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    fn upload(&self, input: &Input<'_>) -> wgpu::Buffer {
        let size = input.bytes.len() as u64;
        let buffer = self.buffer(size, input.usage | BufferUsages::COPY_DST);
        self.queue.write_buffer(&buffer, 0, input.bytes);
        buffer
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pipeline: &wgpu::ComputePipeline,
        buffers: &[wgpu::Buffer],
        elements: usize,
    ) {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let most = self.device.limits().max_compute_workgroups_per_dimension;
        let workgroups = elements.div_ceil(WORKGROUP_SIZE as usize);
        let workgroups = u32::try_from(workgroups).map_or(most, |count| count.min(most));
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(workgroups, 1, 1);
    }
}

/// What a shader reads through one binding.
struct Input<'a> {
    /// For messages.
    what: &'static str,
    bytes: &'a [u8],
    usage: BufferUsages,
}

/// Compiles a shader whose entry point and override `workgroup_size` are named as usual.
fn compile(device: &wgpu::Device, name: &str, source: &str) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: None,
        module: &module,
        entry_point: Some(name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[("workgroup_size", f64::from(WORKGROUP_SIZE))],
            ..Default::default()
        },
        cache: None,
    })
}

/// Runs commands whose errors wgpu would otherwise answer with a panic.
fn checked<T>(device: &wgpu::Device, commands: impl FnOnce() -> T) -> Result<T, Error> {
    let scopes = [
        ErrorFilter::Internal,
        ErrorFilter::Validation,
        ErrorFilter::OutOfMemory,
    ]
    .map(|filter| device.push_error_scope(filter));
    let done = commands();
    // Scopes are closed in the reverse of the order in which they were opened.
    let errors = scopes.into_iter().rev().map(|scope| block_on(scope.pop()));
    match errors.fold(None, Option::or) {
        Some(error) => Err(Error::Command(error)),
        None => Ok(done),
    }
}
