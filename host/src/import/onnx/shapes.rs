//! What operators do to shapes, of constants and of values that depend on the image alike.

use super::Refusal;
use super::array::{Array, elements, sizes};
use super::schema::NodeProto;

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

    pub(super) fn at(&self, index: usize) -> usize {
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

/// An index counted from the front, or from behind where it is negative.
pub(super) fn position(index: i64, length: usize) -> Result<usize, Refusal> {
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

/// The shape of two arrays that are repeated to fit each other.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
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

pub(super) fn mismatch(left: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug) -> Refusal {
    Refusal::new(format!("the shapes {left:?} and {right:?} do not fit"))
}
