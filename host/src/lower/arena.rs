//! Places of tensors in one arena: two tensors may share bytes if they are never needed at once.

use lowbit_runtime::format::TENSOR_ALIGNMENT;

/// Bytes that are needed from one step to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) bytes: usize,
    pub(super) first_step: usize,
    pub(super) last_step: usize,
}

impl Block {
    fn is_needed_with(&self, other: &Self) -> bool {
        self.first_step <= other.last_step && other.first_step <= self.last_step
    }
}

/// Offsets of all blocks and the bytes that they take together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) offsets: Vec<usize>,
    pub(super) bytes: usize,
}

/// Places every block as low as the ones placed before it allow, the largest first.
pub(super) fn plan(blocks: &[Block]) -> Plan {
    let mut order = (0..blocks.len()).collect::<Vec<_>>();
    order.sort_by_key(|&index| (usize::MAX - blocks[index].bytes, index));
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::new();
    for index in order {
        let mut taken = placed
            .iter()
            .filter(|&&other| blocks[other].is_needed_with(&blocks[index]))
            .map(|&other| (offsets[other], end(blocks, &offsets, other)))
            .collect::<Vec<_>>();
        taken.sort_unstable();
        let mut offset = 0;
        for (from, to) in taken {
            if offset + blocks[index].bytes <= from {
                break;
            }
            offset = offset.max(to);
        }
        offsets[index] = offset;
        placed.push(index);
    }
    let bytes = placed
        .iter()
        .map(|&index| end(blocks, &offsets, index))
        .max()
        .unwrap_or(0);
    Plan { offsets, bytes }
}

/// The largest range below `plan.bytes` that nothing uses during `step`, `except` left out.
pub(super) fn largest_gap(
    blocks: &[Block],
    plan: &Plan,
    step: usize,
    except: usize,
) -> std::ops::Range<usize> {
    let during = Block {
        bytes: 0,
        first_step: step,
        last_step: step,
    };
    let mut taken = (0..blocks.len())
        .filter(|&index| index != except && blocks[index].is_needed_with(&during))
        .map(|index| (plan.offsets[index], end(blocks, &plan.offsets, index)))
        .collect::<Vec<_>>();
    taken.push((plan.bytes, plan.bytes));
    taken.sort_unstable();
    let (mut free, mut largest) = (0, 0..0);
    for (from, to) in taken {
        if from > free && from - free > largest.len() {
            largest = free..from;
        }
        free = free.max(to);
    }
    largest
}

fn end(blocks: &[Block], offsets: &[usize], index: usize) -> usize {
    (offsets[index] + blocks[index].bytes).next_multiple_of(TENSOR_ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(bytes: usize, first_step: usize, last_step: usize) -> Block {
        Block {
            bytes,
            first_step,
            last_step,
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let plan = plan(&[
            block(100, 0, 1),
            block(64, 1, 2),
            block(64, 2, 3),
            block(8, 3, 4),
        ]);
        assert_eq!(plan.bytes, 104 + 64);
    }

    #[test]
    fn a_skip_connection_stays_where_it_is() {
        let plan = plan(&[block(32, 0, 2), block(32, 1, 2), block(32, 2, 3)]);
        assert_eq!(plan.bytes, 96);
    }

    #[test]
    fn the_gap_is_what_the_step_leaves_free() {
        let blocks = [block(64, 0, 1), block(32, 1, 2), block(16, 2, 2)];
        let plan = plan(&blocks);
        assert_eq!((plan.bytes, plan.offsets[1]), (96, 64));
        assert_eq!(largest_gap(&blocks, &plan, 2, 2), 0..64);
    }

    proptest! {
        #[test]
        fn nothing_that_is_needed_at_once_overlaps(
            sizes in prop::collection::vec((1usize..300, 0usize..12, 0usize..5), 1..20),
        ) {
            let blocks = sizes.iter().map(|&(bytes, first, length)| block(bytes, first, first + length));
            let blocks = blocks.collect::<Vec<_>>();
            let plan = plan(&blocks);
            for left in 0..blocks.len() {
                prop_assert!(plan.offsets[left].is_multiple_of(TENSOR_ALIGNMENT));
                prop_assert!(plan.offsets[left] + blocks[left].bytes <= plan.bytes);
                for right in 0..left {
                    let apart = plan.offsets[left] + blocks[left].bytes <= plan.offsets[right]
                        || plan.offsets[right] + blocks[right].bytes <= plan.offsets[left];
                    prop_assert!(apart || !blocks[left].is_needed_with(&blocks[right]));
                }
            }
        }
    }
}
