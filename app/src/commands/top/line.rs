//! A line on the screen.

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text, without control characters.
    pub text: String,
    /// How it looks.
    pub style: Style,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As usual.
    Plain,
    /// Important.
    Bold,
    /// The head of a table.
    Head,
}

impl Style {
    /// The sequence that begins it: select graphic rendition of
    /// [ECMA-48](https://ecma-international.org/publications-and-standards/standards/ecma-48/).
    pub fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "\u{1b}[0m",
            Self::Bold => "\u{1b}[0;1m",
            Self::Head => "\u{1b}[0;7m",
        }
    }
}
