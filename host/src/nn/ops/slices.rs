//! Loops over slices, compiled for the vector instructions of this machine. Sums are kept in a
//! fixed number of lanes, so that they do not depend on the length of the machine's vectors.

/// Numbers that one vector register holds on the widest machine.
const LANES: usize = 16;

/// Defines functions whose body is compiled for the vector instructions of this machine. A closure
/// would only be if the compiler chose to inline it.
macro_rules! vector_functions {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $name<'a>($($argument: $type),*) -> $result {
                struct Call<'a> {
                    $($argument: $type,)*
                    lifetime: std::marker::PhantomData<&'a ()>,
                }
                impl<'a> pulp::WithSimd for Call<'a> {
                    type Output = $result;

                    #[inline(always)]
                    fn with_simd<S: pulp::Simd>(self, _simd: S) -> $result {
                        let Self { $($argument,)* .. } = self;
                        $body
                    }
                }
                let lifetime = std::marker::PhantomData::<&'a ()>;
                $crate::nn::ops::instructions::arch().dispatch(Call { $($argument,)* lifetime })
            }
        )*
    };
}

vector_functions! {
    /// Sum of all values.
    fn sum(values: &'a [f32]) -> f32 {
        let mut lanes = [0f32; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        lanes.iter().chain(rest).sum()
    }

    /// Sum of the squares of `value - center`.
    fn squared_distance(values: &'a [f32], center: f32) -> f32 {
        let mut lanes = [0f32; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let distance = chunk[lane] - center;
                lanes[lane] += distance * distance;
            }
        }
        let rest = rest.iter().map(|value| (value - center) * (value - center));
        lanes.iter().sum::<f32>() + rest.sum::<f32>()
    }

    /// Sum of `factors`, and of `factor * (value - center)`.
    fn sum_and_products(factors: &'a [f32], values: &'a [f32], center: f32) -> (f32, f32) {
        let (mut plain, mut products) = ([0f32; LANES], [0f32; LANES]);
        let (chunks, rest) = factors.as_chunks::<LANES>();
        let (value_chunks, value_rest) = values.as_chunks::<LANES>();
        for (factors, values) in chunks.iter().zip(value_chunks) {
            for lane in 0..LANES {
                plain[lane] += factors[lane];
                products[lane] += factors[lane] * (values[lane] - center);
            }
        }
        let products_rest = rest.iter().zip(value_rest);
        let products_rest = products_rest.map(|(factor, value)| factor * (value - center));
        (
            plain.iter().chain(rest).sum(),
            products.iter().sum::<f32>() + products_rest.sum::<f32>(),
        )
    }

    /// `output = (value - center) * scale + shift`.
    fn normalize(output: &'a mut [f32], values: &'a [f32], center: f32, scale: f32, shift: f32) -> () {
        for (output, value) in output.iter_mut().zip(values) {
            *output = (value - center) * scale + shift;
        }
    }

    /// `output = a * left + b * right + c`.
    fn combine(
        output: &'a mut [f32],
        left: &'a [f32],
        right: &'a [f32],
        factors: (f32, f32, f32)
    ) -> () {
        let (a, b, c) = factors;
        for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
            *output = a * left + b * right + c;
        }
    }
}
