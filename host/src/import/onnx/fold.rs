//! Operators on constants. Exporters compute sizes by chains of them.

use super::Refusal;
use super::array::{Array, Data, elements, sizes};
use super::schema::NodeProto;

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

/// Part of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SliceRange {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
}

impl SliceRange {
    pub(super) fn len(&self) -> usize {
        let span = self.end - self.start;
        let count = span / self.step + i64::from(span % self.step != 0);
        count.max(0) as usize
    }

    fn at(&self, index: usize) -> usize {
        (self.start + index as i64 * self.step).max(0) as usize
    }
}

/// What a Slice takes of each axis of a value of shape `dims`.
pub(super) fn slices(
    node: &NodeProto,
    inputs: &[Option<Array>],
    dims: &[usize],
) -> Result<Vec<SliceRange>, Refusal> {
    let list = |index: usize, attribute: &str| match inputs.get(index).and_then(Option::as_ref) {
        Some(list) => Ok(Some(list.ints()?.to_vec())),
        None => Ok(node.ints(attribute).map(<[i64]>::to_vec)),
    };
    let missing = || Refusal::new("starts or ends that are no constants");
    let starts = list(1, "starts")?.ok_or_else(missing)?;
    let ends = list(2, "ends")?.ok_or_else(missing)?;
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Refusal::new(
            "starts, ends, axes and steps of different lengths",
        ));
    }
    let whole = |&size: &usize| SliceRange {
        start: 0,
        end: size as i64,
        step: 1,
    };
    let mut ranges: Vec<SliceRange> = dims.iter().map(whole).collect();
    for (index, &step) in steps.iter().enumerate() {
        let axis = axis(axes[index], dims.len())?;
        if step == 0 || step == i64::MIN {
            return Err(Refusal::new(format!("a step of {step}")));
        }
        let size = dims[axis] as i64;
        let clamp = |end: i64, least: i64, most: i64| {
            let end = if end < 0 {
                end.saturating_add(size)
            } else {
                end
            };
            end.clamp(least, most.max(least))
        };
        ranges[axis] = if step > 0 {
            SliceRange {
                start: clamp(starts[index], 0, size),
                end: clamp(ends[index], 0, size),
                step,
            }
        } else {
            SliceRange {
                start: clamp(starts[index], 0, size - 1),
                end: clamp(ends[index], -1, size - 1),
                step,
            }
        };
        if size == 0 {
            ranges[axis].end = ranges[axis].start;
        }
    }
    Ok(ranges)
}

/// The sizes `dims` as a constant, or the part of them that the node asks for.
pub(super) fn shape_of(node: &NodeProto, dims: &[usize]) -> Array {
    let rank = dims.len() as i64;
    let clamp = |axis: i64| {
        let axis = if axis < 0 {
            axis.saturating_add(rank)
        } else {
            axis
        };
        axis.clamp(0, rank) as usize
    };
    let (start, end) = (clamp(node.int("start", 0)), clamp(node.int("end", rank)));
    let part = dims.get(start..end.max(start)).unwrap_or_default();
    Array::integers(part.iter().map(|&size| size as i64).collect())
}

/// The shape that Reshape gives to a value of shape `dims`.
pub(super) fn reshaped(
    dims: &[usize],
    wanted: &[i64],
    zero_is_a_size: bool,
) -> Result<Vec<usize>, Refusal> {
    let refused = || mismatch(&dims, &wanted);
    let count = elements(dims)?;
    let mut unknown = None;
    let mut result = Vec::with_capacity(wanted.len());
    for (axis, &size) in wanted.iter().enumerate() {
        result.push(match size {
            -1 if unknown.is_none() => {
                unknown = Some(axis);
                1
            }
            0 if !zero_is_a_size => *dims.get(axis).ok_or_else(refused)?,
            size => usize::try_from(size).map_err(|_| refused())?,
        });
    }
    let known = elements(&result)?;
    if let Some(axis) = unknown {
        if known == 0 || count % known != 0 {
            return Err(refused());
        }
        result[axis] = count / known;
    }
    if elements(&result)? == count {
        Ok(result)
    } else {
        Err(refused())
    }
}

/// The first axis of the second part.
pub(super) fn flatten_axis(node: &NodeProto, rank: usize) -> Result<usize, Refusal> {
    let axis = node.int("axis", 1);
    let axis = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
    let found = usize::try_from(axis).ok().filter(|&axis| axis <= rank);
    found.ok_or_else(|| Refusal::new(format!("axis {axis} of {rank}")))
}

/// Shape without the axes of size 1 that are listed, or without all of them.
pub(super) fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, Refusal> {
    let Some(axes) = axes else {
        return Ok(dims.iter().copied().filter(|&size| size != 1).collect());
    };
    let axes = axes.iter().map(|&found| axis(found, dims.len()));
    let axes = axes.collect::<Result<Vec<_>, _>>()?;
    if axes.iter().any(|&axis| dims[axis] != 1) {
        return Err(Refusal::new(format!(
            "axes {axes:?} of {dims:?} are not of size 1"
        )));
    }
    let kept = (0..dims.len()).filter(|axis| !axes.contains(axis));
    Ok(kept.map(|axis| dims[axis]).collect())
}

/// Shape with axes of size 1 at the places listed.
pub(super) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>, Refusal> {
    let rank = dims.len() + axes.len();
    let mut places = axes
        .iter()
        .map(|&found| axis(found, rank))
        .collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    let mut result = dims.to_vec();
    for place in places {
        if place > result.len() {
            return Err(Refusal::new(format!("axes {axes:?} of {dims:?}")));
        }
        result.insert(place, 1);
    }
    Ok(result)
}

/// The order that Transpose puts axes into.
pub(super) fn permutation(node: &NodeProto, rank: usize) -> Result<Vec<usize>, Refusal> {
    let Some(order) = node.ints("perm") else {
        return Ok((0..rank).rev().collect());
    };
    let order = sizes(order)?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) {
        Ok(order)
    } else {
        Err(Refusal::new(format!("the order {order:?} of {rank} axes")))
    }
}

/// An axis counted from the front, or from behind where it is negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    position(axis, rank).map_err(|_| Refusal::new(format!("axis {axis} of {rank}")))
}

fn position(index: i64, length: usize) -> Result<usize, Refusal> {
    let length = length as i64;
    let found = if index < 0 {
        index.saturating_add(length)
    } else {
        index
    };
    if (0..length).contains(&found) {
        return Ok(found as usize);
    }
    Err(Refusal::new(format!("index {index} of {length}")))
}

fn mismatch(left: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug) -> Refusal {
    Refusal::new(format!("the shapes {left:?} and {right:?} do not fit"))
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

fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], axis: usize| {
        let missing = rank - dims.len();
        axis.checked_sub(missing).map_or(1, |axis| dims[axis])
    };
    let sizes = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (1, size) | (size, 1) => Ok(size),
        (left, right) if left == right => Ok(left),
        _ => Err(mismatch(&a, &b)),
    });
    sizes.collect()
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
