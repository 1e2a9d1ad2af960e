//! A model on a device, and the four tasks.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::Device;
use coca_model::Coca;
use coca_model::generate::GenerateOptions;
use coca_model::tasks::{
    Answer, CaptionOptions, EncodedImages, LabelScore, Predictor, PreparedImage, TextEvent,
    ZeroShotClassifier,
};
use coca_model::weights::{Description, SelfTest, dtype_in_memory};
use js_sys::Function;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::error::CodedError;
use crate::settings::{Settings, limited};
use crate::turns::with_turns;

/// A model on a device.
#[wasm_bindgen]
#[derive(Debug)]
pub struct CocaSession {
    predictor: Predictor,
    info: Info,
    self_test: Option<SelfTest>,
}

/// An image after the image encoder; every task can use it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct EncodedImage(EncodedImages);

/// A zero-shot classifier.
#[wasm_bindgen]
#[derive(Debug)]
pub struct LabelEmbeddings(ZeroShotClassifier);

#[derive(Debug, Serialize)]
struct Info {
    name: Option<String>,
    revision: Option<String>,
    dtype: String,
    parameters: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Score {
    label: String,
    score: f32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    text: String,
    tokens: Vec<u32>,
    log_prob: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerText {
    answer: String,
    log_prob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Vec<Choice>>,
}

#[derive(Serialize)]
struct Choice {
    answer: String,
    score: f32,
}

impl From<LabelScore> for Score {
    fn from(LabelScore { label, score }: LabelScore) -> Self {
        Self { label, score }
    }
}

#[wasm_bindgen]
impl CocaSession {
    /// `{ name?, revision?, dtype, parameters }`
    pub fn info(&self) -> Result<JsValue, JsValue> {
        to_js(&self.info)
    }

    /// Computes what the model folder has stored results for; returns the largest distance of an embedding, or
    /// nothing when nothing is stored.
    pub async fn self_test(&self) -> Result<Option<f32>, JsValue> {
        let Some(test) = &self.self_test else {
            return Ok(None);
        };
        Ok(Some(with_turns(self.run_self_test(test)).await?))
    }

    /// Decodes an image file, prepares and encodes it.
    pub async fn encode(&self, bytes: Vec<u8>) -> Result<EncodedImage, JsValue> {
        #[cfg(feature = "panic-test")]
        assert_ne!(bytes, b"panic", "a panic was asked for");
        let image = self.predictor.prepare(&bytes).map_err(CodedError::from)?;
        drop(bytes);
        Ok(self.encode_prepared(image).await?)
    }

    /// Prepares and encodes rows of red, green, blue and alpha bytes.
    pub async fn encode_rgba(
        &self,
        width: u32,
        height: u32,
        rgba: Vec<u8>,
    ) -> Result<EncodedImage, JsValue> {
        let image = self
            .predictor
            .prepare_rgba(width, height, &rgba)
            .map_err(CodedError::from)?;
        drop(rgba);
        Ok(self.encode_prepared(image).await?)
    }

    /// Embeds labels, in the model's own templates when none are given.
    pub async fn label_embeddings(
        &self,
        labels: Vec<String>,
        templates: Option<Vec<String>>,
    ) -> Result<LabelEmbeddings, JsValue> {
        let classifier = self
            .predictor
            .zero_shot_classifier(&labels, templates.as_deref());
        Ok(LabelEmbeddings(
            with_turns(classifier).await.map_err(CodedError::from)?,
        ))
    }

    /// `{ label, score }[]`, best first.
    pub async fn classify(
        &self,
        image: &EncodedImage,
        labels: &LabelEmbeddings,
    ) -> Result<JsValue, JsValue> {
        let scores = self
            .predictor
            .classify(&image.0, &labels.0)
            .await
            .map_err(CodedError::from)?;
        let scores = scores.into_iter().flatten();
        to_js(&scores.map(Score::from).collect::<Vec<_>>())
    }

    /// `{ label, score }[]`, best first, for image embeddings that follow one another in `frames`.
    pub fn classify_video(
        &self,
        frames: Vec<f32>,
        labels: &LabelEmbeddings,
    ) -> Result<JsValue, JsValue> {
        let width = self.predictor.model().config().embed_dim;
        let frames: Vec<Vec<f32>> = frames.chunks(width).map(<[f32]>::to_vec).collect();
        let scores = labels.0.classify_video(&frames).map_err(CodedError::from)?;
        to_js(&scores.into_iter().map(Score::from).collect::<Vec<_>>())
    }

    /// `{ text, tokens, logProb }`. `on_token(piece?)` says whether to go on.
    pub async fn caption(
        &self,
        image: &EncodedImage,
        settings: JsValue,
        on_token: Function,
    ) -> Result<JsValue, JsValue> {
        let settings: Settings =
            serde_wasm_bindgen::from_value(settings).map_err(CodedError::from)?;
        let generate = settings.generate_options()?;
        let options = CaptionOptions {
            prefix: settings.prefix,
            generate,
        };
        let mut on_text = streamer(&on_token);
        let captions = with_turns(self.predictor.caption(&image.0, &options, &mut on_text)).await;
        let caption = single(captions.map_err(CodedError::from)?)?;
        to_js(&Text {
            text: caption.text,
            tokens: caption.tokens,
            log_prob: caption.log_prob,
        })
    }

    /// `{ answer, logProb, choices? }`, with `choices` best first. `on_token(piece?)` says whether to go on.
    pub async fn answer(
        &self,
        image: &EncodedImage,
        question: String,
        choices: Option<Vec<String>>,
        max_tokens: Option<u32>,
        on_token: Function,
    ) -> Result<JsValue, JsValue> {
        let options = limited(GenerateOptions::for_answers(), max_tokens);
        let mut on_text = streamer(&on_token);
        let answers = self.predictor.answer(
            &image.0,
            &question,
            choices.as_deref(),
            &options,
            &mut on_text,
        );
        let Answer {
            text,
            log_prob,
            choices,
        } = single(with_turns(answers).await.map_err(CodedError::from)?)?;
        let choices = choices.map(|choices| {
            choices
                .into_iter()
                .map(|choice| Choice {
                    answer: choice.answer,
                    score: choice.score,
                })
                .collect()
        });
        to_js(&AnswerText {
            answer: text,
            log_prob,
            choices,
        })
    }

    /// The image embedding, unit length.
    pub fn embed_image(&self, image: &EncodedImage) -> Result<Vec<f32>, JsValue> {
        Ok(single(image.0.embeddings().to_vec())?)
    }

    /// The text embeddings, unit length, one after the other.
    pub async fn embed_text(&self, texts: Vec<String>) -> Result<Vec<f32>, JsValue> {
        let embeddings = with_turns(self.predictor.text_embeddings(&texts))
            .await
            .map_err(CodedError::from)?;
        Ok(embeddings.concat())
    }
}

impl CocaSession {
    pub(crate) fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// A session of a model and what belongs to it.
    pub(crate) fn new(
        model: Coca,
        description: Description,
        device: Device,
    ) -> Result<Self, CodedError> {
        let Description {
            preprocess_cfg,
            tokenizer,
            coca,
            ..
        } = description;
        let info = Info {
            name: coca.name,
            revision: coca.revision,
            dtype: dtype_in_memory(&model).name().to_ascii_lowercase(),
            parameters: model.num_params() as f64,
        };
        Ok(Self {
            predictor: Predictor::new(model, tokenizer, preprocess_cfg, coca.prompts, device)?,
            info,
            self_test: coca.self_test,
        })
    }

    async fn encode_prepared(&self, image: PreparedImage) -> Result<EncodedImage, CodedError> {
        let images = [image];
        Ok(EncodedImage(
            with_turns(self.predictor.encode_images(&images)).await?,
        ))
    }

    async fn run_self_test(&self, test: &SelfTest) -> Result<f32, CodedError> {
        let failed = |what: String| CodedError::new("self-test-failed", what);
        let [height, width] = self.predictor.model().config().vision_cfg.image_size.dims();
        let rgb = SelfTest::image(height, width);
        let rgba: Vec<u8> = rgb
            .as_chunks::<3>()
            .0
            .iter()
            .flat_map(|&[r, g, b]| [r, g, b, 255])
            .collect();
        let (width, height) = (width as u32, height as u32);
        let image = self
            .encode_prepared(self.predictor.prepare_rgba(width, height, &rgba)?)
            .await?;
        let image_embedding = single(image.0.embeddings().to_vec())?;
        let text_embedding = single(self.predictor.text_embeddings(&[&test.text]).await?)?;
        test.check(&image_embedding, &text_embedding)
            .map_err(|error| failed(error.to_string()))?;
        if !test.caption.is_empty() {
            let mut go_on = |_: TextEvent<'_>| ControlFlow::Continue(());
            let caption = self
                .predictor
                .caption(&image.0, &CaptionOptions::default(), &mut go_on)
                .await?;
            let tokens = single(caption)?.tokens;
            if tokens != test.caption {
                return Err(failed(format!(
                    "the self-test's caption has the tokens {tokens:?} instead of {:?}; use another device",
                    test.caption
                )));
            }
        }
        let distances = [
            (&test.image_embedding, &image_embedding),
            (&test.text_embedding, &text_embedding),
        ];
        Ok(distances
            .into_iter()
            .map(|(a, b)| distance(a, b))
            .fold(0.0, f32::max))
    }
}

/// Passes each piece of a text on, then says that a step is over (`undefined`), and hears whether to go on.
pub(crate) fn streamer(on_token: &Function) -> impl FnMut(TextEvent<'_>) -> ControlFlow<()> {
    move |event| {
        let piece = match event {
            TextEvent::Token { piece, .. } | TextEvent::Cut { piece, .. } => piece.into(),
            TextEvent::Step => JsValue::UNDEFINED,
        };
        match on_token.call1(&JsValue::NULL, &piece) {
            Ok(go_on) if go_on.is_truthy() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// The result for the one image or text that was given.
fn single<T>(results: Vec<T>) -> Result<T, CodedError> {
    results
        .into_iter()
        .next()
        .ok_or_else(|| CodedError::new("internal", "the model returned no result"))
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b) * (a - b))
        .sum::<f32>()
        .sqrt()
}

fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(serde_wasm_bindgen::to_value(value).map_err(CodedError::from)?)
}
