//! Which known name someone meant.

/// Names longer than this are not compared: no known one is near them.
const NAME_BYTES_MAX: usize = 64;

/// The nearest known name, if it is near enough to be a slip: other case, other separators, or at most
/// two letters off.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = plain(name);
    known
        .iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance * 3 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `amount_in_minor_units` and `AmountInMinorUnits` are the same slip.
fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein: insertions, deletions and replacements.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["amountInMinorUnits", "currency"];
        assert_eq!(nearest("amount_in_minor_units", &known), Some("amountInMinorUnits"));
        assert_eq!(nearest("AmountInMinorUnit", &known), Some("amountInMinorUnits"));
        assert_eq!(nearest("curency", &known), Some("currency"));
        assert_eq!(nearest("foo", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }
}
