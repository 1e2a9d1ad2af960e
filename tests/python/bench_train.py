#!/usr/bin/env python3
"""Time training steps of open_clip's CoCa on the CPU with random weights, pictures and texts; prints one JSON object.

    python bench_train.py --config CONFIG [--batch 16] [--steps 7] [--warmup 2] [--threads 2]

CONFIG is one of open_clip's model names, or a JSON file with a model configuration. `cargo xtask bench train` runs this
beside `coca-train bench`, which takes the same arguments and does the same work.
"""

import argparse
import json
import os
import time

import open_clip
import torch
from open_clip.coca_model import CoCa
from open_clip.loss import CoCaLoss


def model_config(name):
    """The model configuration of a name or a file."""
    if os.path.isfile(name):
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    config = open_clip.get_model_config(name)
    if config is None:
        raise SystemExit(f"{name} is neither a file nor a model of open_clip")
    return config


def random_texts(batch, length, vocabulary):
    """SOT, tokens, EOT and padding, of random lengths."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.zeros(batch, length, dtype=torch.long)
    for text in texts:
        end = int(torch.randint(6, length - 2, (1,), generator=generator))
        text[0] = vocabulary - 2
        text[1:end] = torch.randint(1, vocabulary - 2, (end - 1,), generator=generator)
        text[end] = vocabulary - 1
    return texts


def main():
    """Builds the model and times the steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    config = model_config(args.config)
    config.pop("custom_text", None)
    model = CoCa(**config).train()
    with torch.no_grad():
        # open_clip leaves this one uninitialised.
        width = config["multimodal_cfg"]["width"]
        model.text_decoder.text_projection.normal_(std=width**-0.5)
    text = config["text_cfg"]
    length = text.get("context_length", 77)
    size = config["vision_cfg"]["image_size"]
    images = torch.randn(args.batch, 3, size, size)
    texts = random_texts(args.batch, length, text.get("vocab_size", 49408))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    loss_of = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)

    seconds = []
    loss = float("nan")
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        contrastive, caption = loss_of(**model(images, texts))
        (contrastive + caption).backward()
        optimizer.step()
        loss = caption.item() / 2.0
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "parameters": sum(p.numel() for p in model.parameters()),
                "batch": args.batch,
                "threads": args.threads,
                "seconds": seconds,
                "loss": loss,
                "versions": f"open_clip {open_clip.__version__}, PyTorch {torch.__version__}",
            }
        )
    )


if __name__ == "__main__":
    main()
