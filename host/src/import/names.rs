//! Did you mean?

/// How many names are offered.
const OFFERED: usize = 3;

/// The `names` that are most like `wanted`, most alike first; none that differ in more than half of
/// the characters.
pub(super) fn nearest(wanted: &str, names: &[&str]) -> Vec<String> {
    let mut ranked: Vec<_> = names
        .iter()
        .map(|name| (distance(wanted, name), *name))
        .filter(|(distance, name)| *distance <= wanted.len().max(name.len()) / 2)
        .collect();
    ranked.sort();
    ranked.truncate(OFFERED);
    ranked
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Least number of bytes to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }

    #[test]
    fn only_similar_names_are_offered() {
        let names = [
            "fc.weight",
            "linear.bias",
            "linear.weights",
            "conv1.weight",
            "x",
        ];
        assert_eq!(nearest("linear.weight", &names)[0], "linear.weights");
        assert!(nearest("linear.weight", &["x"]).is_empty());
    }
}
