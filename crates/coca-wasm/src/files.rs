//! The files of a model folder, from JavaScript.

use js_sys::{Map, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};

use crate::error::CodedError;

/// A copy of a file in `files`, a `Map` from names to `Uint8Array`s.
pub fn peek(files: &Map, name: &str) -> Result<Option<Vec<u8>>, CodedError> {
    let value = files.get(&JsValue::from_str(name));
    if value.is_undefined() {
        return Ok(None);
    }
    let bytes: Uint8Array = value
        .dyn_into()
        .map_err(|_| CodedError::new("invalid-argument", format!("{name} is not a Uint8Array")))?;
    Ok(Some(bytes.to_vec()))
}

/// Takes a file out of `files`, a `Map` from names to `Uint8Array`s. It is removed there, so that its bytes are not in
/// memory twice for longer than the copy takes.
pub fn take(files: &Map, name: &str) -> Result<Option<Vec<u8>>, CodedError> {
    let bytes = peek(files, name)?;
    files.delete(&JsValue::from_str(name));
    Ok(bytes)
}
