//! Text about images, shared by captions and answers.

use std::ops::ControlFlow;

use super::decode::pieces;
use super::{Caption, EncodedImages, Predictor};
use crate::Result;
use crate::generate::{End, Event, GenerateOptions, TokenEvent, generate};
use crate::tokenizer::TextStream;

/// What a task reports while it writes. Breaking ends it with what is there, and nothing is reported any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TextEvent<'a> {
    /// A text grew by a token, which is final.
    Token {
        /// Which image.
        row: usize,
        /// The token, the end token included.
        id: u32,
        /// Its natural log-probability.
        log_prob: f32,
        /// The text that became certain, often none. All pieces of a row joined are its text.
        piece: &'a str,
    },
    /// A text ended without an end token, at the maximum length.
    Cut {
        /// Which image.
        row: usize,
        /// The last piece of its text.
        piece: &'a str,
    },
    /// All texts were advanced by one token: a chance to break even if none was final yet (beam search).
    Step,
}

/// The caller's callback.
pub type OnText<'a> = &'a mut dyn FnMut(TextEvent<'_>) -> ControlFlow<()>;

impl Predictor {
    /// The start token and the tokens of `text`.
    pub(super) fn prefix_ids(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.tokenizer.sot()];
        ids.extend(self.tokenizer.encode(text));
        ids
    }

    /// Continues `prefix` for every image.
    pub(super) async fn write(
        &self,
        images: &EncodedImages,
        prefix: &[u32],
        options: &GenerateOptions,
        on_text: OnText<'_>,
    ) -> Result<Vec<Caption>> {
        options.validate()?;
        let capacity = options
            .max_length
            .total(prefix.len())
            .clamp(1, self.context_length());
        let at_a_time = self.rows_at_a_time(images, capacity) / options.rows_per_image();
        let mut written: Vec<Caption> = Vec::with_capacity(images.len());
        let mut streams: Vec<Option<TextStream<'_>>> =
            vec![Some(self.tokenizer.text_stream()); images.len()];
        let mut aborted = false;
        for range in pieces(images.len(), at_a_time) {
            if aborted {
                let nothing = || Caption {
                    text: String::new(),
                    tokens: vec![],
                    log_prob: 0.0,
                    end: End::Aborted,
                };
                written.extend(range.map(|_| nothing()));
                continue;
            }
            let mut decoder = self.decoder(images, range.clone(), capacity)?;
            let mut on_event = |event| {
                let flow = match event {
                    Event::Step => on_text(TextEvent::Step),
                    Event::Token(TokenEvent { row, id, log_prob }) => {
                        let row = range.start + row;
                        let piece = push(&mut streams[row], id, self.tokenizer.eot());
                        on_text(TextEvent::Token {
                            row,
                            id,
                            log_prob,
                            piece: &piece,
                        })
                    }
                };
                aborted |= flow.is_break();
                flow
            };
            // The context length, not the capacity, so that a message names the limit that the caller set.
            let prompt = self.prompt(range.len(), prefix, self.context_length());
            let texts = generate(&mut decoder, prompt, options, &mut on_event).await?;
            for (row, text) in range.zip(texts) {
                if let Some(rest) = streams[row].take_if(|_| !aborted) {
                    aborted = on_text(TextEvent::Cut {
                        row,
                        piece: &rest.finish(),
                    })
                    .is_break();
                }
                written.push(Caption {
                    text: self.tokenizer.decode_text(text.tokens()),
                    tokens: text.tokens().to_vec(),
                    log_prob: text.log_prob,
                    end: text.end,
                });
            }
        }
        Ok(written)
    }
}

/// The text that `id` makes certain; with the end token all the rest.
fn push(stream: &mut Option<TextStream<'_>>, id: u32, end: u32) -> String {
    if id == end {
        stream.take().map(TextStream::finish).unwrap_or_default()
    } else {
        stream
            .as_mut()
            .map(|stream| stream.push(id))
            .unwrap_or_default()
    }
}
