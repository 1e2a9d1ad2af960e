//! The Node project that drives Chromium.

use std::process::Command;

use anyhow::Result;

use crate::project::Project;
use crate::{command, package, tools};

/// One of the npm scripts of `tests/browser`, with all that it needs built, and named in its environment.
pub fn script(project: &Project, name: &str) -> Result<Command> {
    let package = package::build(project)?;
    build_native(project)?;
    let tests = project.path("tests/browser");
    tools::install_node_modules(project, &tests, &[])?;
    let mut command = tools::npm(&tests);
    command
        .args(["run", "--silent", name])
        .env("CHROMIUM", tools::chromium()?)
        .envs(tools::firefox().map(|firefox| ("FIREFOX", firefox)))
        .env("COCA_TARBALL", &package.tarball)
        .env("COCA_PAGE", &package.page)
        .env("COCA_TRAIN", project.coca_train())
        .env("COCA_MODEL", project.model())
        .env("COCA_SCREENSHOTS", project.target().join("screenshots"));
    Ok(command)
}

/// Builds the native command, which the results of other programs are compared with.
pub fn build_native(project: &Project) -> Result<()> {
    // With `--workspace` cargo unifies features as the tests do, so burn is not compiled a second time.
    let arguments = "build --release --workspace --bin coca-train";
    command::run(&mut tools::cargo(project, arguments))
}
