//! Skips work whose inputs have not changed since it was last done.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::project::Project;

/// Folders that hold installed or built things, never sources.
const NOT_SOURCES: [&str; 3] = ["node_modules", "dist", "target"];

/// Does `work` unless it was done before with the same inputs and its output is still there.
///
/// Inputs are files or folders, compared by name and content, so that a fresh checkout or a touched file costs
/// nothing. `name` identifies the work, and a change of `recipe` (its settings) also does it again.
pub fn unless_done(
    project: &Project,
    name: &str,
    recipe: &str,
    inputs: &[PathBuf],
    output: &Path,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let file = project.target().join("xtask").join(name);
    let stamp = fingerprint(recipe, inputs)?;
    if output.exists() && fs::read_to_string(&file).is_ok_and(|last| last == stamp) {
        return Ok(());
    }
    eprintln!("--- {name}");
    // An interrupted run must not look done.
    let _ = fs::remove_file(&file);
    work()?;
    fs::create_dir_all(project.target().join("xtask"))?;
    fs::write(&file, stamp).with_context(|| format!("{} cannot be written", file.display()))
}

fn fingerprint(recipe: &str, inputs: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    for input in inputs {
        add(input, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn add(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let unreadable = || format!("{} cannot be read", path.display());
    path.hash(hasher);
    if !path.is_dir() {
        fs::read(path).with_context(unreadable)?.hash(hasher);
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(unreadable)?;
    let mut entries = entries
        .map(|entry| entry.map(|it| it.path()))
        .collect::<Result<Vec<_>, _>>()?;
    entries.retain(|entry| !NOT_SOURCES.iter().any(|name| entry.ends_with(name)));
    entries.sort();
    entries.iter().try_for_each(|entry| add(entry, hasher))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_names_count_and_built_folders_do_not() {
        let folder = std::env::temp_dir().join(format!("xtask-stamp-{}", std::process::id()));
        fs::create_dir_all(folder.join("node_modules")).unwrap();
        fs::write(folder.join("a"), "1").unwrap();
        let inputs = [folder.clone()];
        let first = fingerprint("", &inputs).unwrap();

        fs::write(folder.join("node_modules/b"), "2").unwrap();
        fs::write(folder.join("a"), "1").unwrap();
        assert_eq!(fingerprint("", &inputs).unwrap(), first);
        assert_ne!(fingerprint("-O2", &inputs).unwrap(), first);

        fs::write(folder.join("a"), "2").unwrap();
        let changed = fingerprint("", &inputs).unwrap();
        fs::rename(folder.join("a"), folder.join("c")).unwrap();
        let renamed = fingerprint("", &inputs).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_ne!(changed, first);
        assert_ne!(renamed, changed);
        assert!(fingerprint("", &inputs).is_err());
    }
}
