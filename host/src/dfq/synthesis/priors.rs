//! What is known of images without having seen any: neighbours are alike, values are not large.

use candle_core::Tensor;

use crate::dfq::Result;

/// A loss on images `[batch, channels, height, width]` with its gradient of their shape.
pub type Prior = fn(&Tensor) -> Result<(f64, Tensor)>;

/// Squared differences of neighbours in rows and columns, summed, per value of the images.
///
/// # Errors
/// If the images are not of four dimensions or not `f32`.
pub fn total_variation(images: &Tensor) -> Result<(f64, Tensor)> {
    let (_, _, height, width) = images.dims4()?;
    let x = images.flatten_all()?.to_vec1::<f32>()?;
    let mut gradient = vec![0f32; x.len()];
    let mut sum = 0.0;
    let factor = 2.0 / x.len() as f32;
    let mut pair = |near: usize, far: usize| {
        let difference = x[far] - x[near];
        sum += f64::from(difference).powi(2);
        gradient[far] += factor * difference;
        gradient[near] -= factor * difference;
    };
    for plane in (0..x.len()).step_by(height * width) {
        for row in 0..height {
            for column in 0..width {
                let here = plane + row * width + column;
                if column + 1 < width {
                    pair(here, here + 1);
                }
                if row + 1 < height {
                    pair(here, here + width);
                }
            }
        }
    }
    let value = sum / x.len() as f64;
    Ok((
        value,
        Tensor::from_vec(gradient, images.shape(), images.device())?,
    ))
}

/// Mean of the squared values.
///
/// # Errors
/// If the images are not `f32`.
pub fn mean_square(images: &Tensor) -> Result<(f64, Tensor)> {
    let x = images.flatten_all()?.to_vec1::<f32>()?;
    let squares = x.iter().map(|&x| f64::from(x).powi(2));
    let value = squares.sum::<f64>() / x.len() as f64;
    Ok((value, (images * (2.0 / x.len() as f64))?))
}
