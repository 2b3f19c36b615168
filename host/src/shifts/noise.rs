//! Random disturbances.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal};

use super::Image;

pub(super) fn gaussian(image: &mut Image, deviation: f32, rng: &mut ChaCha8Rng) {
    for x in &mut image.values {
        let normal: f32 = rng.sample(StandardNormal);
        *x += deviation * normal;
    }
}

/// Counts of photons, of which `full` are expected at 1.
pub(super) fn shot(image: &mut Image, full: f32, rng: &mut ChaCha8Rng) {
    for x in &mut image.values {
        // There is no distribution without photons: none come.
        *x = Poisson::new(*x * full).map_or(0.0, |photons| photons.sample(rng) / full);
    }
}

/// A `share` of all values becomes 0 or 1.
pub(super) fn impulse(image: &mut Image, share: f32, rng: &mut ChaCha8Rng) {
    for x in &mut image.values {
        let (hit, salt) = (rng.random::<f32>() < share, rng.random::<bool>());
        if hit {
            *x = f32::from(u8::from(salt));
        }
    }
}
