#!/usr/bin/env python3
"""Model folders go both ways between coca-train and open_clip, and give the same embeddings.

    python open_clip_parity.py --coca-train target/release/coca-train --model models/coca-tiny

1. The given model folder, written by coca-train, is loaded by open_clip with strict=True, tokenizer included.
2. Random open_clip models, written as open_clip's hub folders are, are read by coca-train.

Exit code 0: everything agrees; 1: something does not; 77: open_clip is not installed, nothing was tested.
Needs open_clip_torch==3.3.0 (which brings torch, torchvision and Pillow) and transformers for its tokenizer class.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

NOT_INSTALLED = 77
try:
    import numpy
    import open_clip
    import torch
    import transformers  # noqa: F401  (open_clip imports it when it needs a tokenizer)
    from PIL import Image
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}; pip install open_clip_torch==3.3.0 transformers", file=sys.stderr)
    sys.exit(NOT_INSTALLED)

TOLERANCE = 1e-4
TEXTS = [
    "a photo of a cat",
    "Two RED circles, and it's 3 o'clock!",
    "ein süßes Kätzchen &amp; ein 🐈",
    "?",
    "a very long text that does not fit " * 12,
]
POOLER = {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 17}
# The decoder reads image tokens of its own width: embed_dim with a pooler, the image encoder's width without.
VARIANTS = {
    "pooler": {"vision_cfg": POOLER},
    "no pooler": {"embed_dim": 48, "vision_cfg": {"width": 64}},
    "quick GELU and LayerScale": {
        "quick_gelu": True,
        "vision_cfg": {**POOLER, "ls_init_value": 0.2},
        "text_cfg": {"ls_init_value": 0.2},
        "multimodal_cfg": {"ls_init_value": 0.2},
    },
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--coca-train", type=Path, required=True, help="the native command")
    arguments.add_argument("--model", type=Path, required=True, help="a model folder written by it")
    options = arguments.parse_args()

    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pictures = write_pictures(scratch)
        good = compare("the given folder", options.coca_train, options.model, pictures)
        for title, changes in VARIANTS.items():
            folder = scratch / title.replace(" ", "-")
            write_random_model(folder, changes)
            good &= compare(f"random model, {title}", options.coca_train, folder, pictures)
    return 0 if good else 1


def compare(title: str, coca_train: Path, folder: Path, pictures: list[Path]) -> bool:
    """Embeds pictures and texts with both and prints the largest difference."""
    expected_images, expected_texts = embed_with_open_clip(folder, pictures)
    try:
        images, texts = embed_with_coca_train(coca_train, folder, pictures)
    except subprocess.CalledProcessError as error:
        print(f"FAILED  {title}: coca-train embed ended with exit code {error.returncode}; see above")
        return False
    good = True
    for kind, actual, expected in [("image", images, expected_images), ("text", texts, expected_texts)]:
        if actual.shape != expected.shape:
            print(f"FAILED  {title}: {kind} embeddings {actual.shape}, open_clip {expected.shape}")
            good = False
            continue
        worst = (actual - expected).abs().max().item()
        # A NaN compares as no agreement.
        agrees = worst <= TOLERANCE
        print(f"{'ok' if agrees else 'FAILED':6}  {title}: {kind} embeddings differ by {worst:.1e} at most")
        good &= agrees
    return good


def embed_with_open_clip(folder: Path, pictures: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    source = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(source)
    model.load_state_dict(load_weights(folder), strict=True)
    model.eval()
    tokenizer = open_clip.get_tokenizer(source)
    with torch.inference_mode():
        images = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in pictures])
        return model.encode_image(images, normalize=True), model.encode_text(tokenizer(TEXTS), normalize=True)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def embed_with_coca_train(
    coca_train: Path, folder: Path, pictures: list[Path]
) -> tuple[torch.Tensor, torch.Tensor]:
    command = [coca_train, "embed", "--model", folder, "--json"]
    for text in TEXTS:
        command += ["--text", text]
    done = subprocess.run([*command, *pictures], stdout=subprocess.PIPE, check=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    images = {row["image"]: row["embedding"] for row in rows if "image" in row}
    texts = {row["text"]: row["embedding"] for row in rows if "text" in row}
    return (
        torch.tensor([images[str(path)] for path in pictures]),
        torch.tensor([texts[text] for text in TEXTS]),
    )


def write_random_model(folder: Path, changes: dict) -> None:
    """A small model with open_clip's own initialisation, written as a hub folder."""
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 96, "head_width": 16, "layers": 2},
        "text_cfg": {"context_length": 76, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
        "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
        "custom_text": True,
    }
    config["vision_cfg"]["output_tokens"] = True
    config["text_cfg"] |= {"embed_cls": True, "output_tokens": True}
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value

    torch.manual_seed(0)
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    model = open_clip.CoCa(**arguments)
    # open_clip leaves this one uninitialised.
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.02)
    folder.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def write_pictures(folder: Path) -> list[Path]:
    """Noise, a gradient and stripes, in shapes that need scaling up, scaling down and cropping."""
    random = numpy.random.default_rng(0)
    y, x = numpy.mgrid[0:301, 0:173]
    pictures = {
        "noise.png": random.integers(0, 256, (40, 57, 3)),
        "gradient.png": numpy.stack([x % 256, y * 255 // 300, 255 - x], axis=-1),
        "stripes.png": numpy.stack([(x // 3 % 2) * 255, (y // 7 % 2) * 255, (x + y) % 256], axis=-1),
        "square.png": random.integers(0, 256, (64, 64, 3)),
    }
    paths = []
    for name, pixels in pictures.items():
        paths.append(folder / name)
        Image.fromarray(pixels.astype(numpy.uint8)).save(paths[-1])
    return paths


if __name__ == "__main__":
    sys.exit(main())
