//! `explain`, from JavaScript.

use coca_model::tasks::{Explanation, PreparedImage};
use js_sys::{Array, Float32Array, Function, Object, Reflect};
use wasm_bindgen::prelude::*;

use crate::error::CodedError;
use crate::session::{CocaSession, streamer};
use crate::turns::with_turns;

#[wasm_bindgen]
impl CocaSession {
    /// `{ text, logProb, words: { text, heat }[], columns, rows, region }` for an image file, and for the caption when no
    /// text is given. `on_token(piece?)` says whether to go on writing it.
    pub async fn explain(
        &self,
        bytes: Vec<u8>,
        text: Option<String>,
        on_token: Function,
    ) -> Result<JsValue, JsValue> {
        let image = self.predictor().prepare(&bytes).map_err(CodedError::from)?;
        drop(bytes);
        Ok(self.explain_prepared(image, text, on_token).await?)
    }

    /// The same for rows of red, green, blue and alpha bytes.
    pub async fn explain_rgba(
        &self,
        width: u32,
        height: u32,
        rgba: Vec<u8>,
        text: Option<String>,
        on_token: Function,
    ) -> Result<JsValue, JsValue> {
        let image = self
            .predictor()
            .prepare_rgba(width, height, &rgba)
            .map_err(CodedError::from)?;
        drop(rgba);
        Ok(self.explain_prepared(image, text, on_token).await?)
    }
}

impl CocaSession {
    async fn explain_prepared(
        &self,
        image: PreparedImage,
        text: Option<String>,
        on_token: Function,
    ) -> Result<JsValue, CodedError> {
        let mut on_text = streamer(&on_token);
        let explanation = self
            .predictor()
            .explain(&image, text.as_deref(), &mut on_text);
        Ok(to_js(&with_turns(explanation).await?))
    }
}

/// By hand, because serde would make lists of numbers of the heat maps.
fn to_js(explanation: &Explanation) -> JsValue {
    let words: Array = explanation
        .words
        .iter()
        .map(|word| {
            object(&[
                ("text", word.text.as_str().into()),
                ("heat", Float32Array::from(word.heat.as_slice()).into()),
            ])
        })
        .collect();
    let region = explanation.region;
    let region = object(&[
        ("x", region.x.into()),
        ("y", region.y.into()),
        ("width", region.width.into()),
        ("height", region.height.into()),
    ]);
    object(&[
        ("text", explanation.text.as_str().into()),
        ("logProb", explanation.log_prob.into()),
        ("words", words.into()),
        ("columns", (explanation.columns as u32).into()),
        ("rows", (explanation.rows as u32).into()),
        ("region", region),
    ])
}

fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a field of a fresh object cannot fail.
        let _ = Reflect::set(&object, &JsValue::from_str(name), value);
    }
    object.into()
}
