//! Addition, pools and logits.

use lowbit_runtime::format::{Kind, Storage};

use super::super::reference::{Plain, requantize, window};
use super::{Element, Network};

/// Largest size of a logit before its bias, which has at most 61 bits, is added.
const LARGEST_LOGIT: i64 = i64::MAX - (1 << 61);

impl Network {
    pub(crate) fn add(
        &mut self,
        left: usize,
        right: usize,
        output: Element,
        in_place: bool,
    ) -> usize {
        let (low, high) = output.range();
        let [m_left, m_right] = [0, 1].map(|_| self.random.between(-(1 << 30), 1 << 30));
        let affine = self.affines(&self.tensors[left].plain.clone(), low, high, 1);
        let (bias, shift) = (affine.biases[0], affine.shifts[0]);
        let (l, r) = (&self.tensors[left], &self.tensors[right]);
        let mut plain = l.plain.clone();
        for (value, right) in plain.values.iter_mut().zip(&r.plain.values) {
            let sum =
                i128::from(*value) * i128::from(m_left) + i128::from(*right) * i128::from(m_right);
            *value = requantize(sum, bias, shift, low, high);
        }
        let kind = Kind::Add {
            left: l.spec,
            right: r.spec,
            left_multiplier: m_left as i32,
            right_multiplier: m_right as i32,
            bias,
            shift,
            low: low as i32,
            high: high as i32,
        };
        let spec = if in_place {
            r.spec
        } else {
            self.place(&plain, output)
        };
        self.push(kind, spec, plain)
    }

    fn pool_plain(
        &self,
        input: usize,
        [size, stride, padding]: [[u8; 2]; 3],
        reduce: impl Fn(&[i64]) -> i64,
    ) -> Plain {
        let source = &self.tensors[input].plain;
        let length = |axis: usize, length: usize| {
            let room = length + 2 * usize::from(padding[axis]) - usize::from(size[axis]);
            room / usize::from(stride[axis]) + 1
        };
        let shape = [
            length(0, source.height),
            length(1, source.width),
            source.channels,
        ];
        let [size, stride, padding] = [size, stride, padding].map(|pair| pair.map(usize::from));
        Plain::from_fn(shape, |y, x, channel| {
            reduce(&window(source, [y, x, channel], size, stride, padding))
        })
    }

    pub(crate) fn max_pool(&mut self, input: usize, windows: [[u8; 2]; 3]) -> usize {
        let plain = self.pool_plain(input, windows, |values| *values.iter().max().unwrap());
        let source = self.tensors[input].spec;
        let spec = self.place_like(&plain, source.storage, source.zero_point);
        let [window, stride, padding] = windows;
        let kind = Kind::MaxPool {
            input: source,
            window,
            stride,
            padding,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn sum_pool(&mut self, input: usize, window: [u8; 2], stride: [u8; 2]) -> usize {
        let plain = self.pool_plain(input, [window, stride, [0; 2]], |values| {
            values.iter().sum()
        });
        let spec = self.place_like(&plain, Storage::Value32, 0);
        let kind = Kind::SumPool {
            input: self.tensors[input].spec,
            window,
            stride,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn average_pool(
        &mut self,
        input: usize,
        window: [u8; 2],
        stride: [u8; 2],
        output: Element,
    ) -> usize {
        let sums = self.pool_plain(input, [window, stride, [0; 2]], |values| {
            values.iter().sum()
        });
        let (low, high) = output.range();
        let affine = self.affines(&sums, low, high, 1);
        let (multiplier, bias, shift) = (affine.multipliers[0], affine.biases[0], affine.shifts[0]);
        let mut plain = sums;
        for value in &mut plain.values {
            let sum = i128::from(*value) * i128::from(multiplier);
            *value = requantize(sum, bias, shift, low, high);
        }
        let spec = self.place(&plain, output);
        let kind = Kind::AveragePool {
            input: self.tensors[input].spec,
            window,
            stride,
            multiplier: multiplier as i32,
            bias,
            shift,
            low: low as i32,
            high: high as i32,
        };
        self.push(kind, spec, plain)
    }

    pub(crate) fn logits(&mut self, classes: u16, weight_bits: u8) -> usize {
        let input = self.last();
        let features = self.tensors[input].plain.values.clone();
        let count = usize::from(classes);
        // Their bounds leave no room for extremes.
        self.extreme = false;
        let (weights, values) = self.weights(weight_bits, count, features.len());
        let sums = Plain::from_fn([1, 1, count], |_, _, class| {
            let pairs = values[class].iter().zip(&features);
            pairs.map(|(weight, feature)| weight * feature).sum()
        });
        let (low, high) = (i32::MIN.into(), i32::MAX.into());
        let mut affine = self.affines(&sums, -(1 << 20), 1 << 20, count);
        // Files must leave room in 64 bits for the largest sums, not only for those of this image.
        let weight = (1 << weight_bits) + 7;
        let most = LARGEST_LOGIT / (features.len() as i64 * self.largest(input) * weight);
        for multiplier in &mut affine.multipliers {
            *multiplier = (*multiplier).clamp(-most, most);
        }
        let plain = Plain::from_fn([1, 1, count], |_, _, class| {
            let sum = i128::from(affine.multipliers[class]) * i128::from(sums.values[class]);
            requantize(sum, affine.biases[class], affine.shifts[class], low, high)
        });
        let kind = Kind::Logits {
            input: self.tensors[input].spec,
            weights,
            multipliers: self.file.push_i32(&affine.multipliers),
            biases: self.file.push_i64(&affine.biases),
            shifts: self.file.push(&affine.shifts),
        };
        let spec = self.place_like(&plain, Storage::Value32, 0);
        self.header.classes = classes;
        self.push(kind, spec, plain)
    }

    /// The size that no element of what operation `index` writes exceeds, whatever the image.
    fn largest(&self, index: usize) -> i64 {
        let operation = &self.operations[index];
        let (spec, summed) = match operation.kind {
            Kind::SumPool { input, window, .. } => (input, window.map(i64::from).iter().product()),
            _ => (operation.output, 1),
        };
        let (low, high) = match spec.storage {
            Storage::Code8 { bits } => Element::Code {
                bits,
                zero_point: spec.zero_point,
            }
            .range(),
            _ => Element::Value16.range(),
        };
        summed * low.abs().max(high.abs())
    }
}
