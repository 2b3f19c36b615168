//! Slices of tensors and tensors of vectors.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, Storage, Tensor};

use super::{Error, Result};

/// The elements of a contiguous `f32` tensor on the CPU, without a copy.
pub(crate) struct Values<Guard> {
    storage: Guard,
    start: usize,
    end: usize,
}

/// Borrows the elements of `tensor`.
pub(crate) fn values(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage> + use<'_>>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = layout.contiguous_offsets();
    match (&*storage, range) {
        (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Ok(Values {
            storage,
            start,
            end,
        }),
        _ => Err(Error::shape(
            "float operator",
            "a contiguous f32 tensor on the CPU",
            tensor.dims(),
        )),
    }
}

impl<Guard: Deref<Target = Storage>> Deref for Values<Guard> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // `values` lets nothing else through.
            _ => &[],
        }
    }
}

/// A tensor that takes over `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
