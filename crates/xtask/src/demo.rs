//! `cargo xtask demo`

use std::io::Write;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::project::Project;
use crate::{package, serve};

#[derive(Args)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Also open the page in the default browser
    #[arg(long)]
    open: bool,
}

/// Builds what has changed, then serves the page; the last line on stdout is its address.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let page = package::build(project)?.page;
    serve::serve(&page, options.port, |address| {
        eprintln!("Serving {} until Ctrl-C", page.display());
        let mut out = std::io::stdout().lock();
        writeln!(out, "{address}")?;
        out.flush()?;
        if options.open {
            open(address);
        }
        Ok(())
    })
}

fn open(address: &str) {
    let (program, arguments): (_, &[_]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("cmd", &["/C", "start", ""]),
        _ => ("xdg-open", &[]),
    };
    if let Err(error) = Command::new(program).args(arguments).arg(address).spawn() {
        eprintln!("The browser could not be opened ({program}: {error}); open the address by hand");
    }
}
