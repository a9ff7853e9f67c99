//! The terminal: a screen of its own, and keys without Enter. However the command ends, the terminal
//! is as before.
//!
//! The control sequences are those of
//! [xterm](https://invisible-island.net/xterm/ctlseqs/ctlseqs.html), which other terminals share.

use std::io::{self, Write};
use std::panic;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::line::Line;
use mode::RawMode;

/// Switches to the alternate screen, and hides the cursor.
const OPEN: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// Shows the cursor, and switches back.
const CLOSE: &str = "\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l";
/// Moves to the upper left corner.
const TOP: &str = "\u{1b}[1;1H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\u{1b}[0m\u{1b}[K";
/// Clears everything below.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// End.
    Quit,
    /// Sort by the next column.
    Sort,
    /// Stop or continue updating.
    Pause,
    /// Scroll by this number of lines; negative: up.
    Scroll(isize),
    /// Scroll by pages; negative: up.
    Page(isize),
    /// Scroll to the beginning.
    Home,
}

/// The screen. When it is dropped, the terminal is as before.
pub struct Screen {
    mode: Arc<RawMode>,
}

impl Screen {
    /// Opens the screen. A panic restores the terminal before its message is printed.
    ///
    /// # Errors
    ///
    /// Standard input is no terminal, or output is closed.
    pub fn open() -> io::Result<Self> {
        let mode = Arc::new(RawMode::enter()?);
        let earlier = panic::take_hook();
        let restored = mode.clone();
        panic::set_hook(Box::new(move |info| {
            close(&restored);
            earlier(info);
        }));
        let screen = Self { mode };
        write(OPEN)?;
        Ok(screen)
    }

    /// Its width and height in characters.
    pub fn size(&self) -> (usize, usize) {
        mode::size().unwrap_or((80, 24))
    }

    /// Replaces what the screen shows.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut frame = String::from(TOP);
        for (place, line) in lines.iter().enumerate() {
            if place > 0 {
                frame.push_str("\r\n");
            }
            frame.push_str(line.style.sequence());
            frame.push_str(&line.text);
            frame.push_str(CLEAR_LINE);
        }
        frame.push_str(CLEAR_BELOW);
        write(&frame)
    }

    /// The keys that are pressed from now on. A thread reads them until the screen is dropped.
    pub fn keys(&self) -> mpsc::UnboundedReceiver<Key> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mode = self.mode.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while mode.is_raw() {
                let Ok(length) = mode::read(&mut bytes) else {
                    return;
                };
                for key in keys_of(&bytes[..length]) {
                    if sender.send(key).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        close(&self.mode);
    }
}

/// Restores the terminal, once.
fn close(mode: &RawMode) {
    if mode.leave() {
        // Output may be closed: then there is nothing to restore.
        let _closed = write(CLOSE);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The keys in what the terminal sent at once.
fn keys_of(mut bytes: &[u8]) -> Vec<Key> {
    // The escape key alone, not the beginning of a sequence.
    if bytes == b"\x1b" {
        return vec![Key::Quit];
    }
    let sequences: [(&[u8], Key); 10] = [
        (b"\x1b[A", Key::Scroll(-1)),
        (b"\x1bOA", Key::Scroll(-1)),
        (b"\x1b[B", Key::Scroll(1)),
        (b"\x1bOB", Key::Scroll(1)),
        (b"\x1b[5~", Key::Page(-1)),
        (b"\x1b[6~", Key::Page(1)),
        (b"\x1b[H", Key::Home),
        (b"\x1bOH", Key::Home),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[7~", Key::Home),
    ];
    let mut keys = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let mut known = sequences.iter().filter(|(it, _)| bytes.starts_with(it));
        if let Some((sequence, key)) = known.next() {
            keys.push(*key);
            bytes = &bytes[sequence.len()..];
            continue;
        }
        bytes = match first {
            // Another sequence ends with a letter or a tilde.
            b'\x1b' => {
                let end = rest
                    .iter()
                    .skip(1)
                    .position(|it| (0x40..=0x7e).contains(it));
                &rest[end.map_or(rest.len(), |end| end + 2)..]
            }
            _ => rest,
        };
        keys.extend(match first {
            // In raw mode the terminal sends no signal for Ctrl-C.
            b'q' | 0x03 => Some(Key::Quit),
            b's' => Some(Key::Sort),
            b'p' | b' ' => Some(Key::Pause),
            b'k' => Some(Key::Scroll(-1)),
            b'j' => Some(Key::Scroll(1)),
            _ => None,
        });
    }
    keys
}

#[cfg(unix)]
mod mode {
    //! The raw mode of a Unix terminal
    //! ([termios](https://man7.org/linux/man-pages/man3/termios.3.html)).

    use std::io::{self, Read};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::termios::{
        OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
    };

    /// The raw mode: keys arrive at once and are not shown.
    pub struct RawMode {
        before: Termios,
        is_raw: AtomicBool,
    }

    impl RawMode {
        /// Enters it.
        pub fn enter() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut raw = before.clone();
            raw.make_raw();
            // A read returns after a tenth of a second without a key.
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 1;
            tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
            Ok(Self {
                before,
                is_raw: AtomicBool::new(true),
            })
        }

        pub fn is_raw(&self) -> bool {
            self.is_raw.load(Ordering::Relaxed)
        }

        /// Leaves it. Returns whether it was raw until now.
        pub fn leave(&self) -> bool {
            let was_raw = self.is_raw.swap(false, Ordering::Relaxed);
            if was_raw {
                // The terminal may be closed: then there is nothing to restore.
                let _closed = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
            }
            was_raw
        }
    }

    /// The width and height of the terminal, if it knows them.
    pub fn size() -> Option<(usize, usize)> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        let known = size.ws_col > 0 && size.ws_row > 0;
        known.then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Reads what was typed; nothing after a tenth of a second.
    pub fn read(bytes: &mut [u8]) -> io::Result<usize> {
        match io::stdin().lock().read(bytes) {
            Err(why) if why.kind() == io::ErrorKind::Interrupted => Ok(0),
            read => read,
        }
    }
}

#[cfg(not(unix))]
mod mode {
    //! Other systems have no raw mode here: `top` prints its lines once.

    use std::io;

    pub struct RawMode;

    impl RawMode {
        pub fn enter() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub fn is_raw(&self) -> bool {
            false
        }

        pub fn leave(&self) -> bool {
            false
        }
    }

    pub fn size() -> Option<(usize, usize)> {
        None
    }

    pub fn read(_bytes: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_sequences_of_the_terminal() {
        let cases: [(&[u8], &[Key]); 8] = [
            (b"q", &[Key::Quit]),
            // Ctrl-C: raw mode sends no signal for it.
            (b"\x03", &[Key::Quit]),
            (b"\x1b", &[Key::Quit]),
            (
                b"s\x1b[A\x1bOBp",
                &[Key::Sort, Key::Scroll(-1), Key::Scroll(1), Key::Pause],
            ),
            (
                b"\x1b[5~\x1b[6~\x1b[H",
                &[Key::Page(-1), Key::Page(1), Key::Home],
            ),
            // F5, and an arrow with a modifier, do nothing; neither do their letters.
            (b"\x1b[15~\x1b[1;5Cs", &[Key::Sort]),
            (b"\x1b[", &[]),
            (b"xyz", &[]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(keys_of(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
