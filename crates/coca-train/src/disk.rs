//! Files and folders that are whole or not there: they are written under another name first.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::{NamedTempFile, TempPath};

/// How the names of what is not finished begin.
const TEMPORARY: &str = ".coca-";

/// Fills a temporary folder and lets it take the place of `folder`.
pub fn replace_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = parent(folder)?;
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(parent)
        .with_context(|| format!("creating a temporary folder in {}", parent.display()))?;
    fill(temporary.path())?;
    let filled = temporary.keep();
    let moved = move_into_place(&filled, folder).and_then(|()| sync_folder(parent));
    if moved.is_err() {
        // The message about the failed move matters more than what cannot be cleaned up.
        let _ = std::fs::remove_dir_all(&filled);
    }
    moved
}

fn move_into_place(filled: &Path, folder: &Path) -> Result<()> {
    make_readable(filled)?;
    if !folder.exists() {
        return std::fs::rename(filled, folder)
            .with_context(|| format!("creating {}", folder.display()));
    }
    // A folder cannot be replaced in one step; its predecessor is kept until the new one stands.
    let old = filled.with_extension("old");
    std::fs::rename(folder, &old).with_context(|| format!("moving {} aside", folder.display()))?;
    if let Err(error) = std::fs::rename(filled, folder) {
        std::fs::rename(&old, folder).with_context(|| format!("restoring {}", folder.display()))?;
        return Err(anyhow::Error::from(error).context(format!("replacing {}", folder.display())));
    }
    std::fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))
}

/// The folder that `path` lies in, which is made if it is missing.
fn parent(path: &Path) -> Result<&Path> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    Ok(parent)
}

/// Makes a folder's new names survive a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("writing the folder {}", folder.display()))
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// Temporary folders are private to their owner; what they become is not.
#[cfg(unix)]
fn make_readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the permissions of {}", folder.display()))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> Result<()> {
    Ok(())
}

/// A file under a temporary name in the folder of `path`, which is made if it is missing; gone unless published.
pub fn temporary_file(path: &Path) -> Result<NamedTempFile> {
    let parent = parent(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // Temporary files are private to their owner; what they become is not.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .tempfile_in(parent)
        .with_context(|| format!("creating a temporary file in {}", parent.display()))
}

/// Gives a temporary file its name, in place of any file that has it.
pub fn publish(file: TempPath, path: &Path) -> Result<()> {
    file.persist(path)
        .with_context(|| format!("writing {}", path.display()))
}

/// Writes one file completely, to the disk, in place of any that is there: readers see the old or the new one.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut file = temporary_file(path)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    publish(file.into_temp_path(), path)
}

/// Writes one file completely, to the disk.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Removes what writers that were killed left half done in `folder`.
pub fn tidy(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let path = entry.path();
        // Only space is lost if it stays.
        let _ = match path.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.md");
        for text in ["longer", "short"] {
            replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(&folder.path().join("new")), ["a.md"]);
        let error = replace_file(&path.join("b"), b"").unwrap_err();
        assert!(error.to_string().contains("a.md"), "{error}");
    }

    #[test]
    fn what_killed_writers_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        replace_file(&folder.path().join("kept"), b"1").unwrap();
        let (file, _) = temporary_file(&folder.path().join("a"))
            .unwrap()
            .keep()
            .unwrap();
        drop(file);
        let left = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(folder.path())
            .unwrap();
        write_file(&left.keep().join("b"), b"2").unwrap();
        assert_eq!(names(folder.path()).len(), 3);
        tidy(folder.path());
        assert_eq!(names(folder.path()), ["kept"]);
        tidy(&folder.path().join("missing"));
    }
}
