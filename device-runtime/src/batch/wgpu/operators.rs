//! The shaders and what they are bound to.

use std::string::String;
use std::vec::Vec;

use wgpu::{BufferBindingType, ShaderStages};

/// Invocations per workgroup, for every shader. WebGPU guarantees up to 256.
pub(super) const WORKGROUP_SIZE: u32 = 64;

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("../../../../shaders/", $name, ".wgsl"))
    };
}

const WIDE: &str = shader!("wide");
const OPERATOR: &str = shader!("operator");
const CONVOLUTION: &str = shader!("convolution");

/// A shader: the name of its entry point and the sources that it is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shader {
    pub(super) name: &'static str,
    sources: &'static [&'static str],
}

impl Shader {
    pub(super) fn source(&self) -> String {
        self.sources.concat()
    }
}

/// The epilogue by itself.
pub(super) const REQUANTIZE: Shader = Shader {
    name: "requantize",
    sources: &[WIDE, shader!("requantize")],
};

/// Products of packed codes and nothing else.
pub(super) const PACKED_PRODUCTS: Shader = Shader {
    name: "packed_products",
    sources: &[shader!("peak")],
};

/// Products of whole numbers and nothing else.
pub(super) const PLAIN_PRODUCTS: Shader = Shader {
    name: "plain_products",
    sources: &[shader!("peak")],
};

/// An operator of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    InputTable,
    Conv2d,
    Conv2dValues,
    Add,
    Pool,
    Linear,
}

impl Operator {
    pub(super) const ALL: [Self; 6] = [
        Self::InputTable,
        Self::Conv2d,
        Self::Conv2dValues,
        Self::Add,
        Self::Pool,
        Self::Linear,
    ];

    pub(super) const fn shader(self) -> Shader {
        match self {
            Self::InputTable => Shader {
                name: "input_table",
                sources: &[WIDE, OPERATOR, shader!("input_table")],
            },
            Self::Conv2d => Shader {
                name: "conv2d",
                sources: &[WIDE, OPERATOR, CONVOLUTION, shader!("conv2d")],
            },
            Self::Conv2dValues => Shader {
                name: "conv2d_values",
                sources: &[WIDE, OPERATOR, CONVOLUTION, shader!("conv2d_values")],
            },
            Self::Add => Shader {
                name: "add_tensors",
                sources: &[WIDE, OPERATOR, shader!("add")],
            },
            Self::Pool => Shader {
                name: "pool",
                sources: &[WIDE, OPERATOR, shader!("pool")],
            },
            Self::Linear => Shader {
                name: "linear",
                sources: &[WIDE, OPERATOR, shader!("linear")],
            },
        }
    }
}

/// The buffers of an operator, in the order of `shaders/operator.wgsl`.
pub(super) struct Bindings<'a> {
    /// What the operator is about.
    pub(super) layer: &'a wgpu::Buffer,
    /// How many images there are.
    pub(super) batch: &'a wgpu::Buffer,
    pub(super) input: &'a wgpu::Buffer,
    pub(super) parameters: &'a wgpu::Buffer,
    pub(super) addend: &'a wgpu::Buffer,
    pub(super) output: &'a wgpu::Buffer,
}

/// The operators, compiled.
#[derive(Debug, Clone)]
pub(super) struct Pipelines {
    layout: wgpu::BindGroupLayout,
    operators: Vec<wgpu::ComputePipeline>,
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let types = [
            BufferBindingType::Uniform,
            BufferBindingType::Uniform,
            BufferBindingType::Storage { read_only: true },
            BufferBindingType::Storage { read_only: true },
            BufferBindingType::Storage { read_only: true },
            BufferBindingType::Storage { read_only: false },
        ];
        let entries: Vec<_> = (0..).zip(types).map(entry).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        });
        let shared = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let compiled = |operator: &Operator| compile(device, &operator.shader(), Some(&shared));
        Self {
            operators: Operator::ALL.iter().map(compiled).collect(),
            layout,
        }
    }

    pub(super) fn get(&self, operator: Operator) -> &wgpu::ComputePipeline {
        &self.operators[operator as usize]
    }

    pub(super) fn bind(&self, device: &wgpu::Device, bindings: &Bindings<'_>) -> wgpu::BindGroup {
        let buffers = [
            bindings.layer,
            bindings.batch,
            bindings.input,
            bindings.parameters,
            bindings.addend,
            bindings.output,
        ];
        bind(device, &self.layout, buffers)
    }
}

/// Binds buffers in their order.
pub(super) fn bind<'a>(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    buffers: impl IntoIterator<Item = &'a wgpu::Buffer>,
) -> wgpu::BindGroup {
    let entries = (0..).zip(buffers);
    let entries: Vec<_> = entries
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout,
        entries: &entries,
    })
}

fn entry((binding, ty): (u32, BufferBindingType)) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

/// Compiles a shader, whose override `workgroup_size` is named as usual.
pub(super) fn compile(
    device: &wgpu::Device,
    shader: &Shader,
    layout: Option<&wgpu::PipelineLayout>,
) -> wgpu::ComputePipeline {
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(shader.name),
        source: wgpu::ShaderSource::Wgsl(shader.source().into()),
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(shader.name),
        layout,
        module: &module,
        entry_point: Some(shader.name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[("workgroup_size", f64::from(WORKGROUP_SIZE))],
            // All that is read there has been written before.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    })
}
