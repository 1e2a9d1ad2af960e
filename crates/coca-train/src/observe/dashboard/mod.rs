//! The dashboard: the run on a whole terminal.

mod draw;
mod state;
pub mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};

use super::lines::gone_through;
use super::{Event, Observer, interrupt};
use crate::data::Log;
use crate::train::TrainConfig;
use state::State;

/// How long a key may wait, and how old the picture may be.
const TICK: Duration = Duration::from_millis(200);

/// The run on a whole terminal. A thread of its own draws and listens to keys; dropping it gives the terminal back.
#[derive(Debug)]
pub struct Dashboard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    done: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever it holds can be drawn.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a message, or prints it when the terminal has been given back.
    fn say(&self, message: &str) {
        if terminal::taken() {
            self.state().say(message.to_owned());
        } else {
            eprintln!("{message}");
        }
    }
}

impl Dashboard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It does not let itself be taken.
    pub fn open(
        config: &TrainConfig,
        output: &Path,
        step: u64,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config, output, step, stop)),
            done: AtomicBool::new(false),
        });
        let mut screen = terminal::enter().context("taking the terminal")?;
        keep_panics_off_the_screen(&shared);
        let seen = Arc::clone(&shared);
        let draw = move || {
            let mut run = || -> std::io::Result<()> {
                while !seen.done.load(Ordering::Relaxed) {
                    terminal::draw(&mut screen, |frame| draw::draw(frame, &seen.state()))?;
                    if event::poll(TICK)? {
                        react(&event::read()?, &seen);
                    }
                }
                Ok(())
            };
            // Whatever happens here, the terminal is given back: nobody else listens to Ctrl-C while it is taken.
            let ended = catch_unwind(AssertUnwindSafe(&mut run));
            terminal::leave();
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("the dashboard ended: {error}; training goes on"),
                Err(_) => eprintln!("the dashboard broke; training goes on"),
            }
        };
        let thread = std::thread::Builder::new()
            .name("dashboard".into())
            .spawn(draw)
            .inspect_err(|_| terminal::leave())
            .context("starting the dashboard")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Shows lines, from any thread.
    pub fn messages(&self) -> Log {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |line| shared.say(line))
    }
}

impl Observer for Dashboard {
    fn name(&self) -> &'static str {
        "dashboard"
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        self.shared.state().update(event);
        if let Event::Ended { data, .. } = event {
            gone_through(data).for_each(|text| self.shared.say(&text));
        }
        Ok(())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panics are caught.
            let _ = thread.join();
        }
        terminal::leave();
        // What was said on the screen went with it.
        for message in &self.shared.state().messages {
            eprintln!("{message}");
        }
    }
}

/// Does what a key asks for. In raw mode Ctrl-C is a key.
fn react(event: &event::Event, shared: &Shared) {
    let event::Event::Key(key) = event else {
        return;
    };
    if key.kind != KeyEventKind::Press {
        return;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            let stop = Arc::clone(&shared.state().stop);
            interrupt(&stop);
        }
        KeyCode::Char('l') => {
            let mut state = shared.state();
            state.logarithmic = !state.logarithmic;
        }
        _ => {}
    }
}

/// A panic of this thread, which is about to end the run, gives the terminal back before it is told of. Other threads
/// may be caught; what they say is shown as a message.
fn keep_panics_off_the_screen(shared: &Arc<Shared>) {
    let (before, main) = (std::panic::take_hook(), std::thread::current().id());
    let shared = Arc::downgrade(shared);
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == main {
            terminal::leave();
        }
        match shared.upgrade() {
            // The lock may be held by the thread that panics.
            Some(shared) if terminal::taken() => {
                if let Ok(mut state) = shared.state.try_lock() {
                    state.say(panic.to_string());
                }
            }
            _ => before(panic),
        }
    }));
}
