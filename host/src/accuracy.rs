//! How often a network is right.

/// Place of `label` among the classes in the order of their logits: 0 if it has the largest. Among
/// equal logits the lower class comes first, as on a board. A logit that is not a number is smaller
/// than all others, and a class without a logit comes last.
#[must_use]
pub fn rank<T: PartialOrd>(logits: &[T], label: u16) -> u16 {
    let label = usize::from(label);
    let Some(own) = logits.get(label) else {
        return logits.len() as u16;
    };
    let is_behind = |class: usize, logit: &T| {
        *logit < *own || (*logit == *own && class > label) || logit.partial_cmp(logit).is_none()
    };
    let others = logits
        .iter()
        .enumerate()
        .filter(|(class, _)| *class != label);
    others
        .filter(|(class, logit)| !is_behind(*class, logit))
        .count() as u16
}

/// Class with the largest logit, the lowest such class on ties.
#[must_use]
pub fn top_class(logits: &[i32]) -> u16 {
    let best = logits
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, logit)| **logit);
    best.map_or(0, |(class, _)| class as u16)
}

/// Percent of images whose label has the largest logit, 0 without images; `ranks` as of [`rank`].
#[must_use]
pub fn top1(ranks: &[u16]) -> f64 {
    percent_below(1, ranks)
}

/// Percent of images whose label is among those with the five largest logits; `None` with five or
/// fewer `classes`, as it says nothing then.
#[must_use]
pub fn top5(ranks: &[u16], classes: usize) -> Option<f64> {
    (classes > 5).then(|| percent_below(5, ranks))
}

fn percent_below(limit: u16, ranks: &[u16]) -> f64 {
    let below = ranks.iter().filter(|&&rank| rank < limit).count();
    100.0 * below as f64 / ranks.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_is_never_right() {
        assert_eq!(rank(&[f32::NAN, 1.0, 0.5], 0), 2);
        assert_eq!(rank(&[f32::NAN, 1.0, 0.5], 1), 0);
        assert_eq!(rank(&[1, 2], 7), 2);
    }

    #[test]
    fn five_of_five_say_nothing() {
        assert_eq!(top5(&[0, 4, 5], 6), Some(200.0 / 3.0));
        assert_eq!(top5(&[0, 4], 5), None);
        assert_eq!((top1(&[0, 1, 0, 7]), top1(&[])), (50.0, 0.0));
    }

    proptest! {
        #[test]
        fn ranks_are_the_order_of_the_logits(logits in prop::collection::vec(-3..3i32, 1..12)) {
            let mut classes: Vec<usize> = (0..logits.len()).collect();
            classes.sort_by_key(|&class: &usize| (-logits[class], class));
            prop_assert_eq!(usize::from(top_class(&logits)), classes[0]);
            for (place, class) in classes.into_iter().enumerate() {
                prop_assert_eq!(usize::from(rank(&logits, class as u16)), place);
            }
        }
    }
}
