//! Lists without repeats.

/// Lists up to here are compared item by item, which needs no memory; longer ones are sorted.
const SHORT: usize = 16;

/// Removes what occurred before, keeping the order. n log n at worst: a record may hold 100,000
/// tags.
pub(super) fn distinct<T: Ord>(items: &mut Vec<T>) {
    if items.len() <= SHORT {
        let mut kept = 0;
        for next in 0..items.len() {
            if !items[..kept].contains(&items[next]) {
                items.swap(kept, next);
                kept += 1;
            }
        }
        items.truncate(kept);
        return;
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|&a, &b| items[a].cmp(&items[b]).then(a.cmp(&b)));
    let mut repeated = vec![false; items.len()];
    for pair in order.windows(2) {
        repeated[pair[1]] = items[pair[0]] == items[pair[1]];
    }
    let mut repeated = repeated.into_iter();
    items.retain(|_| repeated.next() == Some(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_stays_in_its_place_in_short_and_in_long_lists() {
        for length in [0, 1, 15, 16, 17, 1_000] {
            let items: Vec<u32> = (0..length).map(|i| i * 7_919 % 13).collect();
            let mut expected: Vec<u32> = Vec::new();
            for &item in &items {
                if !expected.contains(&item) {
                    expected.push(item);
                }
            }
            let mut kept = items;
            distinct(&mut kept);
            assert_eq!(kept, expected, "{length} items");
        }
    }
}
