//! Being told to stop.

use std::sync::atomic::{AtomicBool, Ordering};

use super::dashboard::terminal;

/// What Ctrl-C does, however it arrives: the first sets `stop`, after which the running step is finished and saved; the
/// second does not wait for that.
pub fn interrupt(stop: &AtomicBool) {
    if stop.swap(true, Ordering::Relaxed) {
        terminal::leave();
        std::process::exit(130);
    }
    // The dashboard says so itself.
    if !terminal::taken() {
        eprintln!("stopping after this step and saving; press Ctrl-C again to quit at once");
    }
}
