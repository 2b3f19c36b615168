//! The networks of the MLPerf Tiny benchmark, which come from Keras: layers are numbered by kind,
//! convolutions have a bias and TensorFlow's `SAME` padding.

use candle_core::Result;

use super::Parameters;
use super::builder::{Builder, Geometry, KERAS_EPS};
use super::naming::ConvNames;
use crate::graph::{Node, NodeId, Op, Padding};

/// Image classification: three residual blocks with 16, 32 and 64 channels, projections without
/// BatchNorm.
pub(super) fn resnet8(parameters: &mut dyn Parameters, classes: usize) -> Result<Vec<Node>> {
    let mut network = Network::new(parameters, [3, 32, 32]);
    network.conv_relu(16, [3, 3], 1)?;
    network.block(16, 1)?;
    network.block(32, 2)?;
    network.block(64, 2)?;
    network.classify(classes)
}

/// Keyword spotting: a 10x4 convolution and four pairs of depthwise and 1x1 convolutions.
pub(super) fn ds_cnn(parameters: &mut dyn Parameters, classes: usize) -> Result<Vec<Node>> {
    let mut network = Network::new(parameters, [1, 49, 10]);
    network.conv_relu(64, [10, 4], 2)?;
    for _ in 0..4 {
        network.depthwise_relu(1)?;
        network.conv_relu(64, [1, 1], 1)?;
    }
    // The last of 25 rows is left out.
    let window = [24, 5];
    let op = Op::AveragePool {
        window,
        stride: window,
    };
    let pooled = network.builder.push("pool", op, [network.image]);
    let flat = network.builder.push("flatten", Op::Flatten, [pooled]);
    network.builder.linear("dense", [64, classes], flat)?;
    Ok(network.builder.nodes)
}

/// Person detection: MobileNetV1 with a quarter of the channels.
pub(super) fn mobilenet_v1(parameters: &mut dyn Parameters, classes: usize) -> Result<Vec<Node>> {
    const STRIDES: [usize; 13] = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1];
    const CHANNELS: [usize; 13] = [16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256];
    let mut network = Network::new(parameters, [3, 96, 96]);
    network.conv_relu(8, [3, 3], 2)?;
    for (stride, channels) in STRIDES.into_iter().zip(CHANNELS) {
        network.depthwise_relu(stride)?;
        network.conv_relu(channels, [1, 1], 1)?;
    }
    network.classify(classes)
}

/// Anomaly detection: an autoencoder of linear layers that reconstructs `features` numbers.
pub(super) fn autoencoder(parameters: &mut dyn Parameters, features: usize) -> Result<Vec<Node>> {
    const WIDTHS: [usize; 9] = [128, 128, 128, 128, 8, 128, 128, 128, 128];
    let mut builder = Builder::new(parameters, KERAS_EPS);
    let input = builder.input();
    let mut value = builder.push("flatten", Op::Flatten, [input]);
    let mut read = features;
    for (index, width) in WIDTHS.into_iter().enumerate() {
        let names = [
            numbered("dense", index),
            numbered("batch_normalization", index),
        ];
        value = builder.linear(&names[0], [read, width], value)?;
        value = builder.norm(&names[1], width, value)?;
        value = builder.push(&numbered("relu", index), Op::Relu, [value]);
        read = width;
    }
    builder.linear(&numbered("dense", WIDTHS.len()), [read, features], value)?;
    Ok(builder.nodes)
}

/// Keras's name of the layer with this number of its kind.
fn numbered(kind: &str, number: usize) -> String {
    match number {
        0 => kind.to_owned(),
        number => format!("{kind}_{number}"),
    }
}

struct Network<'a> {
    builder: Builder<'a>,
    image: NodeId,
    /// Channels, height and width of the image.
    shape: [usize; 3],
    convs: usize,
    depthwise: usize,
    norms: usize,
    relus: usize,
}

impl<'a> Network<'a> {
    fn new(parameters: &'a mut dyn Parameters, shape: [usize; 3]) -> Self {
        let builder = Builder::new(parameters, KERAS_EPS);
        Self {
            image: builder.input(),
            builder,
            shape,
            convs: 0,
            depthwise: 0,
            norms: 0,
            relus: 0,
        }
    }

    /// Sizes of a convolution of the image, whose shape becomes that of the result.
    fn geometry(&mut self, out: usize, kernel: [usize; 2], stride: usize) -> Geometry {
        let [channels, height, width] = self.shape;
        let padding = Padding::tensorflow_same([height, width], kernel, [stride; 2]);
        self.shape = [out, height.div_ceil(stride), width.div_ceil(stride)];
        Geometry {
            channels: [channels, out],
            kernel,
            stride,
            padding,
            groups: 1,
        }
    }

    fn conv_norm(&mut self, out: usize, kernel: [usize; 2], stride: usize) -> Result<()> {
        let sizes = self.geometry(out, kernel, stride);
        let names = ConvNames {
            conv: numbered("conv2d", self.convs),
            norm: numbered("batch_normalization", self.norms),
        };
        self.convs += 1;
        self.norms += 1;
        self.image = self.builder.conv_norm(&names, sizes, self.image)?;
        Ok(())
    }

    fn relu(&mut self) {
        let name = numbered("relu", self.relus);
        self.relus += 1;
        self.image = self.builder.push(&name, Op::Relu, [self.image]);
    }

    fn conv_relu(&mut self, out: usize, kernel: [usize; 2], stride: usize) -> Result<()> {
        self.conv_norm(out, kernel, stride)?;
        self.relu();
        Ok(())
    }

    fn depthwise_relu(&mut self, stride: usize) -> Result<()> {
        let channels = self.shape[0];
        let sizes = Geometry {
            groups: channels,
            ..self.geometry(channels, [3, 3], stride)
        };
        let names = ConvNames {
            conv: numbered("depthwise_conv2d", self.depthwise),
            norm: numbered("batch_normalization", self.norms),
        };
        self.depthwise += 1;
        self.norms += 1;
        self.image = self.builder.conv_norm(&names, sizes, self.image)?;
        self.relu();
        Ok(())
    }

    fn block(&mut self, out: usize, stride: usize) -> Result<()> {
        let (input, shape) = (self.image, self.shape);
        self.conv_relu(out, [3, 3], stride)?;
        self.conv_norm(out, [3, 3], 1)?;
        let body = self.image;
        let shortcut = if stride == 1 {
            input
        } else {
            self.shape = shape;
            let sizes = self.geometry(out, [1, 1], stride);
            let name = numbered("conv2d", self.convs);
            self.convs += 1;
            self.builder.conv(&name, sizes, input)?
        };
        let name = format!("add_{}", self.relus);
        self.image = self.builder.push(&name, Op::Add, [body, shortcut]);
        self.relu();
        Ok(())
    }

    fn classify(mut self, classes: usize) -> Result<Vec<Node>> {
        let pooled = self
            .builder
            .push("pool", Op::GlobalAveragePool, [self.image]);
        let channels = self.shape[0];
        self.builder.linear("dense", [channels, classes], pooled)?;
        Ok(self.builder.nodes)
    }
}
