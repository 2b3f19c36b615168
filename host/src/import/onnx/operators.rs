//! Operators without weights.

use super::Refusal;
use super::network::{Dynamic, Network, Value};
use super::schema::NodeProto;
use super::shapes::{
    axis, flatten_axis, permutation, reshaped, shape_of, slices, squeezed, unsqueezed,
};
use crate::graph::{Op, Padding, Shape};

/// Operators that are imported, with those that exporters compute sizes with.
const KNOWN: [&str; 46] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "Greater",
    "Identity",
    "Less",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Pad",
    "Range",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Softmax",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

impl Network<'_> {
    /// Refuses operators that are not known at all, with what would help.
    pub(super) fn check_operator(&self, node: &NodeProto) -> Result<(), Refusal> {
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        let what = match node.op_type.as_str() {
            "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => {
                "the file is quantized already; give the float network"
            }
            "LeakyRelu" | "PRelu" | "Elu" | "HardSwish" | "HardSigmoid" | "Sigmoid" | "Tanh"
            | "Gelu" | "Mish" | "Swish" => {
                "activation functions on the board are ReLU and ReLU6; train the network with one \
                 of them"
            }
            "ConvTranspose" | "Resize" | "Upsample" => {
                "networks that enlarge images are not supported"
            }
            "ArgMax" | "TopK" => "leave it out of the export; the board finds the largest logit",
            "InstanceNormalization" | "LayerNormalization" | "GroupNormalization" | "LRN" => {
                "only BatchNormalization can be folded into integer layers"
            }
            "LSTM" | "GRU" | "RNN" | "Loop" | "If" | "Scan" => {
                "recurrence and control flow are not supported"
            }
            known if standard && KNOWN.contains(&known) => return Ok(()),
            _ if !standard => "operators of other domains are not supported; export without them",
            _ => "this operator is not supported; replace it in the network, or cut it off",
        };
        Err(Refusal::new(what))
    }

    /// An operator of which an input depends on the image.
    pub(super) fn operator(
        &mut self,
        node: &NodeProto,
        inputs: &mut [Option<Value>],
    ) -> Result<Value, Refusal> {
        let Some(Some(Value::Dynamic(first))) = inputs.first() else {
            return self.constant_first(node, inputs);
        };
        let first = &first.clone();
        let name = node.label();
        let value = match node.op_type.as_str() {
            "Shape" => return Ok(Value::Constant(shape_of(node, &first.dims).into())),
            "Identity" | "Dropout" => first.clone(),
            "Cast" | "CastLike" => first.clone(),
            "Relu" => self.pointwise(name, Op::Relu, first)?,
            "Clip" => self.clip(node, inputs, first)?,
            "Min" | "Max" => self.bound(node, inputs, first)?,
            "Add" | "Sub" => self.sum(node, inputs, first)?,
            "Softmax" | "LogSoftmax" => self.softmax(node, first)?,
            "Flatten" => {
                let axis = flatten_axis(node, first.dims.len())?;
                let parts = [&first.dims[..axis], &first.dims[axis..]];
                self.reshape(first, parts.map(|part| part.iter().product()).to_vec())?
            }
            "Reshape" => {
                let wanted = self.list(node, inputs, "shape")?.unwrap_or_default();
                let zero_is_a_size = node.int("allowzero", 0) != 0;
                let dims = reshaped(&first.dims, &wanted, zero_is_a_size)?;
                self.reshape(first, dims)?
            }
            "Squeeze" => {
                let axes = self.list(node, inputs, "axes")?;
                self.reshape(first, squeezed(&first.dims, axes.as_deref())?)?
            }
            "Unsqueeze" => {
                let axes = self.list(node, inputs, "axes")?.unwrap_or_default();
                self.reshape(first, unsqueezed(&first.dims, &axes)?)?
            }
            "Transpose" => self.transpose(node, first)?,
            "Slice" => self.slice(node, inputs, first)?,
            "Pad" => self.pad(node, inputs, first)?,
            "Conv" => self.convolution(node, inputs, first)?,
            "BatchNormalization" => self.batch_norm(node, inputs, first)?,
            "Gemm" => self.gemm(node, inputs, first)?,
            "MatMul" => self.mat_mul(node, inputs, first)?,
            "GlobalAveragePool" => self.global_pool(name, first)?,
            "ReduceMean" => self.mean(node, inputs, first)?,
            "MaxPool" => self.max_pool(node, first)?,
            "AveragePool" => self.average_pool(node, first)?,
            _ => {
                return Err(Refusal::new(
                    "it is only supported on constants, and this one depends on the image",
                ));
            }
        };
        Ok(Value::Dynamic(value))
    }

    /// The same with the constant in front.
    fn constant_first(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
    ) -> Result<Value, Refusal> {
        match (node.op_type.as_str(), inputs) {
            ("Add", [Some(constant), Some(Value::Dynamic(value))]) => {
                let name = node.input.get(1).map_or("", String::as_str);
                Ok(Value::Dynamic(self.add_bias(name, value, constant)?))
            }
            _ => Err(Refusal::new(
                "its first input is a constant; the image is expected there",
            )),
        }
    }

    /// Integers given as the second input or, before some version, as an attribute.
    pub(super) fn list(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        attribute: &str,
    ) -> Result<Option<Vec<i64>>, Refusal> {
        match inputs.get(1) {
            Some(Some(value)) => Ok(Some(self.array(value.clone())?.ints()?.to_vec())),
            _ => Ok(node.ints(attribute).map(<[i64]>::to_vec)),
        }
    }

    /// The value after the steps that no node takes yet; zeros around it may remain.
    pub(super) fn stepped(&mut self, value: &Dynamic) -> Result<Dynamic, Refusal> {
        match value.steps {
            [1, 1] => Ok(value.clone()),
            [rows, columns] if rows == columns => self.subsample_pad(value, [0, 0]),
            [rows, columns] => Err(Refusal::new(format!(
                "it reads every {rows}th row and every {columns}th column; both have to be the same"
            ))),
        }
    }

    /// The value as a node computes it.
    pub(super) fn settled(&mut self, value: &Dynamic) -> Result<Dynamic, Refusal> {
        if value.padding != Padding::default() {
            return Err(Refusal::new(
                "it reads an image with zeros around it, which only convolutions do",
            ));
        }
        self.stepped(value)
    }

    /// The value as an image.
    pub(super) fn image(&mut self, value: &Dynamic) -> Result<(Dynamic, [usize; 3]), Refusal> {
        let mut value = self.stepped(value)?;
        let &[_, channels, height, width] = &value.dims[..] else {
            let what = format!(
                "an image [batch, channels, height, width] expected, found {:?}",
                value.dims
            );
            return Err(Refusal::new(what));
        };
        let Padding {
            top,
            left,
            bottom,
            right,
        } = value.padding;
        let (height, width) = (height - top - bottom, width - left - right);
        let sizes = [channels, height, width];
        if value.shape != Shape::Image(sizes) {
            value.node = self.add("reshape", Op::Reshape { shape: sizes }, &[value.node]);
            value.shape = Shape::Image(sizes);
        }
        Ok((value, sizes))
    }

    /// The value as a vector per image.
    pub(super) fn flat(&mut self, value: &Dynamic) -> Result<Dynamic, Refusal> {
        let mut value = self.settled(value)?;
        let elements = value.shape.elements();
        if value.dims.iter().skip(1).product::<usize>() != elements {
            let what = format!("it does not keep images apart: {:?}", value.dims);
            return Err(Refusal::new(what));
        }
        if value.shape != Shape::Flat(elements) {
            value.node = self.add("flatten", Op::Flatten, &[value.node]);
            value.shape = Shape::Flat(elements);
        }
        Ok(value)
    }

    fn reshape(&mut self, value: &Dynamic, dims: Vec<usize>) -> Result<Dynamic, Refusal> {
        if dims == value.dims {
            return Ok(value.clone());
        }
        let value = self.settled(value)?;
        if dims.first() != value.dims.first() {
            let what = format!(
                "it does not keep images apart: {:?} to {dims:?}",
                value.dims
            );
            return Err(Refusal::new(what));
        }
        let mut result = Dynamic { dims, ..value };
        if result.dims.len() == 2 {
            result = self.flat(&result)?;
        }
        Ok(result)
    }

    fn transpose(&mut self, node: &NodeProto, value: &Dynamic) -> Result<Dynamic, Refusal> {
        let order = permutation(node, value.dims.len())?;
        let dims: Vec<usize> = order.iter().map(|&axis| value.dims[axis]).collect();
        let name = node.input.first().map_or("", String::as_str);
        if value.node.0 == 0 && order == [0, 3, 1, 2] && self.is_read_once(name) {
            self.input_shape = [dims[1], dims[2], dims[3]];
            let shape = Shape::Image(self.input_shape);
            return Ok(self.dynamic(value.node, shape, dims));
        }
        let moved = order.iter().filter(|&&axis| value.dims[axis] > 1);
        if moved.is_sorted() {
            return self.reshape(value, dims);
        }
        let what = format!(
            "the order {order:?} of axes; only images with channels first are supported, and a \
             transposition of the input from channels last"
        );
        Err(Refusal::new(what))
    }

    /// Every `step`-th row and column.
    fn slice(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let constants = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| match input {
                Some(input) if index > 0 => self.array(input.clone()).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let ranges = slices(node, &constants, &value.dims)?;
        let mut result = value.clone();
        for (axis, range) in ranges.iter().enumerate() {
            let size = value.dims[axis];
            let whole = range.start == 0 && range.end == size as i64 && range.step > 0;
            if whole && range.step == 1 {
                continue;
            }
            if !whole || value.dims.len() != 4 || axis < 2 || value.padding != Padding::default() {
                let what = format!(
                    "a part of axis {axis}; only every n-th row and column of an image is supported"
                );
                return Err(Refusal::new(what));
            }
            result.steps[axis - 2] = result.steps[axis - 2].saturating_mul(range.step as usize);
            result.dims[axis] = range.len();
        }
        Ok(result)
    }

    /// Zeros around the image, for the convolution behind, or channels of zeros.
    fn pad(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let mode = node.text("mode", "constant");
        if mode != "constant" {
            return Err(Refusal::new(format!(
                "mode `{mode}`; only zeros can be added"
            )));
        }
        let amounts = self.list(node, inputs, "pads")?.unwrap_or_default();
        if let Some(Some(filler)) = inputs.get(2) {
            let filler = self.array(filler.clone())?.floats();
            if filler.iter().any(|&value| value != 0.0) {
                return Err(Refusal::new("only zeros can be added"));
            }
        }
        let axes = match inputs.get(3) {
            Some(Some(axes)) => self.array(axes.clone())?.ints()?.to_vec(),
            _ => (0..value.dims.len() as i64).collect(),
        };
        if amounts.len() != 2 * axes.len() || value.dims.len() != 4 {
            let what = format!("pads {amounts:?} of an image {:?}", value.dims);
            return Err(Refusal::new(what));
        }
        let mut pads = [[0usize; 2]; 4];
        for (index, &found) in axes.iter().enumerate() {
            let ends = [amounts[index], amounts[index + axes.len()]];
            let end = |end: i64| {
                let amount = usize::try_from(end)
                    .ok()
                    .filter(|&end| end <= usize::from(u16::MAX));
                amount.ok_or_else(|| Refusal::new(format!("pads {amounts:?}")))
            };
            pads[axis(found, 4)?] = [end(ends[0])?, end(ends[1])?];
        }
        match pads {
            [[0, 0], [0, 0], [0, 0], [0, 0]] => Ok(value.clone()),
            [[0, 0], channels, [0, 0], [0, 0]] => {
                if value.padding != Padding::default() {
                    return Err(Refusal::new("zeros on all sides and channels of zeros"));
                }
                self.subsample_pad(value, channels)
            }
            [[0, 0], [0, 0], [top, bottom], [left, right]] => {
                let mut result = self.stepped(value)?;
                let padding = &mut result.padding;
                padding.top += top;
                padding.bottom += bottom;
                padding.left += left;
                padding.right += right;
                result.dims[2] += top + bottom;
                result.dims[3] += left + right;
                Ok(result)
            }
            _ => Err(Refusal::new(format!("pads {amounts:?}"))),
        }
    }

    /// The parameter-free shortcut.
    fn subsample_pad(
        &mut self,
        value: &Dynamic,
        [front, back]: [usize; 2],
    ) -> Result<Dynamic, Refusal> {
        let [stride, other] = value.steps;
        let Shape::Image([channels, ..]) = value.shape else {
            return Err(Refusal::new("channels of zeros for a vector"));
        };
        if stride != other {
            return self.stepped(value);
        }
        let op = Op::SubsamplePad {
            stride,
            front,
            back,
        };
        let node = self.add("shortcut", op, &[value.node]);
        let mut dims = value.dims.clone();
        dims[1] = channels + front + back;
        Ok(self.dynamic(node, Shape::Image([dims[1], dims[2], dims[3]]), dims))
    }

    pub(super) fn pointwise(
        &mut self,
        name: &str,
        op: Op,
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let value = self.settled(value)?;
        let node = self.add(name, op, &[value.node]);
        Ok(Dynamic { node, ..value })
    }

    /// ReLU and ReLU6.
    fn clip(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let mut bound = |index: usize, none: f32| match inputs.get(index) {
            Some(Some(bound)) => {
                let bound = self.array(bound.clone())?.floats();
                Ok(bound.first().copied().unwrap_or(none))
            }
            _ => Ok(none),
        };
        let (low, high) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
        let op = match (low, high) {
            (0.0, 6.0) => Op::Relu6,
            (0.0, high) if high >= f32::MAX => Op::Relu,
            _ => {
                let what = format!("bounds {low} and {high}; 0 and 6 (ReLU6) are supported");
                return Err(Refusal::new(what));
            }
        };
        self.pointwise(node.label(), op, value)
    }

    /// ReLU written as the larger of a value and 0, ReLU6 as the smaller of a ReLU and 6.
    fn bound(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let [_, Some(bound @ (Value::Constant(_) | Value::Stored(_)))] = inputs else {
            return Err(Refusal::new("two values that depend on the image"));
        };
        let bound = self.array(bound.clone())?.floats();
        let is_relu = matches!(self.nodes[value.node.0].op, Op::Relu);
        match (node.op_type.as_str(), &bound[..]) {
            ("Max", [0.0]) => self.pointwise(node.label(), Op::Relu, value),
            ("Min", [6.0]) if is_relu => {
                let below = self.nodes[value.node.0].inputs[0];
                let node = self.add(node.label(), Op::Relu6, &[below]);
                Ok(Dynamic {
                    node,
                    ..value.clone()
                })
            }
            _ => Err(Refusal::new(format!(
                "the bound {bound:?}; 0, and 6 behind it, are supported"
            ))),
        }
    }

    fn sum(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Value>],
        left: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let right = match inputs.get(1) {
            Some(Some(Value::Dynamic(right))) if node.op_type == "Add" => right,
            Some(Some(constant)) if node.op_type == "Add" => {
                let name = node.input.first().map_or("", String::as_str);
                return self.add_bias(name, left, constant);
            }
            _ => {
                return Err(Refusal::new(
                    "differences that depend on the image are not supported",
                ));
            }
        };
        let (left, right) = (self.settled(left)?, self.settled(right)?);
        if left.dims != right.dims || left.shape != right.shape {
            let what = format!(
                "a sum of {:?} and {:?}; both have to be the same",
                left.dims, right.dims
            );
            return Err(Refusal::new(what));
        }
        let node = self.add(node.label(), Op::Add, &[left.node, right.node]);
        Ok(Dynamic { node, ..left })
    }

    fn softmax(&mut self, node: &NodeProto, value: &Dynamic) -> Result<Dynamic, Refusal> {
        if !self.is_final(node.output.first()) {
            return Err(Refusal::new(
                "it is only supported at the end, where it is left out",
            ));
        }
        let (name, op) = (node.label(), &node.op_type);
        self.notes.push(format!(
            "{op} `{name}` at the end is left out: the largest logit stays the largest"
        ));
        Ok(value.clone())
    }
}
