//! Languages of posts, as the views count them.
//!
//! ```text
//! tag as written ─ well-formed (BCP 47)? ─ no ─▶ und
//!                        └ yes ─ a known tag? ───────────── yes ─▶ that tag, in its canonical case
//!                                └ no ─ known primary subtag? ─ yes ─▶ the primary subtag
//!                                                               └ no ──▶ other
//! ```
//!
//! Anyone can invent language tags, and each counted language has rows and lists of its own.
//! Therefore the set of names is fixed ([`known`]). The result depends on the tag alone, so it is
//! the same in every process and after every restart.

mod known;

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::limits::{LANG_BYTES_MAX, LANGS_MAX};

/// A language, as the views count it. The number may differ between versions of the program and
/// must not be stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lang(NonZeroU16);

/// The names of all languages, indexed by number minus 1: `und`, `other`, then the known tags,
/// sorted by their lower case.
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
    /// `und`: posts without a language, and tags that are not well-formed.
    pub const UNDETERMINED: Self = Self(NonZeroU16::MIN);
    /// `other`: all well-formed tags whose language is not in the list of known languages.
    pub const OTHER: Self = Self(NonZeroU16::MIN.saturating_add(1));

    /// The language under which `tag` is counted.
    pub fn of(tag: &str) -> Self {
        if !is_well_formed(tag) {
            return Self::UNDETERMINED;
        }
        let primary = || Self::named(primary_subtag(tag));
        Self::named(tag).or_else(primary).unwrap_or(Self::OTHER)
    }

    /// The language with this name, compared without case; `None` if there is none.
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
        // Numbers start at 1, and the first two are `und` and `other`.
        let number = NonZeroU16::new(u16::try_from(index + 3).ok()?)?;
        Some(Self(number))
    }

    /// The name of the language.
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

/// The distinct languages of a post, at most [`LANGS_MAX`], in the order in which they were added.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Langs([Option<Lang>; LANGS_MAX]);

impl Langs {
    /// Adds a language unless the list contains it. Returns false if the list is full and does not
    /// contain it.
    pub fn insert(&mut self, lang: Lang) -> bool {
        for slot in &mut self.0 {
            if *slot.get_or_insert(lang) == lang {
                return true;
            }
        }
        false
    }

    /// Iterates over the languages.
    pub fn iter(&self) -> impl Iterator<Item = Lang> {
        self.0.iter().copied().flatten()
    }

    /// The number of languages.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// The list itself, or `und` if the list is empty.
    #[must_use]
    pub fn or_undetermined(mut self) -> Self {
        if self.is_empty() {
            self.insert(Lang::UNDETERMINED);
        }
        self
    }

    /// The primary languages of the list.
    #[must_use]
    pub fn primary(&self) -> Self {
        self.iter().map(Lang::primary).collect()
    }
}

/// Collects the first distinct languages.
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

/// Collects the first distinct languages of these tags.
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

/// Compares the lower case of two ASCII texts, byte by byte.
fn compare_lower_case(a: &str, b: &str) -> Ordering {
    fn lower(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().map(|byte| byte.to_ascii_lowercase())
    }
    lower(a).cmp(lower(b))
}

/// Tags that were registered before the current syntax and do not match it (`irregular` in RFC
/// 5646).
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

/// Whether a tag has the syntax of BCP 47 (`Language-Tag` in
/// <https://www.rfc-editor.org/rfc/rfc5646#section-2.1>) and at most [`LANG_BYTES_MAX`] bytes.
/// Whether its subtags are registered is not checked.
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

/// The subtags of a tag that have not been parsed yet.
struct Subtags<'a> {
    rest: std::iter::Peekable<std::str::Split<'a, char>>,
}

impl Subtags<'_> {
    /// Parses the production `langtag`. Returns whether it matches.
    fn langtag(&mut self) -> bool {
        let allows_extlang = match self.take_if(|tag| is_alpha(tag, 2..=8)) {
            None => return false,
            Some(language) => language.len() <= 3,
        };
        if allows_extlang {
            for _ in 0..3 {
                self.take_if(|tag| is_alpha(tag, 3..=3));
            }
        }
        // The script, for example `Latn`.
        self.take_if(|tag| is_alpha(tag, 4..=4));
        // The region, for example `US` or `419`.
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

    /// Parses the production `privateuse`. Returns whether it matches.
    fn private_use(&mut self) -> bool {
        self.take_if(|tag| tag.eq_ignore_ascii_case("x")).is_some() && self.one_or_more(1..=8)
    }

    /// Parses one or more alphanumeric subtags. Returns whether there was at least one.
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
    fn well_formed_tags_are_those_of_rfc_5646() {
        // The examples of RFC 5646 (appendix A) and others.
        let well_formed = "de fr ja i-enochian zh-Hant zh-Hans sr-Cyrl sr-Latn zh-cmn-Hans-CN \
            cmn-Hans-CN zh-yue-HK yue-HK zh-Hans-CN sr-Latn-RS sl-rozaj sl-rozaj-biske sl-nedis de-CH-1901 \
            sl-IT-nedis hy-Latn-IT-arevela de-DE en-US es-419 de-CH-x-phonebk \
            az-Arab-x-AZE-derbend x-whatever qaa-Qaaa-QM-x-southern de-Qaaa sr-Latn-QM \
            sr-Qaaa-RS en-US-u-islamcal zh-CN-a-myext-x-private en-a-myext-b-another und EN \
            en-gb-OED sgn-be-fr abcd abcdefgh art-lojban ca-valencia de-1901";
        let malformed = "- en- -en en--US e abcdefghi en_US zh_Hant x0 x en-x a-DE ar-a de-419-DE \
            de-419-DEs en-u en-u-x-y en-US-GB en-verylongsubtag en-é ё 12 1a en-1 en-abcd-efgh \
            x-123456789 en-u-1";
        for tag in well_formed.split_whitespace() {
            assert!(is_well_formed(tag), "{tag}");
        }
        for tag in malformed.split_whitespace().chain(["", " en", "en "]) {
            assert!(!is_well_formed(tag), "{tag}");
        }
        let long = |first: &str| format!("x-{first}{}", "-ab".repeat(41));
        assert_eq!(long("abc").len(), LANG_BYTES_MAX);
        assert!(is_well_formed(&long("abc")) && !is_well_formed(&long("abcd")));
    }

    #[test]
    fn a_tag_is_counted_as_itself_or_as_its_language_or_as_other() {
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
    fn every_known_tag_is_unique_and_counted_as_itself() {
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
    fn a_list_contains_the_first_distinct_languages() {
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
