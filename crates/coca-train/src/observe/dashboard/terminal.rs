//! The terminal while the dashboard has it. However the run ends, the terminal is given back as it was.

use std::io::{Stderr, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// What is drawn on.
pub type Screen = Terminal<CrosstermBackend<Stderr>>;

/// Whether the dashboard has the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Held while drawing, so that nothing is drawn on a terminal that has been given back.
static DRAWING: Mutex<()> = Mutex::new(());

fn drawing() -> MutexGuard<'static, ()> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the terminal.
pub fn enter() -> std::io::Result<Screen> {
    let _drawing = drawing();
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::Relaxed);
    let open = || {
        execute!(stderr(), EnterAlternateScreen, Hide)?;
        Terminal::new(CrosstermBackend::new(stderr()))
    };
    open().inspect_err(|_| give_back())
}

/// Gives the terminal back, if the dashboard has it.
pub fn leave() {
    let _drawing = drawing();
    give_back();
}

fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        // There is nothing to do about a terminal that cannot be restored, because it is gone.
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stderr().flush();
    }
}

/// Whether the dashboard has the terminal.
pub fn taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Draws, if the dashboard still has the terminal.
pub fn draw(
    screen: &mut Screen,
    frame: impl FnOnce(&mut ratatui::Frame<'_>),
) -> std::io::Result<()> {
    let _drawing = drawing();
    if taken() {
        screen.draw(frame)?;
    }
    Ok(())
}
