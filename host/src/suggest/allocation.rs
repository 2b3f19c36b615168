//! Which width every layer gets when all of them have to fit into a number of bytes: the
//! multiple-choice knapsack problem, by dynamic programming over the bytes.

/// Steps in which bytes are counted: a budget has this many, so that at most this share of it per
/// layer stays unused.
const STEPS: u64 = 1 << 16;

/// One width of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Bytes that the layer takes.
    pub bytes: u64,
    /// What it costs in accuracy, at least 0; costs of layers add up.
    pub cost: f64,
}

/// The choice of every layer with the least cost in all within `budget` bytes, as an index for each;
/// `None` if no choices fit.
#[must_use]
pub fn allocate(layers: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let unit = budget.div_ceil(STEPS).max(1);
    let room = (budget / unit) as usize;
    // Least cost within each number of units, over the layers so far, and the choices for it.
    let mut least = vec![0.0; room + 1];
    let mut taken: Vec<Vec<Option<usize>>> = Vec::with_capacity(layers.len());
    for choices in layers {
        let mut next = vec![f64::INFINITY; room + 1];
        let mut chosen = vec![None; room + 1];
        for (index, choice) in choices.iter().enumerate() {
            let units = usize::try_from(choice.bytes.div_ceil(unit)).unwrap_or(usize::MAX);
            for units_in_all in units..=room {
                let cost = least[units_in_all - units] + choice.cost;
                if cost < next[units_in_all] {
                    next[units_in_all] = cost;
                    chosen[units_in_all] = Some(index);
                }
            }
        }
        least = next;
        taken.push(chosen);
    }
    let mut left = room;
    let mut allocation = Vec::with_capacity(layers.len());
    for (choices, taken) in layers.iter().zip(&taken).rev() {
        let index = taken[left]?;
        left -= choices[index].bytes.div_ceil(unit) as usize;
        allocation.push(index);
    }
    allocation.reverse();
    Some(allocation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals(layers: &[Vec<Choice>], allocation: &[usize]) -> (u64, f64) {
        let chosen = layers.iter().zip(allocation).map(|(l, &index)| l[index]);
        chosen.fold((0, 0.0), |(bytes, cost), choice| {
            (bytes + choice.bytes, cost + choice.cost)
        })
    }

    /// Every way to choose.
    fn all(layers: &[Vec<Choice>]) -> Vec<Vec<usize>> {
        layers.iter().fold(vec![vec![]], |ways, choices| {
            let longer = |way: &Vec<usize>| {
                let way = way.clone();
                (0..choices.len()).map(move |index| [way.clone(), vec![index]].concat())
            };
            ways.iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn what_is_most_sensitive_gets_the_bytes() {
        let choice = |bytes, cost| Choice { bytes, cost };
        let layers = [
            vec![choice(10, 9.0), choice(20, 1.0)],
            vec![choice(10, 2.0), choice(20, 1.0)],
        ];
        assert_eq!(allocate(&layers, 30), Some(vec![1, 0]));
        assert_eq!(allocate(&layers, 40), Some(vec![1, 1]));
        assert_eq!(allocate(&layers, 20), Some(vec![0, 0]));
        assert_eq!(allocate(&layers, 19), None);
        assert_eq!(allocate(&[], 0), Some(vec![]));
    }

    proptest! {
        #[test]
        fn nothing_that_fits_costs_less(
            layers in prop::collection::vec(
                prop::collection::vec((1u64..60, 0u32..100), 1..4), 1..6),
            budget in 0u64..250,
        ) {
            let layers: Vec<Vec<Choice>> = layers.iter().map(|choices| {
                let choice = |&(bytes, cost): &(u64, u32)| Choice { bytes, cost: cost.into() };
                choices.iter().map(choice).collect()
            }).collect();
            // Budgets of up to STEPS bytes are counted exactly.
            let least = all(&layers).iter().map(|way| totals(&layers, way))
                .filter(|(bytes, _)| *bytes <= budget)
                .map(|(_, cost)| cost)
                .min_by(f64::total_cmp);
            let found = allocate(&layers, budget).map(|way| totals(&layers, &way));
            prop_assert_eq!(found.map(|(_, cost)| cost), least);
            prop_assert!(found.is_none_or(|(bytes, _)| bytes <= budget));
        }
    }
}
