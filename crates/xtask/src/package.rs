//! `cargo xtask package`: Rust → wasm → bindings → TypeScript → npm tarball → demo page.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{capture, run};
use crate::project::{Project, VERSION};
use crate::{stamp, tools, wasm};

/// What a user gets.
pub struct Package {
    /// `coca-wasm-VERSION.tgz`, ready to install or publish.
    pub tarball: PathBuf,
    /// The folder of the built demo page.
    pub page: PathBuf,
}

/// Builds the npm package and the demo page; what has not changed is not built again.
pub fn build(project: &Project) -> Result<Package> {
    let bindings = bindings(project)?;
    let tarball = tarball(project, &bindings)?;
    let page = page(project, &tarball)?;
    Ok(Package { tarball, page })
}

/// The folder of the package's TypeScript.
pub fn sources(project: &Project) -> PathBuf {
    project.path("crates/coca-wasm/js")
}

/// Compiles the crate, with both devices and with the CPU alone, and writes the bindings of both.
fn bindings(project: &Project) -> Result<PathBuf> {
    let folder = project.target().join("npm/bindings");
    // Bound at once, because both compilations write to the same place.
    for (name, arguments) in [("coca_wasm", ""), ("coca_cpu", "--no-default-features")] {
        let module = wasm::compile(project, "coca-wasm", arguments)?;
        wasm::bind(project, &module, &folder, name)?;
    }
    Ok(folder)
}

fn tarball(project: &Project, bindings: &Path) -> Result<PathBuf> {
    let package = sources(project);
    let model = project.model();
    if !model.join("open_clip_config.json").is_file() {
        bail!(
            "{} is not a model folder; the checkout is incomplete",
            model.display()
        );
    }
    tools::install_node_modules(project, &package, &[])?;
    let version = capture(tools::npm(&package).args(["pkg", "get", "version"]))?;
    if version.trim_matches('"') != VERSION {
        bail!(
            "{} has version {version}, the workspace {VERSION}: make them the same",
            package.display()
        );
    }

    let folder = project.target().join("npm");
    let tarball = folder.join(format!("coca-wasm-{VERSION}.tgz"));
    let inputs = [
        package.clone(),
        bindings.to_path_buf(),
        model.clone(),
        project.path("crates/coca-model/assets"),
    ];
    stamp::unless_done(project, "npm-pack", "", &inputs, &tarball, || {
        run(tools::npm(&package)
            .args(["run", "build"])
            .env("COCA_BINDINGS", bindings)
            .env("COCA_MODEL", &model))?;
        run(tools::npm(&package)
            .arg("pack")
            .arg("--pack-destination")
            .arg(&folder))?;
        // The page depends on this name, whatever the version.
        let unversioned = folder.join("coca-wasm.tgz");
        fs::copy(&tarball, &unversioned)
            .with_context(|| format!("{} cannot be written", unversioned.display()))?;
        Ok(())
    })?;
    Ok(tarball)
}

fn page(project: &Project, tarball: &Path) -> Result<PathBuf> {
    let sources = project.path("www");
    tools::install_node_modules(project, &sources, &[tarball.to_path_buf()])?;
    let page = project.target().join("www");
    let inputs = [sources.clone(), tarball.to_path_buf()];
    stamp::unless_done(
        project,
        "page",
        "",
        &inputs,
        &page.join("index.html"),
        || {
            run(tools::npm(&sources)
                .args(["run", "build"])
                .env("COCA_WWW_OUT", &page))
        },
    )?;
    Ok(page)
}
