//! Running other programs, with errors that say what was run and what to do.

use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// Runs a program to its end with its output passing through; anything but exit code 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    match status(command)? {
        0 => Ok(()),
        code => bail!(
            "`{}` ended with exit code {code}; its messages are above",
            line(command)
        ),
    }
}

/// Runs a program to its end with its output passing through, and gives its exit code.
pub fn status(command: &mut Command) -> Result<i32> {
    eprintln!("$ {}", line(command));
    let status = command
        .status()
        .map_err(|error| not_started(command, error))?;
    status
        .code()
        .with_context(|| format!("`{}` was ended by a signal", line(command)))
}

/// Runs a program quietly and gives what it printed on stdout, without the last line break.
pub fn capture(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, error))?;
    if !status.success() {
        bail!(
            "`{}` failed ({status}): {}",
            line(command),
            String::from_utf8_lossy(&stderr).trim()
        );
    }
    let text = String::from_utf8(stdout)
        .with_context(|| format!("`{}` printed no UTF-8", line(command)))?;
    Ok(text.trim_end().to_owned())
}

fn not_started(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    match error.kind() {
        ErrorKind::NotFound => anyhow!("`{program}` was not found: install it, or add it to PATH"),
        _ => anyhow!(error).context(format!("`{program}` could not be started")),
    }
}

/// The command line for people to read.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_captured() {
        let version = capture(Command::new("cargo").arg("--version")).unwrap();
        assert!(version.starts_with("cargo ") && !version.ends_with('\n'));
    }

    #[test]
    fn a_failure_names_the_command_and_keeps_its_message() {
        let error = capture(Command::new("cargo").arg("no-such-command"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`cargo no-such-command`") && error.contains("no such command"),
            "{error}"
        );
        let error = run(Command::new("cargo").arg("no-such-command"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit code 101"), "{error}");
    }

    #[test]
    fn a_missing_program_says_so() {
        let error = run(&mut Command::new("no-such-program-here"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("was not found"), "{error}");
    }
}
