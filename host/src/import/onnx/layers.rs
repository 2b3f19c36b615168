//! Layers with weights.

use candle_core::Tensor;

use super::Refusal;
use super::network::{Dynamic, Network, Value, tensor};
use super::schema::NodeProto;
use super::shapes::axis;
use super::windows::padding;
use crate::graph::{BatchNorm, Conv2d, Linear, Op, Padding, Shape};

impl Network<'_> {
    pub(super) fn convolution(
        &mut self,
        node: &NodeProto,
        inputs: &mut [Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let name = Self::layer_name(inputs.get(1).and_then(Option::as_ref), node);
        let weight = self.required(inputs, 1)?;
        let bias = self.optional(inputs, 2)?;
        let &[out, taps, height, width] = weight.dims() else {
            let what = format!(
                "weights of shape {:?}; only convolutions of images are supported",
                weight.dims()
            );
            return Err(Refusal::new(what));
        };
        let strides = node.pair("strides", 1)?;
        if strides[0] != strides[1] || strides[0] == 0 {
            let what = format!("steps {strides:?}; the same in rows and columns is supported");
            return Err(Refusal::new(what));
        }
        if node.pair("dilations", 1)? != [1, 1] {
            return Err(Refusal::new("spread kernels (dilations) are not supported"));
        }
        let groups = usize::try_from(node.int("group", 1)).unwrap_or(0);
        if let (Shape::Flat(features), [1, 1], 1) = (value.shape, [height, width], groups)
            && features == taps
            && value.padding == Padding::default()
        {
            let weight = weight.reshape((out, taps)).map_err(refused)?;
            let mut result = self.linear(&name, Linear { weight, bias }, value)?;
            result.dims = [value.dims[0], out]
                .into_iter()
                .chain(value.dims[2..].iter().map(|_| 1))
                .collect();
            return Ok(result);
        }
        let (image, sizes) = self.image(value)?;
        let own = padding(node, [height, width], strides, sizes)?;
        let around = image.padding;
        let padding = Padding {
            top: own.top.saturating_add(around.top),
            left: own.left.saturating_add(around.left),
            bottom: own.bottom.saturating_add(around.bottom),
            right: own.right.saturating_add(around.right),
        };
        let rows = [
            sizes[1]
                .saturating_add(padding.top)
                .saturating_add(padding.bottom),
            sizes[2]
                .saturating_add(padding.left)
                .saturating_add(padding.right),
        ];
        let fits = rows[0] >= height && rows[1] >= width && height > 0 && width > 0;
        if !fits || groups == 0 || taps.checked_mul(groups) != Some(sizes[0]) {
            let what = format!(
                "weights of shape {:?} in {groups} group(s) for an image {sizes:?}",
                weight.dims()
            );
            return Err(Refusal::new(what));
        }
        let size = |axis: usize| (rows[axis] - [height, width][axis]) / strides[0] + 1;
        let sizes = [out, size(0), size(1)];
        let op = Op::Conv2d(Conv2d {
            weight,
            bias,
            stride: strides[0],
            padding,
            groups,
        });
        let node = self.add(&name, op, &[image.node]);
        let dims = [&image.dims[..1], &sizes].concat();
        Ok(self.dynamic(node, Shape::Image(sizes), dims))
    }

    pub(super) fn batch_norm(
        &mut self,
        node: &NodeProto,
        inputs: &mut [Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let name = Self::layer_name(inputs.get(1).and_then(Option::as_ref), node);
        let norm = BatchNorm {
            weight: Some(self.required(inputs, 1)?),
            bias: Some(self.required(inputs, 2)?),
            running_mean: self.required(inputs, 3)?,
            running_var: self.required(inputs, 4)?,
            eps: shortest(node.float("epsilon", 1e-5)),
        };
        let negative = norm
            .running_var
            .min(0)
            .and_then(|least| least.to_scalar::<f32>());
        if norm.running_var.dims() != [value.shape.channels()] || negative.map_err(refused)? < 0.0 {
            let what = format!(
                "a variance of shape {:?} for {} channels, or a negative one",
                norm.running_var.dims(),
                value.shape.channels()
            );
            return Err(Refusal::new(what));
        }
        self.pointwise(&name, Op::BatchNorm(norm), value)
    }

    pub(super) fn gemm(
        &mut self,
        node: &NodeProto,
        inputs: &mut [Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let name = Self::layer_name(inputs.get(1).and_then(Option::as_ref), node);
        if node.int("transA", 0) != 0 {
            return Err(Refusal::new("a transposed image"));
        }
        let mut weight = self.required(inputs, 1)?;
        if weight.rank() != 2 {
            return Err(Refusal::new(format!(
                "weights of shape {:?}",
                weight.dims()
            )));
        }
        if node.int("transB", 0) == 0 {
            weight = weight
                .t()
                .and_then(|weight| weight.contiguous())
                .map_err(refused)?;
        }
        let scaled = |tensor: Tensor, factor: f32| match factor {
            1.0 => Ok(tensor),
            factor if factor.is_finite() => (tensor * f64::from(factor)).map_err(refused),
            factor => Err(Refusal::new(format!("a factor of {factor}"))),
        };
        let weight = scaled(weight, node.float("alpha", 1.0))?;
        let outputs = weight.dims()[0];
        let bias = match self.optional(inputs, 2)? {
            Some(bias) => Some(scaled(vector(&bias, outputs)?, node.float("beta", 1.0))?),
            None => None,
        };
        self.linear(&name, Linear { weight, bias }, value)
    }

    pub(super) fn mat_mul(
        &mut self,
        node: &NodeProto,
        inputs: &mut [Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        if let Some(Some(Value::Dynamic(_))) = inputs.get(1) {
            return Err(Refusal::new(
                "a product of two values that depend on the image",
            ));
        }
        let name = Self::layer_name(inputs.get(1).and_then(Option::as_ref), node);
        let mut weight = self.required(inputs, 1)?;
        if weight.rank() != 2 {
            return Err(Refusal::new(format!(
                "weights of shape {:?}",
                weight.dims()
            )));
        }
        weight = weight
            .t()
            .and_then(|weight| weight.contiguous())
            .map_err(refused)?;
        self.linear(&name, Linear { weight, bias: None }, value)
    }

    fn linear(&mut self, name: &str, linear: Linear, value: &Dynamic) -> Result<Dynamic, Refusal> {
        if value.dims.len() != 2 && !matches!(value.shape, Shape::Flat(_)) {
            let what = format!("a vector per image expected, found {:?}", value.dims);
            return Err(Refusal::new(what));
        }
        let value = self.flat(value)?;
        let &[out, taps] = linear.weight.dims() else {
            return Err(Refusal::new(format!(
                "weights of shape {:?}",
                linear.weight.dims()
            )));
        };
        if Shape::Flat(taps) != value.shape {
            let what = format!(
                "weights for {taps} features, where there are {}",
                value.shape
            );
            return Err(Refusal::new(what));
        }
        let node = self.add(name, Op::Linear(linear), &[value.node]);
        let dims = vec![value.dims[0], out];
        Ok(self.dynamic(node, Shape::Flat(out), dims))
    }

    /// A constant behind a layer without bias, which nothing else reads as `name`.
    pub(super) fn add_bias(
        &mut self,
        name: &str,
        value: &Dynamic,
        constant: &Value,
    ) -> Result<Dynamic, Refusal> {
        let layer = self.nodes[value.node.0].clone();
        let channels = value.shape.channels();
        let bias = vector(&self.weights(constant.clone())?, channels)?;
        let op = match layer.op {
            Op::Linear(Linear { weight, bias: None }) => Op::Linear(Linear {
                weight,
                bias: Some(bias),
            }),
            Op::Conv2d(conv) if conv.bias.is_none() => Op::Conv2d(Conv2d {
                bias: Some(bias),
                ..conv
            }),
            _ => {
                let what = format!(
                    "a constant added to `{name}`; that is supported behind a layer without bias"
                );
                return Err(Refusal::new(what));
            }
        };
        let node = self.add(&layer.name, op, &layer.inputs);
        Ok(Dynamic {
            node,
            ..value.clone()
        })
    }

    /// The mean of rows and columns.
    pub(super) fn mean(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let rank = value.dims.len();
        let axes = self.list(node, inputs, "axes")?.unwrap_or_default();
        let mut axes = axes
            .into_iter()
            .map(|found| axis(found, rank))
            .collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes != [2, 3] || rank != 4 {
            let what = format!("a mean over the axes {axes:?}; over rows and columns is supported");
            return Err(Refusal::new(what));
        }
        let mut result = self.global_pool(node.label(), value)?;
        if node.int("keepdims", 1) == 0 {
            result.dims.truncate(2);
        }
        Ok(result)
    }

    fn required(&mut self, inputs: &mut [Option<Value>], index: usize) -> Result<Tensor, Refusal> {
        let missing = || Refusal::new(format!("input {index} is missing"));
        self.optional(inputs, index)?.ok_or_else(missing)
    }

    /// The weights at `index`, taken from there.
    fn optional(
        &mut self,
        inputs: &mut [Option<Value>],
        index: usize,
    ) -> Result<Option<Tensor>, Refusal> {
        let value = inputs.get_mut(index).and_then(Option::take);
        value.map(|value| self.weights(value)).transpose()
    }
}

/// A bias of any shape that has one element for all, or one for each of `channels`.
fn vector(bias: &Tensor, channels: usize) -> Result<Tensor, Refusal> {
    let values = bias
        .flatten_all()
        .and_then(|bias| bias.to_vec1::<f32>())
        .map_err(refused)?;
    let along = bias.dims().iter().filter(|&&size| size > 1).count();
    match values.len() {
        1 => tensor(vec![values[0]; channels], &[channels]),
        count if count == channels && along == 1 => tensor(values, &[channels]),
        _ => {
            let what = format!("a bias of shape {:?} for {channels} channels", bias.dims());
            Err(Refusal::new(what))
        }
    }
}

/// The decimal number that `value` was written from: 1e-5, not 9.99999974e-6.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn refused(error: candle_core::Error) -> Refusal {
    Refusal::new(format!("its weights: {error}"))
}
