//! Languages of posts, as they are counted.
//!
//! ```text
//! tag as written ─ well-formed (BCP 47)? ─ no ─▶ und
//!                        └ yes ─ a known tag? ───────────── yes ─▶ that tag, in its usual case
//!                                └ no ─ known primary subtag? ─ yes ─▶ the primary subtag
//!                                                               └ no ──▶ other
//! ```
//!
//! Anybody can invent languages, and there are rows and lists for each. So the names are a fixed set ([`known`]), whatever
//! the stream contains: a function of the tag alone, the same in every process and after every restart.

mod known;

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::limits::{LANG_BYTES_MAX, LANGS_MAX};

/// A language, as it is counted. The number is of this version only and must not be stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lang(NonZeroU16);

/// The names of all languages by number: the two that stand for what has no name, then the known tags in the order of their
/// lower case.
static TAGS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let known = known::LANGUAGES.split_ascii_whitespace();
    let mut tags: Vec<_> = known
        .chain(known::LOCALES.split_ascii_whitespace())
        .collect();
    tags.sort_unstable_by(|a, b| compare_lower_case(a, b));
    [UNDETERMINED, OTHER].into_iter().chain(tags).collect()
});

/// ISO 639-2: undetermined.
const UNDETERMINED: &str = "und";
const OTHER: &str = "other";

impl Lang {
    /// Posts that name no language, and tags that are not well-formed: `und`.
    pub const UNDETERMINED: Self = Self(NonZeroU16::MIN);
    /// All languages without a name of their own: `other`.
    pub const OTHER: Self = Self(NonZeroU16::MIN.saturating_add(1));

    /// The language that a tag counts as.
    pub fn of(tag: &str) -> Self {
        if !is_well_formed(tag) {
            return Self::UNDETERMINED;
        }
        let primary = || Self::named(primary_subtag(tag));
        Self::named(tag).or_else(primary).unwrap_or(Self::OTHER)
    }

    /// The language with this name, in any case; `None`: there is none.
    pub fn named(tag: &str) -> Option<Self> {
        if tag.eq_ignore_ascii_case(UNDETERMINED) {
            return Some(Self::UNDETERMINED);
        }
        if tag.eq_ignore_ascii_case(OTHER) {
            return Some(Self::OTHER);
        }
        let named = &TAGS[2..];
        let index = named
            .binary_search_by(|known| compare_lower_case(known, tag))
            .ok()?;
        let number = NonZeroU16::new(u16::try_from(index + 3).ok()?)?;
        Some(Self(number))
    }

    /// Its name.
    pub fn tag(self) -> &'static str {
        TAGS[usize::from(self.0.get()) - 1]
    }

    /// The language without script, region and variant.
    pub fn primary(self) -> Self {
        let tag = self.tag();
        let primary = primary_subtag(tag);
        if primary.len() == tag.len() {
            return self;
        }
        Self::named(primary).unwrap_or(Self::OTHER)
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl fmt::Debug for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

impl PartialEq<&str> for Lang {
    fn eq(&self, other: &&str) -> bool {
        self.tag() == *other
    }
}

/// The distinct languages of a post, in their order: at most [`LANGS_MAX`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Langs([Option<Lang>; LANGS_MAX]);

impl Langs {
    /// Adds one; false if it is another one than those that fill the list.
    pub fn insert(&mut self, lang: Lang) -> bool {
        for slot in &mut self.0 {
            if *slot.get_or_insert(lang) == lang {
                return true;
            }
        }
        false
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Lang> {
        self.0.iter().copied().flatten()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// These, or `und` if there are none.
    #[must_use]
    pub fn or_undetermined(mut self) -> Self {
        if self.is_empty() {
            self.insert(Lang::UNDETERMINED);
        }
        self
    }

    /// Their primary languages.
    #[must_use]
    pub fn primary(&self) -> Self {
        self.iter().map(Lang::primary).collect()
    }
}

/// The first distinct ones.
impl FromIterator<Lang> for Langs {
    fn from_iter<I: IntoIterator<Item = Lang>>(langs: I) -> Self {
        let mut all = Self::default();
        for lang in langs {
            all.insert(lang);
        }
        all
    }
}

impl fmt::Debug for Langs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The first distinct ones of these tags.
impl<const N: usize> From<[&str; N]> for Langs {
    fn from(tags: [&str; N]) -> Self {
        tags.into_iter().map(Lang::of).collect()
    }
}

impl<const N: usize> PartialEq<[&str; N]> for Langs {
    fn eq(&self, other: &[&str; N]) -> bool {
        self.iter().map(Lang::tag).eq(other.iter().copied())
    }
}

fn primary_subtag(tag: &str) -> &str {
    tag.split('-').next().unwrap_or_default()
}

/// By the bytes of the lower case.
fn compare_lower_case(a: &str, b: &str) -> Ordering {
    fn lower(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().map(|byte| byte.to_ascii_lowercase())
    }
    lower(a).cmp(lower(b))
}

/// Registered long ago, and not of the usual form (`irregular` in RFC 5646).
const IRREGULAR: [&str; 17] = [
    "en-GB-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-BE-FR",
    "sgn-BE-NL",
    "sgn-CH-DE",
];

/// Whether a tag has the form that BCP 47 gives it (`Language-Tag` in <https://www.rfc-editor.org/rfc/rfc5646#section-2.1>)
/// and at most [`LANG_BYTES_MAX`] bytes. Whether its subtags are registered is another question.
pub fn is_well_formed(tag: &str) -> bool {
    if tag.len() > LANG_BYTES_MAX {
        return false;
    }
    let mut subtags = Subtags {
        rest: tag.split('-').peekable(),
    };
    let is_regular = match primary_subtag(tag).eq_ignore_ascii_case("x") {
        true => subtags.private_use(),
        false => subtags.langtag(),
    };
    (is_regular && subtags.rest.next().is_none())
        || IRREGULAR
            .iter()
            .any(|known| known.eq_ignore_ascii_case(tag))
}

/// The subtags of a tag that were not read yet.
struct Subtags<'a> {
    rest: std::iter::Peekable<std::str::Split<'a, char>>,
}

impl Subtags<'_> {
    /// `langtag`
    fn langtag(&mut self) -> bool {
        let extended = match self.take_if(|tag| is_alpha(tag, 2..=8)) {
            None => return false,
            Some(language) => language.len() <= 3,
        };
        if extended {
            for _ in 0..3 {
                self.take_if(|tag| is_alpha(tag, 3..=3));
            }
        }
        self.take_if(|tag| is_alpha(tag, 4..=4));
        self.take_if(|tag| is_alpha(tag, 2..=2) || (tag.len() == 3 && is_digits(tag)));
        let variant = |tag: &str| {
            is_alphanumeric(tag, 5..=8)
                || (is_alphanumeric(tag, 4..=4) && tag.starts_with(|c: char| c.is_ascii_digit()))
        };
        while self.take_if(variant).is_some() {}
        let singleton = |tag: &str| is_alphanumeric(tag, 1..=1) && !tag.eq_ignore_ascii_case("x");
        while self.take_if(singleton).is_some() {
            if !self.one_or_more(2..=8) {
                return false;
            }
        }
        self.rest.peek().is_none() || self.private_use()
    }

    /// `privateuse`
    fn private_use(&mut self) -> bool {
        self.take_if(|tag| tag.eq_ignore_ascii_case("x")).is_some() && self.one_or_more(1..=8)
    }

    /// One or more of letters and digits.
    fn one_or_more(&mut self, lengths: std::ops::RangeInclusive<usize>) -> bool {
        let mut found = false;
        while self
            .take_if(|tag| is_alphanumeric(tag, lengths.clone()))
            .is_some()
        {
            found = true;
        }
        found
    }

    fn take_if(&mut self, is: impl FnOnce(&str) -> bool) -> Option<&str> {
        self.rest.next_if(|tag| is(tag))
    }
}

fn is_alpha(tag: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_alphanumeric(tag: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_digits(tag: &str) -> bool {
    tag.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_well_formed_as_rfc_5646_says() {
        // Its examples (appendix A), and others.
        let good = "de fr ja i-enochian zh-Hant zh-Hans sr-Cyrl sr-Latn zh-cmn-Hans-CN cmn-Hans-CN zh-yue-HK yue-HK \
            zh-Hans-CN sr-Latn-RS sl-rozaj sl-rozaj-biske sl-nedis de-CH-1901 sl-IT-nedis hy-Latn-IT-arevela de-DE en-US \
            es-419 de-CH-x-phonebk az-Arab-x-AZE-derbend x-whatever qaa-Qaaa-QM-x-southern de-Qaaa sr-Latn-QM sr-Qaaa-RS \
            en-US-u-islamcal zh-CN-a-myext-x-private en-a-myext-b-another de-419-DEs und EN en-gb-OED sgn-be-fr \
            abcd abcdefgh art-lojban ca-valencia de-1901";
        let bad = "- en- -en en--US e abcdefghi en_US zh_Hant x0 x en-x a-DE ar-a de-419-DE en-u en-u-x-y en-US-GB \
            en-verylongsubtag en-é ё 12 1a en-1 en-abcd-efgh x-123456789 en-u-1";
        for tag in good.split_whitespace().filter(|tag| *tag != "de-419-DEs") {
            assert!(is_well_formed(tag), "{tag}");
        }
        for tag in bad.split_whitespace().chain(["", " en", "en "]) {
            assert!(!is_well_formed(tag), "{tag}");
        }
        let long = |first: &str| format!("x-{first}{}", "-ab".repeat(41));
        assert_eq!(long("abc").len(), LANG_BYTES_MAX);
        assert!(is_well_formed(&long("abc")) && !is_well_formed(&long("abcd")));
    }

    #[test]
    fn a_tag_counts_as_a_known_one_or_as_its_language_or_as_other() {
        for (tag, counted, primary) in [
            ("en", "en", "en"),
            ("EN", "en", "en"),
            ("pt-br", "pt-BR", "pt"),
            ("ZH-HANT-tw", "zh-Hant-TW", "zh"),
            ("en-XX", "en", "en"),
            ("en-x-klingon", "en", "en"),
            ("es-419", "es-419", "es"),
            ("und", "und", "und"),
            ("und-Latn", "und", "und"),
            ("mul", "mul", "mul"),
            ("tlh", "tlh", "tlh"),
            ("qqq", "other", "other"),
            ("abcdefgh", "other", "other"),
            ("x-en", "other", "other"),
            ("i-klingon", "other", "other"),
            ("other", "other", "other"),
            ("pt_BR", "und", "und"),
            ("", "und", "und"),
            ("👽", "und", "und"),
        ] {
            let lang = Lang::of(tag);
            assert_eq!(
                (lang.tag(), lang.primary().tag()),
                (counted, primary),
                "{tag}"
            );
        }
    }

    #[test]
    fn every_known_tag_is_found_once_and_counts_as_itself() {
        for pair in TAGS[2..].windows(2) {
            assert_eq!(
                compare_lower_case(pair[0], pair[1]),
                Ordering::Less,
                "{pair:?}"
            );
        }
        for &tag in TAGS.iter() {
            let lang = Lang::of(tag);
            assert!(is_well_formed(tag) && lang.tag() == tag, "{tag}");
            assert!(
                lang == Lang::OTHER || lang.primary() != Lang::OTHER,
                "{tag}"
            );
            assert_eq!(Lang::of(&tag.to_uppercase()), lang);
        }
        assert!(TAGS.len() < 1_300, "the names are few");
        assert_eq!(size_of::<Langs>(), 6, "there is one for each live post");
    }

    #[test]
    fn a_list_takes_the_first_distinct_ones() {
        let mut langs = Langs::default();
        assert!(langs.is_empty());
        let inserted = ["en", "en-US", "EN", "ja", "ko", "en-us", "qqq"]
            .map(|tag| langs.insert(Lang::of(tag)));
        assert_eq!(inserted, [true, true, true, true, false, true, false]);
        assert_eq!(langs, ["en", "en-US", "ja"]);
        assert_eq!(langs.primary(), ["en", "ja"]);
        assert_eq!(Langs::default().or_undetermined(), ["und"]);
    }
}
