//! A folder with a subfolder of images for each class, as torchvision's `ImageFolder` reads it.

use std::path::Path;

use serde_json::json;

use super::error::{Error, Result};
use super::files::{Files, io_error};
use super::location::Location;
use super::reader::{MAX_MEMBER, RawSample, Reader, is_image};

/// Folders nested deeper than this are a loop of links.
const MAX_DEPTH: usize = 16;

/// An opened folder. The name of a class is the name of its subfolder; images come in the order of their names.
#[derive(Debug)]
pub struct ImageFolder {
    files: Files,
    folder: Location,
    classes: Vec<String>,
    images: Vec<Image>,
}

#[derive(Debug)]
struct Image {
    class: u32,
    /// Its path from the folder on, with slashes.
    path: Box<str>,
}

impl ImageFolder {
    /// Lists the images.
    ///
    /// # Errors
    /// A folder that cannot be listed, or that has no subfolder with an image.
    pub fn open(folder: &Path, files: &Files) -> Result<Self> {
        let fail = |reason: String| Error::Spec {
            spec: folder.display().to_string(),
            reason,
        };
        let mut classes: Vec<String> = Vec::new();
        for (name, is_folder) in entries(folder)? {
            if is_folder {
                classes.push(name);
            }
        }
        let mut images = Vec::new();
        for (number, class) in classes.iter().enumerate() {
            let mut paths = Vec::new();
            list(folder, class, 0, &mut paths)?;
            images.extend(paths.into_iter().map(|path| Image {
                class: number as u32,
                path,
            }));
        }
        if images.is_empty() {
            return Err(fail(
                "it has no subfolder with images; expected one for each class, named after it"
                    .into(),
            ));
        }
        Ok(Self {
            files: files.clone(),
            folder: Location::Local(folder.into()),
            classes,
            images,
        })
    }

    fn image(&self, index: usize) -> Result<&Image> {
        self.images.get(index).ok_or_else(|| {
            let len = self.images.len();
            Error::Config(format!("there is no image {index} among {len}"))
        })
    }
}

impl Reader for ImageFolder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn key(&self, index: usize) -> String {
        self.images
            .get(index)
            .map_or_else(String::new, |image| image.path.to_string())
    }

    fn file(&self, _: usize) -> Option<&Location> {
        Some(&self.folder)
    }

    fn read(&self, index: usize) -> Result<RawSample> {
        let image = self.image(index)?;
        let bytes = self.files.read(&self.folder.join(&image.path), MAX_MEMBER);
        Ok(RawSample {
            image: bytes.map_err(|error| Error::Sample {
                name: format!("{}:{}", self.folder.file_name(), image.path),
                reason: error.to_string(),
            })?,
            json: self.json(index)?,
            text: None,
        })
    }

    fn json(&self, index: usize) -> Result<Option<Vec<u8>>> {
        let class = self.classes.get(self.image(index)?.class as usize);
        Ok(class.map(|class| json!({ "label": class }).to_string().into_bytes()))
    }
}

/// The names in a folder, sorted, and whether each is a folder. Hidden ones are left out.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    let io = io_error(&Location::Local(folder.into()));
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(&io)? {
        let entry = entry.map_err(&io)?;
        // What is not UTF-8 could not be named in a message either.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !name.starts_with('.') {
            found.push((name, entry.path().is_dir()));
        }
    }
    found.sort();
    Ok(found)
}

/// Appends the images under `folder/path`.
fn list(folder: &Path, path: &str, depth: usize, found: &mut Vec<Box<str>>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::Spec {
            spec: folder.display().to_string(),
            reason: format!("`{path}` is nested too deep; is a link its own parent?"),
        });
    }
    for (name, is_folder) in entries(&folder.join(path))? {
        let path = format!("{path}/{name}");
        if is_folder {
            list(folder, &path, depth + 1, found)?;
        } else if is_image(&name) {
            found.push(path.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_subfolders_and_images_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "hot_dog/b.JPG",
            "hot_dog/deep/a.png",
            "cat/z.webp",
            "cat/notes.txt",
            ".hidden/x.jpg",
            "loose.jpg",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let opened = ImageFolder::open(folder.path(), &Files::default()).unwrap();
        let keys: Vec<_> = (0..opened.len()).map(|i| opened.key(i)).collect();
        assert_eq!(keys, ["cat/z.webp", "hot_dog/b.JPG", "hot_dog/deep/a.png"]);
        let sample = opened.read(1).unwrap();
        assert_eq!(sample.image, b"hot_dog/b.JPG");
        assert_eq!(sample.json.unwrap(), br#"{"label":"hot_dog"}"#);
        std::fs::remove_file(folder.path().join("hot_dog/b.JPG")).unwrap();
        assert!(matches!(opened.read(1), Err(Error::Sample { .. })));
        let error = ImageFolder::open(&folder.path().join("cat"), &Files::default());
        assert!(error.unwrap_err().to_string().contains("each class"));
    }
}
