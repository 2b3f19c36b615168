//! What a network says about an input.

/// The class of the largest logit, and how clear that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Class of the largest logit, the lowest such class on ties.
    pub class: u16,
    /// Distance to the second largest logit, in 2^-16; 0 with a single class.
    pub margin: u32,
}

impl Answer {
    /// The answer that `logits` mean, class 0 first.
    #[must_use]
    pub fn of(logits: impl IntoIterator<Item = i32>) -> Self {
        let (mut class, mut largest, mut second) = (0, i32::MIN, None);
        for (index, logit) in (0u16..).zip(logits) {
            if index == 0 {
                largest = logit;
            } else if logit > largest {
                second = Some(largest);
                (class, largest) = (index, logit);
            } else {
                second = Some(second.map_or(logit, |second: i32| second.max(logit)));
            }
        }
        Self {
            class,
            margin: second.map_or(0, |second| largest.abs_diff(second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_those_of_the_two_largest() {
        for (logits, class, margin) in [
            (vec![], 0, 0),
            (vec![-5], 0, 0),
            (vec![3, 3, 1], 0, 0),
            (vec![1, 9, 4], 1, 5),
            (vec![7, 9, 8, -2], 1, 1),
            (vec![i32::MIN, i32::MAX], 1, u32::MAX),
        ] {
            let answer = Answer::of(logits.clone());
            assert_eq!((answer.class, answer.margin), (class, margin), "{logits:?}");
        }
    }
}
