//! Pools, and zeros around images.

use super::Refusal;
use super::network::{Dynamic, Network};
use super::schema::NodeProto;
use crate::graph::{Op, Padding, Shape};

impl Network<'_> {
    pub(super) fn global_pool(&mut self, name: &str, value: &Dynamic) -> Result<Dynamic, Refusal> {
        if matches!(value.shape, Shape::Flat(_)) {
            return Ok(value.clone());
        }
        let value = self.settled(value)?;
        let (image, [channels, ..]) = self.image(&value)?;
        let node = self.add(name, Op::GlobalAveragePool, &[image.node]);
        let dims = vec![image.dims[0], channels, 1, 1];
        Ok(self.dynamic(node, Shape::Flat(channels), dims))
    }

    pub(super) fn max_pool(
        &mut self,
        node: &NodeProto,
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let window = Window::new(node)?;
        let around = value.padding;
        let (image, sizes) = self.image(value)?;
        let is_positive = matches!(self.nodes[image.node.0].op, Op::Relu | Op::Relu6);
        if around != Padding::default() && !is_positive {
            return Err(Refusal::new("zeros around an image that may be negative"));
        }
        let mut padding = padding(node, window.size, window.stride, sizes)?;
        padding.top = padding.top.saturating_add(around.top);
        padding.left = padding.left.saturating_add(around.left);
        padding.bottom = padding.bottom.saturating_add(around.bottom);
        padding.right = padding.right.saturating_add(around.right);
        if window.round_up {
            window.extend(&mut padding, sizes);
        }
        let op = Op::MaxPool {
            window: window.size,
            stride: window.stride,
            padding,
        };
        self.pool(node, op, &window, padding, (&image, sizes))
    }

    pub(super) fn average_pool(
        &mut self,
        node: &NodeProto,
        value: &Dynamic,
    ) -> Result<Dynamic, Refusal> {
        let value = self.settled(value)?;
        let window = Window::new(node)?;
        let (image, sizes) = self.image(&value)?;
        let own = padding(node, window.size, window.stride, sizes)?;
        let mut extended = own;
        if window.round_up {
            window.extend(&mut extended, sizes);
        }
        if extended != Padding::default() {
            return Err(Refusal::new(
                "averages of windows that reach over the edge; choose a window and a step that fit",
            ));
        }
        if window.size == sizes[1..] {
            return self.global_pool(node.label(), &image);
        }
        let op = Op::AveragePool {
            window: window.size,
            stride: window.stride,
        };
        self.pool(node, op, &window, own, (&image, sizes))
    }

    fn pool(
        &mut self,
        node: &NodeProto,
        op: Op,
        window: &Window,
        padding: Padding,
        (image, [channels, height, width]): (&Dynamic, [usize; 3]),
    ) -> Result<Dynamic, Refusal> {
        let padded = padded(padding, [height, width]);
        if (0..2).any(|axis| window.size[axis] > padded[axis]) {
            let what = format!(
                "a window {:?} for an image of {height} x {width}",
                window.size
            );
            return Err(Refusal::new(what));
        }
        let size = |axis: usize| (padded[axis] - window.size[axis]) / window.stride[axis] + 1;
        let sizes = [channels, size(0), size(1)];
        let node = self.add(node.label(), op, &[image.node]);
        let dims = [&image.dims[..1], &sizes].concat();
        Ok(self.dynamic(node, Shape::Image(sizes), dims))
    }
}

struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    /// Windows that begin within the image but end outside are taken, too.
    round_up: bool,
}

impl Window {
    fn new(node: &NodeProto) -> Result<Self, Refusal> {
        let (size, stride) = (node.pair("kernel_shape", 0)?, node.pair("strides", 1)?);
        let large = usize::from(u16::MAX);
        let fits = |size: &usize| (1..=large).contains(size);
        if !size.iter().chain(&stride).all(fits) {
            return Err(Refusal::new(format!(
                "a window {size:?} with steps {stride:?}"
            )));
        }
        if node.pair("dilations", 1)? != [1, 1] {
            return Err(Refusal::new("spread windows (dilations) are not supported"));
        }
        Ok(Self {
            size,
            stride,
            round_up: node.int("ceil_mode", 0) != 0,
        })
    }

    /// Adds rows below and columns on the right for the last window, unless it would begin there.
    fn extend(&self, padding: &mut Padding, [_, height, width]: [usize; 3]) {
        let whole = padded(*padding, [height, width]);
        let missing = |axis: usize, own: usize, before: usize| {
            let over = whole[axis].saturating_sub(self.size[axis]) % self.stride[axis];
            let start = whole[axis].saturating_sub(self.size[axis]) - over + self.stride[axis];
            if over == 0 || start >= own.saturating_add(before) {
                0
            } else {
                self.stride[axis] - over
            }
        };
        let (rows, columns) = (
            missing(0, height, padding.top),
            missing(1, width, padding.left),
        );
        padding.bottom = padding.bottom.saturating_add(rows);
        padding.right = padding.right.saturating_add(columns);
    }
}

fn padded(padding: Padding, [height, width]: [usize; 2]) -> [usize; 2] {
    [
        height
            .saturating_add(padding.top)
            .saturating_add(padding.bottom),
        width
            .saturating_add(padding.left)
            .saturating_add(padding.right),
    ]
}

/// The zeros that `node` itself puts around an image.
pub(super) fn padding(
    node: &NodeProto,
    kernel: [usize; 2],
    strides: [usize; 2],
    [_, height, width]: [usize; 3],
) -> Result<Padding, Refusal> {
    match node.text("auto_pad", "NOTSET") {
        "NOTSET" => {}
        "VALID" => return Ok(Padding::default()),
        "SAME_UPPER" => return Ok(Padding::tensorflow_same([height, width], kernel, strides)),
        "SAME_LOWER" => {
            let upper = Padding::tensorflow_same([height, width], kernel, strides);
            return Ok(Padding {
                top: upper.bottom,
                left: upper.right,
                bottom: upper.top,
                right: upper.left,
            });
        }
        other => return Err(Refusal::new(format!("auto_pad `{other}`"))),
    }
    let refused = |pads: &[i64]| Refusal::new(format!("pads {pads:?}"));
    match node.ints("pads") {
        None | Some([]) => Ok(Padding::default()),
        Some(pads @ &[top, left, bottom, right]) => {
            let amount = |amount: i64| {
                let found = usize::try_from(amount).ok();
                let found = found.filter(|&amount| amount <= usize::from(u16::MAX));
                found.ok_or_else(|| refused(pads))
            };
            Ok(Padding {
                top: amount(top)?,
                left: amount(left)?,
                bottom: amount(bottom)?,
                right: amount(right)?,
            })
        }
        Some(pads) => Err(refused(pads)),
    }
}
