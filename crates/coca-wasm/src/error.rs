//! Errors as JavaScript sees them: `{ code, message }`, which TypeScript makes a `CocaError` of.

use coca_model::Error;
use js_sys::{Object, Reflect};
use wasm_bindgen::JsValue;

/// An error on its way to JavaScript.
#[derive(Debug)]
pub struct CodedError {
    /// One of `CocaErrorCode`.
    pub code: &'static str,
    /// What was wrong, where, and what to do.
    pub message: String,
}

impl CodedError {
    pub fn new(code: &'static str, message: impl ToString) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }
}

impl From<Error> for CodedError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Config(_) | Error::Json { .. } | Error::Tokenizer(_) => "config-invalid",
            Error::ImageDecode(_) => "image-decode",
            Error::ImageTooLarge { .. } => "image-too-large",
            Error::Weights(_) | Error::WeightsMismatch(_) => "weights-invalid",
            Error::Integrity(_) => "integrity",
            Error::Input(_) => "invalid-argument",
            // The CPU fails only by giving nonsense for nonsense: NaN weights, say.
            Error::Device(message) if message.contains("poison") || message.contains("lost") => {
                "device-lost"
            }
            Error::Device(_) => "webgpu-failed",
            _ => "internal",
        };
        Self::new(code, error)
    }
}

impl From<serde_wasm_bindgen::Error> for CodedError {
    fn from(error: serde_wasm_bindgen::Error) -> Self {
        Self::new("invalid-argument", error)
    }
}

impl From<CodedError> for JsValue {
    fn from(error: CodedError) -> Self {
        let object = Object::new();
        // Setting a field of a fresh object cannot fail.
        let _ = Reflect::set(&object, &"code".into(), &error.code.into());
        let _ = Reflect::set(&object, &"message".into(), &error.message.into());
        object.into()
    }
}
