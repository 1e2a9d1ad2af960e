#!/usr/bin/env python3
"""How fast webdataset and torchvision load the samples that `coca-train data bench` loads, with open_clip's transforms.

    python loader_benchmark.py --shards 'train-{00000..00003}.tar' --samples 2000 --image-size 224

Prints one JSON object. One process, one thread: what a data worker of open_clip does. Exit code 77: a package is not
installed. Needs webdataset, torch, torchvision and open_clip_torch==3.3.0 (for its tokenizer and transforms).
"""

import argparse
import json
import sys
import time

NOT_INSTALLED = 77
try:
    import open_clip
    import torch
    import webdataset
    from open_clip.transform import image_transform
except ImportError as error:
    print(f"skipped: {error}; pip install open_clip_torch==3.3.0 webdataset", file=sys.stderr)
    sys.exit(NOT_INSTALLED)


def texts(sample):
    """The first caption, or else the label, of a sample as our packs have them."""
    if "txt" in sample:
        return sample["txt"].decode()
    metadata = json.loads(sample.get("json", b"{}"))
    captions = metadata.get("captions") or [str(metadata.get("label", ""))]
    return captions if isinstance(captions, str) else captions[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()

    torch.set_num_threads(1)
    transform = image_transform(args.image_size, is_train=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    images = "jpg;png;jpeg;webp"

    def prepare(sample):
        image = next(sample[key] for key in images.split(";") if key in sample)
        return transform(image), tokenizer(texts(sample))[0]

    data = webdataset.WebDataset(args.shards, shardshuffle=100, seed=0, empty_check=False)
    pairs = data.repeat().shuffle(1000).decode("pilrgb", only=images.split(";")).map(prepare)
    batches = iter(pairs.batched(args.batch_size, partial=False))
    next(batches)
    steps = -(-args.samples // args.batch_size)
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    samples = steps * args.batch_size
    print(json.dumps({
        "data": args.shards,
        "samples": samples,
        "image_size": args.image_size,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "samples_per_second_per_core": samples / seconds,
    }))


if __name__ == "__main__":
    main()
