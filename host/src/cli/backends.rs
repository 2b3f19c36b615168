//! Which processor of this computer runs a packed network.

use clap::Args;
use lowbit_host::integer::{self, Backend, Processor};

use super::failure::Failure;
use super::output::Output;

/// Which GPU.
#[derive(Debug, Args)]
pub(crate) struct AdapterArguments {
    /// GPU for the backend wgpu, by a part of its name, see `lowbit boards` [default: the fastest]
    #[arg(long, value_name = "NAME", requires = "backend")]
    adapter: Option<String>,
}

impl AdapterArguments {
    /// Makes a backend ready.
    pub(crate) fn open(&self, output: Output, backend: Backend) -> Result<Processor, Failure> {
        if self.adapter.is_some() && backend != Backend::Wgpu {
            return Err(
                Failure::new(format!("--adapter names a GPU, the backend is {backend}"))
                    .hint("add `--backend wgpu`, or leave out --adapter"),
            );
        }
        self.open_any(output, backend)
    }

    /// Like [`open`](Self::open), for one of several backends.
    pub(crate) fn open_any(&self, output: Output, backend: Backend) -> Result<Processor, Failure> {
        let processor = Processor::open(backend, self.adapter.as_deref()).map_err(explain)?;
        if processor.is_software_gpu() {
            output.say(format!(
                "{} is no GPU: it computes on the processor, slower than `--backend cpu`",
                processor.device()
            ));
        }
        Ok(processor)
    }
}

/// What a GPU cannot do, the processor can.
pub(crate) fn explain(error: integer::Error) -> Failure {
    let about_gpu = error.is_about_gpu();
    let failure = Failure::from(error);
    if !about_gpu {
        return failure;
    }
    failure.hint(if cfg!(feature = "wgpu") {
        "`--backend cpu` computes the same integers on the processor; `lowbit boards` lists the \
         GPUs of this computer"
    } else {
        "`--backend cpu` computes the same integers on the processor; for GPUs build lowbit with \
         `cargo install --path host --features wgpu`"
    })
}
