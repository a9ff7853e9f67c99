//! The terminal: a screen of its own, and keys without Enter. However the command ends, the terminal
//! is as before.

use std::io::{self, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue};
use tokio::sync::mpsc;

use super::view::Line;

/// How often the thread that reads keys checks whether it should end.
const KEY_WAIT: Duration = Duration::from_millis(100);

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
    /// Draw again: the size of the terminal has changed.
    Redraw,
}

/// The screen. When it is dropped, the terminal is as before.
pub struct Screen {
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Opens the screen. A panic restores the terminal before its message is printed.
    ///
    /// # Errors
    ///
    /// Standard input or output is no terminal.
    pub fn open() -> io::Result<Self> {
        let screen = Self {
            ended: Arc::default(),
        };
        let earlier = panic::take_hook();
        let ended = screen.ended.clone();
        panic::set_hook(Box::new(move |info| {
            restore(&ended);
            earlier(info);
        }));
        terminal::enable_raw_mode()?;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Its width and height in characters.
    pub fn size(&self) -> io::Result<(usize, usize)> {
        let (width, height) = terminal::size()?;
        Ok((usize::from(width), usize::from(height)))
    }

    /// Replaces what the screen shows.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut frame = Vec::new();
        queue!(frame, cursor::MoveTo(0, 0))?;
        for (place, line) in lines.iter().enumerate() {
            if place > 0 {
                queue!(frame, Print("\r\n"))?;
            }
            if let Some(attribute) = line.style.attribute() {
                queue!(frame, SetAttribute(attribute))?;
            }
            queue!(
                frame,
                Print(&line.text),
                SetAttribute(Attribute::Reset),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(frame, Clear(ClearType::FromCursorDown))?;
        let mut output = io::stdout().lock();
        output.write_all(&frame)?;
        output.flush()
    }

    /// The keys that are pressed from now on. A thread reads them until the screen is dropped.
    pub fn keys(&self) -> mpsc::UnboundedReceiver<Key> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ended = self.ended.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match event::poll(KEY_WAIT) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(event) = event::read() else { return };
                if let Some(key) = key_of(&event)
                    && sender.send(key).is_err()
                {
                    return;
                }
            }
        });
        receiver
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore(&self.ended);
    }
}

/// Restores the terminal, once.
fn restore(ended: &AtomicBool) {
    if !ended.swap(true, Ordering::Relaxed) {
        // The terminal may be closed: then there is nothing to restore.
        let _closed = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _closed = terminal::disable_raw_mode();
    }
}

fn key_of(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match *key {
        // In raw mode the terminal sends no signal for Ctrl-C.
        KeyEvent {
            code: KeyCode::Char('c'),
            modifiers: KeyModifiers::CONTROL,
            ..
        } => Some(Key::Quit),
        KeyEvent { code, .. } => match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('s') => Some(Key::Sort),
            KeyCode::Char('p') | KeyCode::Char(' ') => Some(Key::Pause),
            KeyCode::Up | KeyCode::Char('k') => Some(Key::Scroll(-1)),
            KeyCode::Down | KeyCode::Char('j') => Some(Key::Scroll(1)),
            KeyCode::PageUp => Some(Key::Page(-1)),
            KeyCode::PageDown => Some(Key::Page(1)),
            KeyCode::Home => Some(Key::Home),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        key_of(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn ctrl_c_quits_although_raw_mode_sends_no_signal() {
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Key::Quit)
        );
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Quit));
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Key::Scroll(1)));
        assert_eq!(key_of(&Event::Resize(80, 24)), Some(Key::Redraw));
    }
}
