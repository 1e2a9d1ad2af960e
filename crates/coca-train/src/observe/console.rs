//! Who shows the run to people at the terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Observer;
use super::dashboard::Dashboard;
use super::lines::Lines;
use super::progress::Progress;
use crate::data::Log;
use crate::train::TrainConfig;

/// The dashboard if it is asked for and can be shown, a progress bar on a terminal, and lines elsewhere; and what
/// shows messages beside it.
pub fn open(
    config: &TrainConfig,
    output: &Path,
    step: u64,
    stop: &Arc<AtomicBool>,
) -> (Box<dyn Observer>, Log) {
    let terminal = std::io::stderr().is_terminal();
    if config.log.dashboard {
        if terminal {
            match Dashboard::open(config, output, step, stop) {
                Ok(dashboard) => {
                    let messages = dashboard.messages();
                    return (Box::new(dashboard), messages);
                }
                Err(error) => eprintln!("no dashboard: {error:#}"),
            }
        } else {
            eprintln!("no dashboard: standard error is not a terminal");
        }
    }
    if terminal {
        let progress = Progress::new(config, step);
        let messages = progress.messages();
        return (Box::new(progress), messages);
    }
    (
        Box::new(Lines::new(config)),
        Arc::new(|line| eprintln!("{line}")),
    )
}
