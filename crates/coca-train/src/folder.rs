//! Model folders on disk.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use coca_model::Coca;
use coca_model::tasks::{CaptionOptions, Predictor};
use coca_model::weights::{
    Adapted, Description, Dtype, LoadOptions, ModelFolder, ModelLoader, SelfTest, ShardIndex,
    TensorEntry, adapt, expected,
};
use pollster::block_on;

use crate::disk::{replace_folder, write_file};

/// Room for half precision in the distance of unit vectors.
const SELF_TEST_TOLERANCE: f32 = 0.02;

/// Reads a model folder.
pub fn read(folder: &Path) -> Result<ModelFolder> {
    if !folder.is_dir() {
        bail!(
            "{} is not a folder; a model folder holds {} and weights",
            folder.display(),
            ModelFolder::CONFIG
        );
    }
    ModelFolder::from_files(|name| read_file(&folder.join(name)))
        .with_context(|| format!("in the model folder {}", folder.display()))
}

/// The model of a folder, ready to use, and notes on what had to be changed to load it. Weights in safetensors files
/// are read piece by piece, so that they are in memory once.
pub fn open(folder: &Path, device: &Device) -> Result<(Predictor, Vec<String>)> {
    let is_there = |name: &&str| folder.join(name).is_file();
    let weights = ModelFolder::WEIGHTS.into_iter().find(is_there);
    let Some(weights) = weights.filter(|name| name.contains("safetensors")) else {
        // A PyTorch checkpoint, or nothing, of which the reader has more to say.
        let model = read(folder)?;
        return Ok((predictor(&model, device)?, fitted(&model, device)?.notes));
    };
    let description = Description::from_files(|name| read_file(&folder.join(name)))?;
    let mut loader = ModelLoader::new(description, device)?;
    let files = match read_file(&folder.join(ShardIndex::FILE))? {
        Some(index) if weights == ShardIndex::FILE => {
            let index = ShardIndex::from_json(&index)?;
            index.files().into_iter().map(str::to_owned).collect()
        }
        _ => vec![weights.to_owned()],
    };
    for name in files {
        let path = folder.join(&name);
        let reading = || format!("reading {}", path.display());
        let mut source = std::fs::File::open(&path).with_context(reading)?;
        let mut file = loader.begin(&name, false);
        let mut piece = vec![0; 1 << 20];
        loop {
            let length = source.read(&mut piece).with_context(reading)?;
            match piece.get(..length).filter(|bytes| !bytes.is_empty()) {
                Some(bytes) => loader.push(&mut file, bytes)?,
                None => break,
            }
        }
        loader.close(file)?;
    }
    let (model, description, notes) = loader.finish()?;
    let predictor = Predictor::new(
        model,
        description.tokenizer,
        description.preprocess_cfg,
        description.coca.prompts,
        device.clone(),
    )?;
    Ok((predictor, notes))
}

/// The contents of a file, or none if there is no such file.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(anyhow::Error::from(error).context(format!("reading {}", path.display())))
        }
    }
}

/// Writes a model folder: everything goes into a temporary folder beside it, which then takes its place, so that
/// `folder` is always whole.
pub fn write(
    model: &ModelFolder,
    folder: &Path,
    dtype: Option<Dtype>,
    shard_bytes: u64,
) -> Result<()> {
    replace_folder(folder, |temporary| {
        model.write(dtype, shard_bytes, |name, bytes| -> Result<()> {
            write_file(&temporary.join(name), bytes)
        })
    })
}

/// The model of a folder, ready to use.
pub fn predictor(model: &ModelFolder, device: &Device) -> Result<Predictor> {
    let (tokenizer, preprocess) = (model.tokenizer.clone(), model.preprocess_cfg.clone());
    Ok(Predictor::new(
        model.model(device)?,
        tokenizer,
        preprocess,
        model.coca.prompts.clone(),
        device.clone(),
    )?)
}

/// The weights under the names and shapes that the folder's configuration asks for, with notes on what had to change.
/// They are as open_clip stores them.
pub fn fitted(model: &ModelFolder, device: &Device) -> Result<Adapted> {
    let [rows, columns] = model.model_cfg.vision_cfg.grid();
    let expected = expected(&Coca::new(&model.model_cfg, device)?);
    let mut fitted = adapt(
        &model.weights,
        &expected,
        &LoadOptions {
            grid: Some((rows, columns)),
            ..LoadOptions::default()
        },
    )?;
    for name in ["logit_scale", "logit_bias"] {
        if let Some(tensor) = fitted
            .weights
            .get(name)
            .filter(|tensor| tensor.shape() == [1])
        {
            let scalar = TensorEntry::new(tensor.dtype(), Vec::new(), tensor.bytes().to_vec())?;
            fitted.weights.insert(name, scalar);
        }
    }
    Ok(fitted)
}

/// What the model makes of the test image and a text, for a browser to compare with.
pub fn self_test(model: &ModelFolder, device: &Device) -> Result<SelfTest> {
    let predictor = predictor(model, device)?;
    let [height, width] = model.model_cfg.vision_cfg.image_size.dims();
    let rgb = SelfTest::image(height, width);
    let rgba: Vec<u8> = rgb
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|&[r, g, b]| [r, g, b, 255])
        .collect();
    let image = predictor.prepare_rgba(u32::try_from(width)?, u32::try_from(height)?, &rgba)?;
    let image = block_on(predictor.encode_images(&[image]))?;
    let text = "a photo of a dog".to_owned();
    let text_embedding = block_on(predictor.text_embeddings(&[&text]))?;
    let go_on = &mut |_: coca_model::tasks::TextEvent<'_>| ControlFlow::Continue(());
    let caption = block_on(predictor.caption(&image, &CaptionOptions::default(), go_on))?;
    Ok(SelfTest {
        text,
        image_embedding: image.embeddings().concat(),
        text_embedding: text_embedding.concat(),
        caption: caption
            .into_iter()
            .flat_map(|caption| caption.tokens)
            .collect(),
        tolerance: SELF_TEST_TOLERANCE,
    })
}
