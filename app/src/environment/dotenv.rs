//! Parser of the file `.env`, which contains names and values.
//!
//! ```text
//! # a comment                       NAME=value            ends at a space; `# comment` may follow
//! export NAME=value                 NAME='as written'     no escapes, may span lines
//! NAME=                             NAME="two words\n"    escapes: \\ \' \" \$ \n backslash-space
//! ```
//!
//! The grammar is that of dotenv, except that `$` has no special meaning. A password may contain
//! `$`, and substitution would silently replace an unknown name by an empty string. An error
//! contains the line number and no value.

use std::iter::Peekable;
use std::str::CharIndices;

/// Maximum size of the file, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;

/// A name and its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line of the name, from 1.
    pub line: usize,
    /// The name.
    pub name: String,
    /// The value, without quotes and escapes.
    pub value: String,
    /// Whether the value contains a `$` that is neither escaped nor in single quotes. Other parsers
    /// of such files substitute a variable there.
    pub has_unescaped_dollar: bool,
}

/// Why a file cannot be parsed. Contains no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Parses the content of a file.
///
/// # Errors
///
/// The first line that does not match the grammar.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ParseError> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(ParseError {
            line: 1,
            why: "the file is UTF-16; save it as UTF-8",
        });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        ParseError {
            line: newlines + 1,
            why: "a byte is not UTF-8",
        }
    })?;
    let mut reader = Reader {
        text,
        rest: text.char_indices().peekable(),
        line: 1,
    };
    let mut entries = Vec::new();
    while reader.rest.peek().is_some() {
        entries.extend(reader.entry()?);
    }
    Ok(entries)
}

/// A position in the text.
struct Reader<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Reads one line, or several if a quoted value spans them. Returns `None` for an empty line or
    /// a comment.
    fn entry(&mut self) -> Result<Option<Entry>, ParseError> {
        self.skip_spaces();
        if matches!(self.peek(), None | Some('\n' | '#')) {
            self.skip_line();
            return Ok(None);
        }
        let line = self.line;
        let mut name = self.name()?;
        self.skip_spaces();
        if name == "export" && self.peek() != Some('=') {
            name = self.name()?;
            self.skip_spaces();
        }
        if self.next() != Some('=') {
            let why = "a name must be followed by `=`";
            return Err(ParseError { line, why });
        }
        self.skip_spaces();
        let mut entry = Entry {
            line,
            name: name.to_owned(),
            value: String::new(),
            has_unescaped_dollar: false,
        };
        self.value(&mut entry)?;
        Ok(Some(entry))
    }

    fn name(&mut self) -> Result<&'a str, ParseError> {
        let start = self.position();
        let is_first = |it: char| it.is_ascii_alphabetic() || it == '_';
        if !self.peek().is_some_and(is_first) {
            return Err(self.error("a line must be NAME=VALUE or a comment"));
        }
        let is_in_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '.';
        while self.peek().is_some_and(is_in_name) {
            self.next();
        }
        Ok(&self.text[start..self.position()])
    }

    /// Reads the value and the end of the line.
    fn value(&mut self, entry: &mut Entry) -> Result<(), ParseError> {
        if self.peek() == Some('#') {
            self.skip_line();
            return Ok(());
        }
        loop {
            match self.next() {
                None | Some('\n') => return Ok(()),
                Some('\0') => return Err(self.error("a value must not contain a zero byte")),
                Some('\r') if matches!(self.peek(), None | Some('\n')) => {}
                Some('\r') => return Err(self.error("a carriage return must end a line")),
                Some(' ' | '\t') => return self.end_of_value(),
                Some('\'') => self.single_quoted(entry)?,
                Some('"') => self.double_quoted(entry)?,
                Some('\\') => self.escaped(entry)?,
                Some(character) => push(entry, character),
            }
        }
    }

    /// Reads the rest of the line after an unquoted space, which may only be a comment.
    fn end_of_value(&mut self) -> Result<(), ParseError> {
        self.skip_spaces();
        if !matches!(self.peek(), None | Some('\n' | '#')) {
            return Err(self.error("a value with spaces must be in quotes"));
        }
        self.skip_line();
        Ok(())
    }

    fn single_quoted(&mut self, entry: &mut Entry) -> Result<(), ParseError> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some('\0') => return Err(self.error("a value must not contain a zero byte")),
                Some(character) => entry.value.push(character),
                None => return Err(unclosed(entry)),
            }
        }
    }

    fn double_quoted(&mut self, entry: &mut Entry) -> Result<(), ParseError> {
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('\0') => return Err(self.error("a value must not contain a zero byte")),
                Some('\\') => self.escaped(entry)?,
                Some(character) => push(entry, character),
                None => return Err(unclosed(entry)),
            }
        }
    }

    fn escaped(&mut self, entry: &mut Entry) -> Result<(), ParseError> {
        let character = match self.peek() {
            Some('n') => '\n',
            Some(character @ ('\\' | '\'' | '"' | '$' | ' ')) => character,
            _ => {
                let why = "`\\` must be followed by one of \\ ' \" $ n or a space; \
                           in single quotes it is taken as written";
                return Err(self.error(why));
            }
        };
        self.next();
        entry.value.push(character);
        Ok(())
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, character)| *character)
    }

    fn next(&mut self) -> Option<char> {
        let (_, character) = self.rest.next()?;
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    fn position(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(it) if it.is_whitespace() && it != '\n') {
            self.next();
        }
    }

    fn skip_line(&mut self) {
        while !matches!(self.next(), None | Some('\n')) {}
    }

    fn error(&self, why: &'static str) -> ParseError {
        ParseError {
            line: self.line,
            why,
        }
    }
}

fn push(entry: &mut Entry, character: char) {
    entry.has_unescaped_dollar |= character == '$';
    entry.value.push(character);
}

fn unclosed(entry: &Entry) -> ParseError {
    ParseError {
        line: entry.line,
        why: "a quote is not closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(usize, String, String)>, String> {
        let entries = parse(text).map_err(|error| error.to_string())?;
        let plain = |it: Entry| (it.line, it.name, it.value);
        Ok(entries.into_iter().map(plain).collect())
    }

    #[track_caller]
    fn value(text: &str, expected: &str) {
        let found = read(text.as_bytes()).map(|mut entries| entries.swap_remove(0).2);
        assert_eq!(found.as_deref(), Ok(expected), "{text:?}");
    }

    #[test]
    fn values_are_without_quotes_and_escapes_and_variables_are_not_substituted() {
        value("A=b", "b");
        value("A=b\r\n", "b");
        value("export A = b # c", "b");
        value("export=b", "b");
        value("A=", "");
        value("A= # nothing", "");
        value("A=b#c", "b#c");
        value("A='b c' # d", "b c");
        value("A=\"b c\"", "b c");
        value("A=b' 'c\" \"d", "b c d");
        value("A=pa$word", "pa$word");
        value("A=${HOME}/data", "${HOME}/data");
        value("A=\"$HOME\"", "$HOME");
        value("A='$HOME'", "$HOME");
        value(r"A=pa\$word", "pa$word");
        value(r#"A="a\n\"\\\'""#, "a\n\"\\'");
        value(r"A='C:\data'", r"C:\data");
        value(r"A=two\ words", "two words");
        value("A='one\ntwo'", "one\ntwo");
        value("A=mongodb://u:p%40@h/?a=b", "mongodb://u:p%40@h/?a=b");
        value("A=ünïcode", "ünïcode");
    }

    #[test]
    fn a_byte_order_mark_comments_and_empty_lines_are_skipped() {
        let text = b"\xef\xbb\xbfA=1\n\n  # B=2\n\t\nC=\"3\n4\"\nD=5";
        let entry = |line, name: &str, value: &str| (line, name.to_owned(), value.to_owned());
        let expected = [
            entry(1, "A", "1"),
            entry(5, "C", "3\n4"),
            entry(7, "D", "5"),
        ];
        assert_eq!(read(text), Ok(expected.to_vec()));
        assert_eq!(read(b""), Ok(Vec::new()));
    }

    #[test]
    fn an_error_contains_the_line_and_no_value() {
        let cases: [(&[u8], &str); 13] = [
            (
                b"A=1\nB=Sup3rSecret word",
                "line 2: a value with spaces must be in quotes",
            ),
            (
                b"A=1\n\nB Sup3rSecret",
                "line 3: a name must be followed by `=`",
            ),
            (
                b"export B Sup3rSecret",
                "line 1: a name must be followed by `=`",
            ),
            (b"Sup3rSecret", "line 1: a name must be followed by `=`"),
            (
                b"=Sup3rSecret",
                "line 1: a line must be NAME=VALUE or a comment",
            ),
            (b"A=1\nB='Sup3rSecret\n\n", "line 2: a quote is not closed"),
            (b"B=\"Sup3rSecret", "line 1: a quote is not closed"),
            (b"A=1\nB=Sup3r\\Secret", "line 2: `\\` must be followed"),
            (b"B=Sup3rSecret\\", "line 1: `\\` must be followed"),
            (b"A=1\nB=Sup3r\xffSecret", "line 2: a byte is not UTF-8"),
            (b"\xff\xfeA\0=\0", "line 1: the file is UTF-16"),
            (
                b"A=Sup3r\rB=Secret",
                "line 1: a carriage return must end a line",
            ),
            (
                b"A='Sup3r\0Secret'",
                "line 1: a value must not contain a zero byte",
            ),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
            assert!(
                !error.contains("Sup3r") && !error.contains("Secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unescaped_dollar_is_recorded_where_other_parsers_would_substitute() {
        let recorded = |text: &str| parse(text.as_bytes()).expect(text)[0].has_unescaped_dollar;
        for text in ["A=a$b", "A=${B}", "A=\"$B\"", "A='x'$B"] {
            assert!(recorded(text), "{text}");
        }
        for text in ["A='$B'", r"A=\$B", r#"A="\$B""#, "A=b"] {
            assert!(!recorded(text), "{text}");
        }
    }
}
