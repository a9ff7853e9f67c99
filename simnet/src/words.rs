//! Plausible words: enough of eight languages to fill posts, names, hashtags and domains. No word means anything.

pub(crate) mod names;
mod tongues;

use crate::random::{Random, mix};

pub(crate) use tongues::{TONGUES, Tongue};

/// The number of a tongue.
pub(crate) type Lang = u8;

/// How often an account has each tongue, by its number.
pub(crate) const LANG_WEIGHTS: [u32; 8] = [690, 125, 34, 34, 34, 31, 27, 25];

pub(crate) fn tongue(lang: Lang) -> &'static Tongue {
    &TONGUES[usize::from(lang) % TONGUES.len()]
}

impl Tongue {
    /// Appends a word.
    pub(crate) fn word(&self, random: &mut Random, text: &mut String) {
        let place = random.zipf(self.words.len() as u64);
        text.push_str(self.words[place as usize]);
    }
}

/// The hashtag of a story, or (with high numbers) one that is always about.
pub(crate) fn hashtag(seed: u64, number: u32, lang: Lang) -> String {
    let tongue = tongue(lang);
    let mut random = Random::new(mix(&[seed, 11, u64::from(number), u64::from(lang)]));
    let mut tag = String::new();
    for _ in 0..2 {
        let place = random.below(tongue.words.len() as u64) as usize;
        let word = tongue.words[place];
        let mut letters = word.chars();
        tag.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        tag.extend(letters);
    }
    if random.percent(30) {
        tag.push_str(&format!("{}", 1 + random.below(99)));
    }
    tag
}

/// The domain of a number: low numbers are those that many link to.
pub(crate) fn domain(seed: u64, number: u32) -> String {
    const ENDINGS: [&str; 4] = ["example.com", "example.org", "example.net", "news.example"];
    let mut random = Random::new(mix(&[seed, 12, u64::from(number)]));
    let words = &tongue(0).words;
    let mut word = || words[random.below(words.len() as u64) as usize];
    let (first, second) = (word(), word());
    let www = if number.is_multiple_of(5) { "www." } else { "" };
    format!(
        "{www}{first}-{second}.{}",
        ENDINGS[number as usize % ENDINGS.len()]
    )
}
