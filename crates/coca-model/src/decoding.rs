//! Decoding with a key–value cache of fixed capacity.

use burn::tensor::{Bool, Int, Tensor, TensorData};

use coca_kernels::{Recording, overwrite};

use crate::{
    Coca, Error, Result,
    nn::{KeyValues, Mask, Place},
};

/// Everything that one batch of growing texts keeps between steps.
///
/// Buffers are allocated once for `capacity` tokens, and the image's keys and values are projected once, so that a
/// step costs one token through both text decoders and every step has the same shapes.
#[derive(Clone, Debug)]
pub struct DecodeState {
    unimodal: Vec<KeyValues>,
    multimodal: Vec<KeyValues>,
    image: Vec<KeyValues>,
    /// What was fed so far, for the padding mask; all rows have the same length.
    history: Vec<Vec<u32>>,
    capacity: usize,
}

impl DecodeState {
    /// Number of tokens fed to every row so far.
    pub fn len(&self) -> usize {
        self.history.first().map_or(0, Vec::len)
    }

    /// Whether nothing has been fed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of texts.
    pub fn rows(&self) -> usize {
        self.history.len()
    }

    fn remember(&mut self, tokens: &[Vec<u32>]) {
        for (history, row) in self.history.iter_mut().zip(tokens) {
            history.extend_from_slice(row);
        }
    }

    /// Row i continues from what was row `rows[i]`; rows may be repeated, dropped and reordered (beam search).
    ///
    /// # Errors
    /// [`Error::Input`] when a row does not exist, or none is kept.
    pub fn select(&mut self, rows: &[usize]) -> Result<()> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.rows()) {
            return Err(Error::Input(format!(
                "row {row} of {} was selected",
                self.rows()
            )));
        }
        if rows.is_empty() {
            return Err(Error::Input("no row was selected".into()));
        }
        if rows.iter().copied().eq(0..self.rows()) {
            return Ok(());
        }
        self.history = rows.iter().map(|&row| self.history[row].clone()).collect();
        for cache in [&mut self.unimodal, &mut self.multimodal, &mut self.image]
            .into_iter()
            .flatten()
        {
            *cache = cache.clone().pick(rows);
        }
        Ok(())
    }
}

/// A step of decoding that is run again and again. It belongs to one model and one state, which has to outlive it.
#[derive(Debug, Default)]
pub(crate) enum Step {
    /// There was none yet.
    #[default]
    Untried,
    /// Not on this device.
    Impossible,
    Recorded(Box<Recorded>),
}

#[derive(Debug)]
pub(crate) struct Recorded {
    recording: Recording,
    /// `[rows, 1]`, to be overwritten before each run.
    ids: Tensor<2, Int>,
    /// How many tokens are in the caches, to be overwritten too.
    place: Tensor<1, Int>,
    /// `[rows, vocabulary]`, of the last run.
    logits: Tensor<2>,
}

impl Coca {
    /// Begins one text for each picture of `image_tokens` `[B, N, D]`, of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Input`] when `capacity` is 0 or beyond the context length.
    pub fn start_decoding(&self, image_tokens: Tensor<3>, capacity: usize) -> Result<DecodeState> {
        let limit = self.config().text_cfg.context_length;
        if capacity == 0 || capacity > limit {
            return Err(Error::Input(format!(
                "a text of {capacity} tokens was asked for; the model writes 1 to {limit}"
            )));
        }
        let (rows, device) = (image_tokens.dims()[0], image_tokens.device());
        Ok(DecodeState {
            unimodal: self.text.empty_caches(rows, capacity, &device),
            multimodal: self.text_decoder.empty_caches(rows, capacity, &device),
            image: self
                .text_decoder
                .split(self.text_decoder.image_keys_values(image_tokens)),
            history: vec![Vec::new(); rows],
            capacity,
        })
    }

    /// Feeds the same number of tokens to every row and returns the logits after the last one,
    /// `[rows, vocabulary]`.
    ///
    /// Equal to the uncached forward pass over the whole text so far, padding mask included.
    ///
    /// # Errors
    /// [`Error::Input`] when rows are missing, differ in length, overrun the capacity or hold an unknown token.
    pub fn decode(&self, tokens: &[Vec<u32>], state: &mut DecodeState) -> Result<Tensor<2>> {
        let new = self.check_tokens(tokens, state)?;
        let start = state.len();
        state.remember(tokens);
        let device = self.logit_scale.val().device();
        let ids: Vec<i32> = tokens.iter().flatten().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), new]), &device);
        let (unimodal, multimodal) = self.decoding_masks(state, start, &device);

        let [unimodal, multimodal] = [unimodal, multimodal].map(|mask| Place::Known(start, mask));
        Ok(self.decode_at(ids, state, &unimodal, &multimodal))
    }

    /// [`Self::decode`], by running a recorded step again where the device can: one token a row, behind others. Until the
    /// next step the device keeps the logits.
    pub(crate) fn decode_again(
        &self,
        tokens: &[Vec<u32>],
        state: &mut DecodeState,
        step: &mut Step,
    ) -> Result<Tensor<2>> {
        let new = self.check_tokens(tokens, state)?;
        let pad = self.config().text_cfg.pad_id;
        let padded = |rows: &[Vec<u32>]| rows.iter().flatten().any(|&id| id == pad);
        // What hides padding is a mask, which a recorded step has none of.
        if new != 1 || state.is_empty() || padded(tokens) || padded(&state.history) {
            return self.decode(tokens, state);
        }
        if matches!(step, Step::Untried) {
            *step = match self.record(state) {
                Some(recorded) => Step::Recorded(Box::new(recorded)),
                None => Step::Impossible,
            };
        }
        let Step::Recorded(recorded) = step else {
            return self.decode(tokens, state);
        };
        let ids: Vec<i32> = tokens.iter().flatten().map(|&id| id as i32).collect();
        let written =
            overwrite(&recorded.ids, &ids) && overwrite(&recorded.place, &[state.len() as i32]);
        if !written || !recorded.recording.is_of_this_thread() {
            *step = Step::Impossible;
            return self.decode(tokens, state);
        }
        state.remember(tokens);
        recorded.recording.run().map_err(Error::Device)?;
        Ok(recorded.logits.clone())
    }

    /// A step behind what `state` has.
    #[allow(unsafe_code, reason = "see there")]
    fn record(&self, state: &mut DecodeState) -> Option<Recorded> {
        let device = self.logit_scale.val().device();
        let ids = vec![0i32; state.rows()];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [state.rows(), 1]), &device);
        let place = [state.len() as i32];
        let place = Tensor::<1, Int>::from_data(TensorData::new(place.to_vec(), [1]), &device);
        let at = Place::OnDevice(place.clone());
        let work = || self.decode_at(ids.clone(), state, &at, &at);
        // SAFETY: the result has the ids and the place, its owner the state and a borrow of this model, which is not
        // changed meanwhile.
        let (recording, logits) = unsafe { Recording::new(&place, work) }?;
        Some(Recorded {
            recording,
            ids,
            place,
            logits,
        })
    }

    /// The logits after the last of `ids` `[rows, n]`, which stand at a place of each decoder.
    fn decode_at(
        &self,
        ids: Tensor<2, Int>,
        state: &mut DecodeState,
        unimodal: &Place,
        multimodal: &Place,
    ) -> Tensor<2> {
        let new = ids.dims()[1];
        let x = self.text.decode(ids, &mut state.unimodal, unimodal);
        let x = self
            .text_decoder
            .decode(x, &mut state.multimodal, &state.image, multimodal);
        let last = x.narrow(1, new - 1, 1).squeeze_dim::<2>(1);
        self.text_decoder.logits(last)
    }

    fn check_tokens(&self, tokens: &[Vec<u32>], state: &DecodeState) -> Result<usize> {
        let new = tokens.first().map_or(0, Vec::len);
        let vocabulary = self.config().text_cfg.vocab_size;
        if tokens.len() != state.rows() || new == 0 || tokens.iter().any(|row| row.len() != new) {
            return Err(Error::Input(format!(
                "{} rows of tokens were fed to {} texts; each needs the same number, at least one",
                tokens.len(),
                state.rows()
            )));
        }
        if state.len() + new > state.capacity {
            return Err(Error::Input(format!(
                "the text outgrew its capacity of {} tokens ({} were fed, {new} more came)",
                state.capacity,
                state.len()
            )));
        }
        match tokens
            .iter()
            .flatten()
            .find(|&&id| id as usize >= vocabulary)
        {
            Some(id) => Err(Error::Input(format!(
                "token {id} is outside the vocabulary of {vocabulary}"
            ))),
            None => Ok(new),
        }
    }

    /// Hides the future, and in the unimodal decoder the padding.
    fn decoding_masks(
        &self,
        state: &DecodeState,
        start: usize,
        device: &burn::tensor::Device,
    ) -> (Mask, Mask) {
        let (rows, end, capacity) = (state.rows(), state.len(), state.capacity);
        let new = end - start;
        let (pad, shift) = (self.config().text_cfg.pad_id, self.text.pad_shift());
        let future = |query: usize, key: usize| key > start + query;
        let padded = |row: usize, key: usize| {
            key.checked_sub(shift)
                .and_then(|at| state.history[row].get(at))
                .is_some_and(|&id| id == pad)
        };
        if !state.history.iter().flatten().any(|&id| id == pad) {
            return (Mask::Causal, Mask::Causal);
        }
        let unimodal: Vec<bool> = (0..rows)
            .flat_map(|row| (0..new).map(move |query| (row, query)))
            .flat_map(|(row, query)| (0..capacity).map(move |key| (row, query, key)))
            .map(|(row, query, key)| future(query, key) || padded(row, key))
            .collect();
        let unimodal = TensorData::new(unimodal, [rows, 1, new, capacity]);
        let unimodal = Tensor::<4, Bool>::from_data(unimodal, device);
        (Mask::Hidden(unimodal), Mask::Causal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use burn::tensor::{Device, Distribution};

    fn model() -> (Coca, Tensor<3>) {
        let device = Device::flex();
        let mut config = ModelConfig::preset("coca_tiny").unwrap();
        config.vision_cfg.layers = 1;
        let model = Coca::new(&config, &device).unwrap();
        let tokens = Tensor::random([2, 16, 192], Distribution::Normal(0.0, 1.0), &device);
        (model, tokens)
    }

    fn logits(model: &Coca, tokens: &[Vec<u32>], state: &mut DecodeState) -> Vec<f32> {
        model
            .decode(tokens, state)
            .unwrap()
            .into_data()
            .try_into_vec_as()
            .unwrap()
    }

    #[test]
    fn selected_rows_continue_as_themselves() {
        let (model, image) = model();
        let mut state = model.start_decoding(image.clone(), 8).unwrap();
        logits(&model, &[vec![5, 6], vec![7, 8]], &mut state);
        state.select(&[1, 0, 1]).unwrap();
        let mixed = logits(&model, &[vec![9], vec![9], vec![3]], &mut state);

        let mut plain = model.start_decoding(image, 8).unwrap();
        logits(&model, &[vec![5, 6], vec![7, 8]], &mut plain);
        let plain = logits(&model, &[vec![9], vec![9]], &mut plain);
        let (vocabulary, close) = (2048, |a: &[f32], b: &[f32]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
        });
        assert!(close(&mixed[..vocabulary], &plain[vocabulary..]));
        assert!(close(
            &mixed[vocabulary..2 * vocabulary],
            &plain[..vocabulary]
        ));
        assert!(!close(&mixed[2 * vocabulary..], &plain[vocabulary..]));
    }

    #[test]
    fn misuse_is_an_error() {
        let (model, image) = model();
        assert!(model.start_decoding(image.clone(), 0).is_err());
        assert!(model.start_decoding(image.clone(), 25).is_err());
        let mut state = model.start_decoding(image, 3).unwrap();
        let spoilt = [
            vec![],
            vec![vec![1]],
            vec![vec![1], vec![]],
            vec![vec![1], vec![2048]],
            vec![vec![1; 4]; 2],
        ];
        for tokens in spoilt {
            assert!(model.decode(&tokens, &mut state).is_err(), "{tokens:?}");
        }
        assert!(state.select(&[2]).is_err());
        assert!(state.select(&[]).is_err());
        assert!(state.is_empty());
    }
}
