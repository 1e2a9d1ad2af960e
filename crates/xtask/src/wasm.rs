//! Compiles a crate to WebAssembly and writes its JavaScript bindings.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::command::run;
use crate::project::Project;
use crate::{relaxed, stamp, tools};

const TARGET: &str = "wasm32-unknown-unknown";

/// Compiles the library of a crate for the browser, with further arguments for cargo; gives the module as rustc wrote
/// it.
pub fn compile(project: &Project, package: &str, arguments: &str) -> Result<PathBuf> {
    tools::add_wasm_target(project)?;
    let flags = format!("target.{TARGET}.rustflags={:?}", path_flags(project)?);
    let arguments =
        format!("build --lib --profile wasm --target {TARGET} --package {package} {arguments}");
    run(tools::cargo(project, &arguments).args(["--config", &flags]))?;
    Ok(project
        .target()
        .join(TARGET)
        .join("wasm")
        .join(format!("{}.wasm", package.replace('-', "_"))))
}

/// Compiler flags, beside those of `.cargo/config.toml`, that keep the builder's own folders out of the messages of
/// panics. Not in that file, which cannot name them.
fn path_flags(project: &Project) -> Result<Vec<String>> {
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => env::home_dir()
            .context("there is no home folder; set CARGO_HOME")?
            .join(".cargo"),
    };
    let flag = |folder: &Path, name: &str| {
        let folder = folder
            .to_str()
            .with_context(|| format!("{} is not UTF-8", folder.display()))?;
        anyhow::Ok(format!("--remap-path-prefix={folder}={name}"))
    };
    Ok(vec![
        flag(&cargo_home, "cargo")?,
        flag(project.root(), "coca-wasm")?,
    ])
}

/// Writes `NAME.js`, `NAME.d.ts` and the wasm that they belong to into the folder: an ES module that takes the address of
/// `NAME_bg.wasm`, which every engine takes, or of `NAME_relaxed_bg.wasm`, for engines with relaxed SIMD.
pub fn bind(project: &Project, module: &Path, folder: &Path, name: &str) -> Result<()> {
    let output = folder.join(format!("{name}_bg.wasm"));
    stamp::unless_done(
        project,
        &format!("bindings-{name}"),
        include_str!("relaxed.rs"),
        &[module.to_path_buf()],
        &output,
        || {
            fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            generate(module, folder, name)?;
            let wasm = fs::read(&output)
                .with_context(|| format!("{} cannot be read", output.display()))?;
            let lowered = relaxed::lower(&wasm)
                .with_context(|| format!("{} cannot be lowered", output.display()))?;
            fs::rename(&output, folder.join(format!("{name}_relaxed_bg.wasm")))?;
            fs::write(&output, lowered)
                .with_context(|| format!("{} cannot be written", output.display()))
        },
    )
}

fn generate(module: &Path, folder: &Path, name: &str) -> Result<()> {
    Bindgen::new()
        .input_path(module)
        .out_name(name)
        .web(true)?
        .typescript(true)
        // The package always gives the address; a built-in one would make bundlers copy the wasm twice.
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)
        .with_context(|| {
            format!(
                "wasm-bindgen could not read {}: the versions of `wasm-bindgen` and `wasm-bindgen-cli-support` \
                 in Cargo.lock must be the same",
                module.display()
            )
        })
}
