//! Operators on constants. Exporters compute sizes by chains of them.

use super::Refusal;
use super::array::{Array, Data, elements, sizes};
use super::schema::NodeProto;
use super::shapes::{
    SliceRange, axis, broadcast, flatten_axis, mismatch, permutation, position, reshaped, shape_of,
    slices, squeezed, unsqueezed,
};

/// The result of `node` on constants, `None` for operators that are not folded. `limit` is the
/// largest number of elements that it may have.
pub(super) fn fold(
    node: &NodeProto,
    inputs: &[Option<Array>],
    limit: usize,
) -> Option<Result<Array, Refusal>> {
    let fold = Fold {
        node,
        inputs,
        limit,
    };
    Some(match node.op_type.as_str() {
        "Shape" => fold.shape(),
        "Size" => fold.input(0).map(|input| scalar(input.data.len() as i64)),
        "Gather" => fold.gather(),
        "Concat" => fold.concat(),
        "Reshape" => fold.reshape(),
        "Flatten" => fold.flatten(),
        "Squeeze" => fold.squeeze(),
        "Unsqueeze" => fold.unsqueeze(),
        "Slice" => fold.slice(),
        "Transpose" => fold.transpose(),
        "ConstantOfShape" => fold.constant_of_shape(),
        "Range" => fold.range(),
        "Expand" => fold.expand(),
        "Where" => fold.choose(),
        "Cast" | "CastLike" => fold.cast(),
        "Neg" => fold
            .input(0)
            .map(|input| map(input, |x| -x, i64::wrapping_neg)),
        "Floor" => fold.input(0).map(|input| map(input, f32::floor, |x| x)),
        "Ceil" => fold.input(0).map(|input| map(input, f32::ceil, |x| x)),
        "Sqrt" => fold.input(0).map(|input| map(input, f32::sqrt, |x| x)),
        "Add" => fold.binary(|a, b| a + b, |a, b| Some(a.wrapping_add(b))),
        "Sub" => fold.binary(|a, b| a - b, |a, b| Some(a.wrapping_sub(b))),
        "Mul" => fold.binary(|a, b| a * b, |a, b| Some(a.wrapping_mul(b))),
        "Div" => fold.binary(|a, b| a / b, i64::checked_div),
        "Mod" => fold.binary(|a, b| a % b, i64::checked_rem),
        "Min" => fold.binary(f32::min, |a, b| Some(a.min(b))),
        "Max" => fold.binary(f32::max, |a, b| Some(a.max(b))),
        "Equal" => fold.compare(|a, b| a == b),
        "Less" => fold.compare(|a, b| a < b),
        "Greater" => fold.compare(|a, b| a > b),
        _ => return None,
    })
}

struct Fold<'a> {
    node: &'a NodeProto,
    inputs: &'a [Option<Array>],
    limit: usize,
}

impl Fold<'_> {
    fn input(&self, index: usize) -> Result<&Array, Refusal> {
        let input = self.inputs.get(index).and_then(Option::as_ref);
        input.ok_or_else(|| Refusal::new(format!("input {index} is missing")))
    }

    fn optional(&self, index: usize) -> Option<&Array> {
        self.inputs.get(index)?.as_ref()
    }

    /// Integers given as input `index` or, before some version, as an attribute.
    fn list(&self, index: usize, attribute: &str) -> Result<Option<Vec<i64>>, Refusal> {
        match self.optional(index) {
            Some(list) => Ok(Some(list.ints()?.to_vec())),
            None => Ok(self.node.ints(attribute).map(<[i64]>::to_vec)),
        }
    }

    /// Checks a shape before anything of its size is made.
    fn within_limit(&self, dims: &[usize]) -> Result<usize, Refusal> {
        let count = elements(dims)?;
        if count <= self.limit {
            return Ok(count);
        }
        Err(Refusal::new(format!(
            "a constant of shape {dims:?}, larger than the file accounts for"
        )))
    }

    fn shape(&self) -> Result<Array, Refusal> {
        let dims = &self.input(0)?.dims;
        Ok(shape_of(self.node, dims))
    }

    fn gather(&self) -> Result<Array, Refusal> {
        let (input, indices) = (self.input(0)?, self.input(1)?);
        let axis = axis(self.node.int("axis", 0), input.dims.len())?;
        let length = input.dims[axis];
        let chosen = indices
            .ints()?
            .iter()
            .map(|&index| position(index, length))
            .collect::<Result<Vec<_>, _>>()?;
        let (before, after) = (&input.dims[..axis], &input.dims[axis + 1..]);
        let dims = [before, &indices.dims, after].concat();
        self.within_limit(&dims)?;
        let inner: usize = after.iter().product();
        let outer: usize = before.iter().product();
        let (chosen, all) = (&chosen, 0..outer);
        let indices = all.flat_map(|outer| {
            chosen.iter().flat_map(move |&index| {
                let start = (outer * length + index) * inner;
                start..start + inner
            })
        });
        Ok(Array {
            data: input.data.pick(indices),
            dims,
        })
    }

    fn concat(&self) -> Result<Array, Refusal> {
        let first = self.input(0)?;
        let axis = axis(self.node.int("axis", 0), first.dims.len())?;
        let mut parts = Vec::new();
        let mut dims = first.dims.clone();
        dims[axis] = 0;
        for index in 0..self.inputs.len() {
            let part = self.input(index)?;
            let same = |other: usize| other == axis || part.dims.get(other) == dims.get(other);
            if part.dims.len() != dims.len() || !(0..dims.len()).all(same) {
                return Err(mismatch(&dims, &part.dims));
            }
            dims[axis] = dims[axis].saturating_add(part.dims[axis]);
            parts.push(part);
        }
        self.within_limit(&dims)?;
        let outer: usize = dims[..axis].iter().product();
        let chunk = |part: &Array| part.dims[axis..].iter().product::<usize>();
        let floats = parts.iter().any(|part| matches!(part.data, Data::Float(_)));
        let data = if floats {
            let all: Vec<_> = parts
                .iter()
                .map(|part| (chunk(part), (*part).clone().floats()))
                .collect();
            Data::Float(interleave(outer, &all))
        } else {
            let all = parts
                .iter()
                .map(|part| Ok((chunk(part), part.ints()?.to_vec())));
            Data::Int(interleave(
                outer,
                &all.collect::<Result<Vec<_>, Refusal>>()?,
            ))
        };
        Ok(Array { dims, data })
    }

    fn reshape(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let wanted = self.list(1, "shape")?.unwrap_or_default();
        let dims = reshaped(&input.dims, &wanted, self.node.int("allowzero", 0) != 0)?;
        Ok(with_dims(input, dims))
    }

    fn flatten(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let axis = flatten_axis(self.node, input.dims.len())?;
        let dims = [&input.dims[..axis], &input.dims[axis..]].map(|part| part.iter().product());
        Ok(with_dims(input, dims.to_vec()))
    }

    fn squeeze(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let dims = squeezed(&input.dims, self.list(1, "axes")?.as_deref())?;
        Ok(with_dims(input, dims))
    }

    fn unsqueeze(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let dims = unsqueezed(&input.dims, &self.list(1, "axes")?.unwrap_or_default())?;
        Ok(with_dims(input, dims))
    }

    fn slice(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let ranges = slices(self.node, self.inputs, &input.dims)?;
        let dims: Vec<usize> = ranges.iter().map(SliceRange::len).collect();
        let strides = strides(&input.dims);
        let pick = |position: &[usize]| {
            let offsets = position.iter().zip(&ranges).zip(&strides);
            offsets
                .map(|((&index, range), stride)| range.at(index) * stride)
                .sum()
        };
        Ok(rearranged(input, dims, pick))
    }

    fn transpose(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let order = permutation(self.node, input.dims.len())?;
        let dims = order.iter().map(|&axis| input.dims[axis]).collect();
        let strides = strides(&input.dims);
        let pick = |position: &[usize]| {
            let axes = position.iter().zip(&order);
            axes.map(|(index, &axis)| index * strides[axis]).sum()
        };
        Ok(rearranged(input, dims, pick))
    }

    fn constant_of_shape(&self) -> Result<Array, Refusal> {
        let dims = sizes(self.input(0)?.ints()?)?;
        let count = self.within_limit(&dims)?;
        let value = self.node.tensor("value");
        let value = value
            .map(|tensor| Array::decode(tensor.clone(), None))
            .transpose()?;
        let data = match value.map(|value| value.data) {
            None => Data::Float(vec![0.0; count]),
            Some(Data::Float(value)) => {
                Data::Float(vec![value.first().copied().unwrap_or(0.0); count])
            }
            Some(Data::Int(value)) => Data::Int(vec![value.first().copied().unwrap_or(0); count]),
        };
        Ok(Array { dims, data })
    }

    fn range(&self) -> Result<Array, Refusal> {
        let number = |index: usize| {
            let first = self.input(index)?.ints()?.first().copied();
            first.ok_or_else(|| Refusal::new(format!("input {index} is empty")))
        };
        let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
        let span = i128::from(limit) - i128::from(start);
        let count = match step {
            0 => return Err(Refusal::new("a step of 0")),
            _ => (span / i128::from(step) + i128::from(span % i128::from(step) != 0)).max(0),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.within_limit(&[count])?;
        let value = |index: i64| start.wrapping_add(step.wrapping_mul(index));
        Ok(Array::integers((0..count as i64).map(value).collect()))
    }

    fn expand(&self) -> Result<Array, Refusal> {
        let input = self.input(0)?;
        let wanted = sizes(self.input(1)?.ints()?)?;
        let dims = broadcast(&input.dims, &wanted)?;
        self.within_limit(&dims)?;
        Ok(broadcasted(input, &dims))
    }

    fn choose(&self) -> Result<Array, Refusal> {
        let (condition, yes, no) = (self.input(0)?, self.input(1)?, self.input(2)?);
        let dims = broadcast(&condition.dims, &broadcast(&yes.dims, &no.dims)?)?;
        self.within_limit(&dims)?;
        let condition = broadcasted(condition, &dims);
        let (yes, no) = (broadcasted(yes, &dims), broadcasted(no, &dims));
        let chosen = condition.ints()?.iter();
        let data = match (yes.data, no.data) {
            (Data::Int(yes), Data::Int(no)) => Data::Int(
                chosen
                    .enumerate()
                    .map(|(index, &chosen)| if chosen != 0 { yes[index] } else { no[index] })
                    .collect(),
            ),
            (Data::Float(yes), Data::Float(no)) => Data::Float(
                chosen
                    .enumerate()
                    .map(|(index, &chosen)| if chosen != 0 { yes[index] } else { no[index] })
                    .collect(),
            ),
            _ => return Err(Refusal::new("a choice between floats and integers")),
        };
        Ok(Array { dims, data })
    }

    fn cast(&self) -> Result<Array, Refusal> {
        const FLOATS: [i64; 4] = [1, 10, 11, 16];
        let input = self.input(0)?;
        let to_float = match self.optional(1) {
            Some(like) => matches!(like.data, Data::Float(_)),
            None => FLOATS.contains(&self.node.int("to", 1)),
        };
        let data = match &input.data {
            Data::Int(values) if to_float => {
                Data::Float(values.iter().map(|&value| value as f32).collect())
            }
            Data::Float(values) if !to_float => {
                Data::Int(values.iter().map(|&value| value as i64).collect())
            }
            same => same.clone(),
        };
        Ok(Array {
            dims: input.dims.clone(),
            data,
        })
    }

    /// Both inputs at the shape that they have together.
    fn pair(&self) -> Result<[Array; 2], Refusal> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        let dims = broadcast(&a.dims, &b.dims)?;
        self.within_limit(&dims)?;
        Ok([broadcasted(a, &dims), broadcasted(b, &dims)])
    }

    fn binary(
        &self,
        floats: impl Fn(f32, f32) -> f32,
        ints: impl Fn(i64, i64) -> Option<i64>,
    ) -> Result<Array, Refusal> {
        let [a, b] = self.pair()?;
        let dims = a.dims.clone();
        let data = match (&a.data, &b.data) {
            (Data::Int(a), Data::Int(b)) => {
                let results = a.iter().zip(b).map(|(&a, &b)| ints(a, b));
                let results: Option<Vec<i64>> = results.collect();
                Data::Int(results.ok_or_else(|| Refusal::new("a division by 0"))?)
            }
            _ => {
                let (a, b) = (a.floats(), b.floats());
                Data::Float(a.iter().zip(&b).map(|(&a, &b)| floats(a, b)).collect())
            }
        };
        Ok(Array { dims, data })
    }

    fn compare(&self, holds: impl Fn(f64, f64) -> bool) -> Result<Array, Refusal> {
        let [a, b] = self.pair()?;
        let dims = a.dims.clone();
        let numbers = |array: Array| -> Vec<f64> {
            match array.data {
                Data::Float(values) => values.into_iter().map(f64::from).collect(),
                Data::Int(values) => values.into_iter().map(|value| value as f64).collect(),
            }
        };
        let (a, b) = (numbers(a), numbers(b));
        let results = a.iter().zip(&b).map(|(&a, &b)| holds(a, b).into());
        Ok(Array {
            dims,
            data: Data::Int(results.collect()),
        })
    }
}

fn scalar(value: i64) -> Array {
    Array {
        dims: vec![],
        data: Data::Int(vec![value]),
    }
}

fn with_dims(array: &Array, dims: Vec<usize>) -> Array {
    Array {
        dims,
        data: array.data.clone(),
    }
}

fn map(array: &Array, floats: impl Fn(f32) -> f32, ints: impl Fn(i64) -> i64) -> Array {
    let data = match &array.data {
        Data::Float(values) => Data::Float(values.iter().map(|&value| floats(value)).collect()),
        Data::Int(values) => Data::Int(values.iter().map(|&value| ints(value)).collect()),
    };
    Array {
        dims: array.dims.clone(),
        data,
    }
}

/// For each of `outer` rows a chunk of every part.
fn interleave<T: Copy>(outer: usize, parts: &[(usize, Vec<T>)]) -> Vec<T> {
    let row = |row: usize| {
        let chunks = parts.iter();
        chunks.flat_map(move |(chunk, values)| &values[row * chunk..(row + 1) * chunk])
    };
    (0..outer).flat_map(row).copied().collect()
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The array of shape `dims` whose element at a position is the one of `array` at `pick`.
fn rearranged(array: &Array, dims: Vec<usize>, pick: impl Fn(&[usize]) -> usize) -> Array {
    let count: usize = dims.iter().product();
    let mut position = vec![0; dims.len()];
    let indices = (0..count).map(|_| {
        let index = pick(&position);
        for axis in (0..dims.len()).rev() {
            position[axis] += 1;
            if position[axis] < dims[axis] {
                break;
            }
            position[axis] = 0;
        }
        index
    });
    Array {
        data: array.data.pick(indices),
        dims: dims.clone(),
    }
}

/// `array` repeated to the shape `dims`, which [`broadcast`] gave.
fn broadcasted(array: &Array, dims: &[usize]) -> Array {
    let missing = dims.len() - array.dims.len();
    let strides = strides(&array.dims);
    let pick = |position: &[usize]| {
        let own = position[missing..].iter().zip(&array.dims).zip(&strides);
        own.map(|((&index, &size), stride)| if size == 1 { 0 } else { index * stride })
            .sum()
    };
    rearranged(array, dims.to_vec(), pick)
}
