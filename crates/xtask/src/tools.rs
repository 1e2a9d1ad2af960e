//! The programs that the commands need: found, set up where that is safe, or asked for with the way to get them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{capture, run};
use crate::project::Project;
use crate::stamp;

/// The oldest Node.js that the JavaScript tools run on.
const NODE: u32 = 20;

/// Cargo at the root of the project, with arguments that hold no spaces of their own.
pub fn cargo(project: &Project, arguments: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments.split_whitespace())
        .current_dir(project.root());
    command
}

/// npm, in one of the project's Node folders.
pub fn npm(folder: &Path) -> Command {
    // A spawned `.cmd` has to be named in full.
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(folder);
    command
}

/// Installs a Node folder's locked dependencies where they are missing or out of date. `local` are packages among
/// them that are files of this project.
pub fn install_node_modules(project: &Project, folder: &Path, local: &[PathBuf]) -> Result<()> {
    let version = capture(Command::new("node").arg("--version"))
        .with_context(|| format!("Node.js {NODE} or newer is needed: https://nodejs.org"))?;
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|it| it.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        bail!("Node.js {NODE} or newer is needed, this is {version}: https://nodejs.org");
    }
    let name = folder
        .strip_prefix(project.root())
        .unwrap_or(folder)
        .to_string_lossy()
        .replace(['/', '\\'], "-");
    let mut inputs = vec![
        folder.join("package.json"),
        folder.join("package-lock.json"),
    ];
    inputs.extend_from_slice(local);
    // npm writes this file last.
    let installed = folder.join("node_modules/.package-lock.json");
    stamp::unless_done(
        project,
        &format!("npm-ci-{name}"),
        "",
        &inputs,
        &installed,
        || {
            // The browser is the one of this machine, never one that a test runner brings.
            run(npm(folder)
                .args(["ci", "--no-audit", "--no-fund"])
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"))
        },
    )
}

/// Adds the browser's compilation target to the Rust toolchain where it is missing.
pub fn add_wasm_target(project: &Project) -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let folder = capture(
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", TARGET])
            .current_dir(project.root()),
    )?;
    if Path::new(&folder).is_dir() {
        return Ok(());
    }
    run(Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(project.root()))
    .with_context(|| format!("the Rust target {TARGET} is needed and could not be added"))
}

/// A Chromium or Chrome: the one named by the environment variable CHROMIUM, an installed one, or, for root on a
/// Debian-like system, the distribution's, installed now.
pub fn chromium() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CHROMIUM") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("CHROMIUM names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    if let Some(path) = installed_chromium() {
        return Ok(path);
    }
    if on_path("apt-get").is_some()
        && capture(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
    {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        let mut install = Command::new("apt-get");
        install.args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "chromium",
        ]);
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    installed_chromium().context(
        "the browser tests need Chromium or Chrome: install one (Debian: sudo apt-get install chromium; Fedora: \
         sudo dnf install chromium; macOS: brew install --cask chromium), or name one in the environment variable \
         CHROMIUM",
    )
}

fn installed_chromium() -> Option<PathBuf> {
    const NAMES: [&str; 5] = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "chrome",
    ];
    const PLACES: [&str; 3] = [
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ];
    let places = PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
    NAMES.iter().find_map(|name| on_path(name)).or(places)
}

/// A Firefox, if there is one: the one named by the environment variable FIREFOX, or an installed one.
pub fn firefox() -> Option<PathBuf> {
    const PLACES: [&str; 2] = [
        "/Applications/Firefox.app/Contents/MacOS/firefox",
        r"C:\Program Files\Mozilla Firefox\firefox.exe",
    ];
    let named = env::var_os("FIREFOX").map(PathBuf::from);
    named
        .or_else(|| {
            ["firefox", "firefox-esr"]
                .iter()
                .find_map(|name| on_path(name))
        })
        .or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
}

/// The Python to run scripts with: the environment variable PYTHON, or `python3`.
pub fn python() -> Command {
    Command::new(env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
}
