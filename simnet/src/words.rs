//! Words of eight languages for posts, names, hashtags and domains. The texts have no meaning.

mod languages;
pub(crate) mod names;

use crate::random::{Random, mix};

pub(crate) use languages::{LANGUAGES, Language};

/// The number of a language.
pub(crate) type LanguageId = u8;

/// How often each language occurs among the accounts, by its number.
pub(crate) const LANGUAGE_WEIGHTS: [u32; 8] = [690, 125, 34, 34, 34, 31, 27, 25];

pub(crate) fn language(lang: LanguageId) -> &'static Language {
    &LANGUAGES[usize::from(lang) % LANGUAGES.len()]
}

impl Language {
    /// Appends a word.
    pub(crate) fn word(&self, random: &mut Random, text: &mut String) {
        let index = random.zipf(self.words.len() as u64);
        text.push_str(self.words[index as usize]);
    }
}

/// The hashtag with this number: the one of a story, or for high numbers one that belongs to none.
pub(crate) fn hashtag(seed: u64, number: u32, lang: LanguageId) -> String {
    let language = language(lang);
    let mut random = Random::new(mix(&[seed, 11, u64::from(number), u64::from(lang)]));
    let mut tag = String::new();
    for _ in 0..2 {
        let index = random.below(language.words.len() as u64) as usize;
        let word = language.words[index];
        let mut letters = word.chars();
        tag.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        tag.extend(letters);
    }
    if random.percent(30) {
        tag.push_str(&format!("{}", 1 + random.below(99)));
    }
    tag
}

/// The domain with this number. Domains with low numbers are linked most.
pub(crate) fn domain(seed: u64, number: u32) -> String {
    const ENDINGS: [&str; 4] = ["example.com", "example.org", "example.net", "news.example"];
    let mut random = Random::new(mix(&[seed, 12, u64::from(number)]));
    let words = &language(0).words;
    let mut word = || words[random.below(words.len() as u64) as usize];
    let (first, second) = (word(), word());
    let www = if number.is_multiple_of(5) { "www." } else { "" };
    format!(
        "{www}{first}-{second}.{}",
        ENDINGS[number as usize % ENDINGS.len()]
    )
}
