//! Names of accounts.

use crate::random::Random;

const FIRST: [&str; 40] = [
    "ada", "aiko", "amir", "ana", "bela", "bo", "carla", "chen", "dana", "emre", "eva", "felix",
    "gita", "hana", "ines", "ivo", "jun", "kai", "kofi", "lara", "leo", "lina", "mika", "mina",
    "nils", "noor", "olga", "omar", "pia", "quinn", "rafa", "rosa", "sami", "sora", "tara", "tom",
    "uma", "vera", "yuki", "zoe",
];
const SECOND: [&str; 24] = [
    "ash", "bay", "birch", "brook", "cloud", "cove", "dale", "dune", "elm", "fern", "field",
    "glen", "hill", "isle", "lake", "leaf", "moss", "oak", "pine", "rain", "reed", "stone", "wind",
    "wood",
];

fn parts(seed: u64) -> (&'static str, &'static str) {
    let mut random = Random::new(seed);
    (random.pick(&FIRST), random.pick(&SECOND))
}

/// The first label of a handle, without the account's number.
pub(crate) fn handle(seed: u64) -> String {
    let (first, second) = parts(seed);
    format!("{first}-{second}")
}

/// A display name.
pub(crate) fn display(seed: u64) -> String {
    const MARKS: [&str; 6] = ["", "", "", " 🌊", " ☕", " (she/her)"];
    let (first, second) = parts(seed);
    let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
    let mark = MARKS[(seed % MARKS.len() as u64) as usize];
    format!("{} {}{mark}", upper(first), upper(second))
}
