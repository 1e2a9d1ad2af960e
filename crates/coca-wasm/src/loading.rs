//! A model that is being loaded, from JavaScript.

use std::collections::BTreeMap;

use coca_model::weights::{Description, ModelFolder, ModelLoader, WeightsFile};
use js_sys::Map;
use wasm_bindgen::prelude::*;

use crate::device::CocaDevice;
use crate::error::CodedError;
use crate::files::{peek, take};
use crate::session::CocaSession;

/// Elements of a tensor that are on their way to a GPU at once: 16 MB in f32, where a vocabulary's embedding has 100.
const PART: usize = 4 << 20;

/// A model whose weights arrive in pieces: each tensor goes to the device as soon as it is complete.
#[wasm_bindgen]
#[derive(Debug)]
pub struct CocaLoading {
    loader: ModelLoader,
    device: burn::tensor::Device,
    /// The files that are arriving, by their numbers.
    files: BTreeMap<u32, WeightsFile>,
    next: u32,
}

#[wasm_bindgen]
impl CocaLoading {
    /// Whether the small files of a model folder have to be joined by the merges of CLIP's vocabulary as
    /// [`ModelFolder::CLIP_MERGES`]. They are not in the wasm, because most models have no use for them.
    pub fn needs_clip_merges(files: &Map) -> Result<bool, JsValue> {
        let Some(config) = peek(files, ModelFolder::CONFIG)? else {
            return Ok(false);
        };
        let has_tokenizer = peek(files, ModelFolder::TOKENIZER)?.is_some();
        Ok(Description::needs_clip_merges(&config, has_tokenizer).map_err(CodedError::from)?)
    }

    /// Begins with the small files of a model folder, a `Map` from names to bytes, which is emptied.
    pub fn begin(device: &CocaDevice, files: Map) -> Result<CocaLoading, JsValue> {
        let description = Description::from_files(|name| take(&files, name))?;
        let mut loader =
            ModelLoader::new(description, device.device()).map_err(CodedError::from)?;
        if device.has_own_memory() {
            loader = loader.in_parts(PART);
        }
        Ok(Self {
            loader,
            device: device.device().clone(),
            files: BTreeMap::new(),
            next: 0,
        })
    }

    /// Begins a file of weights and gives it a number. A `trusted` one is not compared with `coca.json` again.
    pub fn open(&mut self, name: &str, trusted: bool) -> u32 {
        let number = self.next;
        self.next += 1;
        self.files.insert(number, self.loader.begin(name, trusted));
        number
    }

    /// Takes the next bytes of a file.
    pub fn push(&mut self, file: u32, bytes: &[u8]) -> Result<(), JsValue> {
        let file = self.files.get_mut(&file).ok_or_else(closed)?;
        self.loader.push(file, bytes).map_err(CodedError::from)?;
        Ok(())
    }

    /// Ends a file.
    pub fn close(&mut self, file: u32) -> Result<(), JsValue> {
        let file = self.files.remove(&file).ok_or_else(closed)?;
        self.loader.close(file).map_err(CodedError::from)?;
        Ok(())
    }

    /// The loaded model.
    pub fn finish(self) -> Result<CocaSession, JsValue> {
        let (model, description, _) = self.loader.finish().map_err(CodedError::from)?;
        Ok(CocaSession::new(model, description, self.device)?)
    }
}

fn closed() -> CodedError {
    CodedError::new("internal", "a file of weights was used that is not open")
}
