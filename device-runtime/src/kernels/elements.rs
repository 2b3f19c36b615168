//! Tensors as kernels see them.

use crate::format::{Storage, TensorSpec};

/// Elements of a tensor, channels last. Reading outside gives 0, writing there does nothing; a
/// checked model does neither.
#[derive(Debug, Clone, Copy)]
pub enum Elements<'a> {
    /// Unsigned codes.
    Code8 {
        /// One byte per element.
        codes: &'a [u8],
        /// Added to a code to give the value.
        zero_point: i32,
    },
    /// Values of 16 bits.
    Value16(&'a [i16]),
    /// Values of 32 bits.
    Value32(&'a [i32]),
}

/// Like [`Elements`], to be written.
#[derive(Debug)]
pub enum ElementsMut<'a> {
    /// Unsigned codes.
    Code8 {
        /// One byte per element.
        codes: &'a mut [u8],
        /// Subtracted from a value to give the code.
        zero_point: i32,
    },
    /// Values of 16 bits.
    Value16(&'a mut [i16]),
    /// Values of 32 bits.
    Value32(&'a mut [i32]),
}

impl<'a> Elements<'a> {
    /// Interprets `bytes`, aligned for the element type, as `spec` says.
    #[must_use]
    pub fn new(spec: &TensorSpec, bytes: &'a [u8]) -> Self {
        match spec.storage {
            Storage::Code8 { .. } => Self::Code8 {
                codes: bytes,
                zero_point: spec.zero_point,
            },
            Storage::Value16 => Self::Value16(bytemuck::try_cast_slice(bytes).unwrap_or_default()),
            Storage::Value32 => Self::Value32(bytemuck::try_cast_slice(bytes).unwrap_or_default()),
        }
    }

    /// The integer value of element `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> i32 {
        match self {
            Self::Code8 { codes, zero_point } => codes
                .get(index)
                .map_or(0, |&code| zero_point.wrapping_add(code.into())),
            Self::Value16(values) => values.get(index).copied().map_or(0, i32::from),
            Self::Value32(values) => values.get(index).copied().unwrap_or_default(),
        }
    }

    /// The values of the elements from `from` on, as many as `into` holds. Elements of 32 bits are
    /// cut to 16.
    pub(super) fn copy_values(&self, from: usize, into: &mut [i16]) {
        match self {
            Self::Code8 { codes, zero_point } => {
                let zero_point = *zero_point as i16;
                let codes = codes.get(from..).unwrap_or_default();
                for (to, &code) in into.iter_mut().zip(codes) {
                    *to = zero_point.wrapping_add(code.into());
                }
            }
            Self::Value16(values) => {
                let values = values.get(from..).unwrap_or_default();
                for (to, &value) in into.iter_mut().zip(values) {
                    *to = value;
                }
            }
            Self::Value32(values) => {
                let values = values.get(from..).unwrap_or_default();
                for (to, &value) in into.iter_mut().zip(values) {
                    *to = value as i16;
                }
            }
        }
    }
}

impl<'a> ElementsMut<'a> {
    /// Interprets `bytes`, aligned for the element type, as `spec` says.
    #[must_use]
    pub fn new(spec: &TensorSpec, bytes: &'a mut [u8]) -> Self {
        match spec.storage {
            Storage::Code8 { .. } => Self::Code8 {
                codes: bytes,
                zero_point: spec.zero_point,
            },
            Storage::Value16 => {
                Self::Value16(bytemuck::try_cast_slice_mut(bytes).unwrap_or_default())
            }
            Storage::Value32 => {
                Self::Value32(bytemuck::try_cast_slice_mut(bytes).unwrap_or_default())
            }
        }
    }

    /// The same elements, to be read.
    #[must_use]
    pub fn as_elements(&self) -> Elements<'_> {
        match self {
            Self::Code8 { codes, zero_point } => Elements::Code8 {
                codes,
                zero_point: *zero_point,
            },
            Self::Value16(values) => Elements::Value16(values),
            Self::Value32(values) => Elements::Value32(values),
        }
    }

    /// Writes the integer value of element `index`, which must fit the element type.
    pub fn set(&mut self, index: usize, value: i32) {
        match self {
            Self::Code8 { codes, zero_point } => {
                if let Some(code) = codes.get_mut(index) {
                    *code = value.wrapping_sub(*zero_point) as u8;
                }
            }
            Self::Value16(values) => {
                if let Some(place) = values.get_mut(index) {
                    *place = value as i16;
                }
            }
            Self::Value32(values) => {
                if let Some(place) = values.get_mut(index) {
                    *place = value;
                }
            }
        }
    }
}

/// Height, width and channels with the elements.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Row major, channels last.
    pub elements: Elements<'a>,
}

impl<'a> Image<'a> {
    /// Interprets `bytes`, aligned for the element type, as `spec` says.
    #[must_use]
    pub fn new(spec: &TensorSpec, bytes: &'a [u8]) -> Self {
        Self {
            height: spec.height.into(),
            width: spec.width.into(),
            channels: spec.channels.into(),
            elements: Elements::new(spec, bytes),
        }
    }

    /// Index of the first channel of a pixel.
    #[must_use]
    pub fn pixel(&self, y: usize, x: usize) -> usize {
        y.wrapping_mul(self.width)
            .wrapping_add(x)
            .wrapping_mul(self.channels)
    }
}

/// Like [`Image`], to be written.
#[derive(Debug)]
pub struct ImageMut<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Row major, channels last.
    pub elements: ElementsMut<'a>,
}

impl<'a> ImageMut<'a> {
    /// Interprets `bytes`, aligned for the element type, as `spec` says.
    #[must_use]
    pub fn new(spec: &TensorSpec, bytes: &'a mut [u8]) -> Self {
        Self {
            height: spec.height.into(),
            width: spec.width.into(),
            channels: spec.channels.into(),
            elements: ElementsMut::new(spec, bytes),
        }
    }
}
