//! Sorting in place, without a panic path that would have to be proved away: the standard library's sorts have one.

/// Sorts by an order that says of two items whether the first belongs before the second. Heap sort: equal items may
/// change places.
pub fn sort<T: Copy>(items: &mut [T], is_before: impl Fn(&T, &T) -> bool) {
    let length = items.len();
    for root in (0..length / 2).rev() {
        sift(items, root, length, &is_before);
    }
    for end in (1..length).rev() {
        swap(items, 0, end);
        sift(items, 0, end, &is_before);
    }
}

fn sift<T: Copy>(items: &mut [T], mut root: usize, end: usize, is_before: &impl Fn(&T, &T) -> bool) {
    loop {
        let mut child = root.wrapping_mul(2).wrapping_add(1);
        if child >= end {
            return;
        }
        let right = child.wrapping_add(1);
        if right < end && precedes(items, child, right, is_before) {
            child = right;
        }
        if !precedes(items, root, child, is_before) {
            return;
        }
        swap(items, root, child);
        root = child;
    }
}

fn precedes<T>(items: &[T], one: usize, other: usize, is_before: &impl Fn(&T, &T) -> bool) -> bool {
    items.get(one).zip(items.get(other)).is_some_and(|(one, other)| is_before(one, other))
}

fn swap<T: Copy>(items: &mut [T], one: usize, other: usize) {
    if let (Some(&a), Some(&b)) = (items.get(one), items.get(other)) {
        if let Some(slot) = items.get_mut(one) {
            *slot = b;
        }
        if let Some(slot) = items.get_mut(other) {
            *slot = a;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn everything_is_in_order_afterwards() {
        // A linear congruential generator: the same numbers in every run.
        let mut seed = 1_u64;
        for length in 0..300_u64 {
            let mut numbers: Vec<u64> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed >> 56
                })
                .collect();
            let mut expected = numbers.clone();
            expected.sort_unstable();
            sort(&mut numbers, |one, other| one < other);
            assert_eq!(numbers, expected);
        }
    }
}
