#!/usr/bin/env python3
"""Writes a model folder as ONNX files for ONNX Runtime, from the same weights through open_clip.

    python export_onnx.py --model models/coca-tiny --out target/onnx/coca-tiny

    image.onnx         pixels [1, 3, height, width] -> embedding [1, E], tokens [1, N, D]
    text.onnx          ids [8, context] -> text_embedding [8, E]
    image_keys.onnx    tokens -> keys and values of the cross-attention, one pair a layer
    decoder.onnx       ids [1, 1], past keys and values, image keys and values -> logits [1, vocabulary], the present ones
    prefix.onnx        ids [1, L], tokens -> logits [1, vocabulary]: the whole prefix, without a cache

The decoder keeps a key-value cache, and the image's keys and values are projected once, as transformers.js's merged
decoders do. Shapes are fixed wherever they can be, and the operators are the fused ones of opset 20 (LayerNormalization,
Gelu), which ONNX Runtime is fastest at. Every file is checked against open_clip's own forward pass.

Exit code 77: open_clip or onnx is not installed. Needs open_clip_torch==3.3.0, transformers (for its tokenizers), onnx
and onnxscript.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

try:
    import onnx  # noqa: F401  (torch's exporter needs it)
    import onnxscript  # noqa: F401
    import open_clip
    import torch
    import torch.nn.functional as F
    import transformers  # noqa: F401  (open_clip imports it when it needs a tokenizer)
except ImportError as error:
    print(f"skipped: {error}; pip install open_clip_torch==3.3.0 transformers onnx onnxscript", file=sys.stderr)
    sys.exit(77)

LABELS = [
    "a photo of a dog",
    "a photo of a cat",
    "a red circle on a white background",
    "two boats in a harbour",
    "an aeroplane seen from above",
    "a drawing of a plant",
    "a steam locomotive",
    "a man riding a wave on top of a surfboard",
]
TOLERANCE = 1e-4


def split(x, heads):
    """[B, L, width] to [B, heads, L, width / heads]."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(1, 2)


def join(x):
    batch, heads, length, width = x.shape
    return x.transpose(1, 2).reshape(batch, length, heads * width)


def project(attn, x, start, end):
    """Rows start..end, in thirds, of the packed projection of queries, keys and values."""
    width = attn.embed_dim
    rows = slice(start * width, end * width)
    return F.linear(x, attn.in_proj_weight[rows], attn.in_proj_bias[rows])


def attend(attn, q, k, v, mask=None):
    """Softmax attention of split heads, and the output projection."""
    scores = (q * (q.shape[-1] ** -0.5)) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return attn.out_proj(join(scores.softmax(-1) @ v))


def self_block(block, x, mask=None, past=None):
    """One residual block; gives its keys and values too, with those of the past in front."""
    attn = block.attn
    q, k, v = project(attn, block.ln_1(x), 0, 3).chunk(3, -1)
    q, k, v = (split(part, attn.num_heads) for part in (q, k, v))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    x = x + block.ls_1(attend(attn, q, k, v, mask))
    return x + block.ls_2(block.mlp(block.ln_2(x))), (k, v)


def cross_keys(block, tokens):
    attn = block.attn
    k, v = project(attn, block.ln_1_kv(tokens), 1, 3).chunk(2, -1)
    return split(k, attn.num_heads), split(v, attn.num_heads)


def cross_block(block, x, keys):
    q = split(project(block.attn, block.ln_1(x), 0, 1), block.attn.num_heads)
    x = x + block.ls_1(attend(block.attn, q, *keys))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


class Image(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.visual = model.visual

    def forward(self, pixels):
        visual = self.visual
        x = visual.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(1, 1, -1), x], 1) + visual.positional_embedding
        x = visual.ln_pre(x)
        for block in visual.transformer.resblocks:
            x, _ = self_block(block, x)
        pooler = visual.attn_pool
        attn, x = pooler.attn, pooler.ln_k(x)
        if attn.in_proj_weight is not None:
            weights, biases = attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
        else:
            weights = (attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight)
            biases = attn.in_proj_bias.chunk(3)
        sources = (pooler.ln_q(pooler.query)[None], x, x)
        q, k, v = (split(F.linear(*part), attn.num_heads) for part in zip(sources, weights, biases))
        x = visual.ln_post(attend(attn, q, k, v))
        return F.normalize(x[:, 0] @ visual.proj, dim=-1), x[:, 1:]


class Text(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        text = self.model.text
        rows, length = ids.shape
        x = torch.cat([text.token_embedding(ids), text.cls_emb.expand(rows, 1, -1)], 1)
        x = x + text.positional_embedding[: length + 1]
        # open_clip's mask: the column of padding is shifted by one, see its issue 549.
        hidden = torch.cat([torch.zeros(rows, 1, dtype=torch.bool), ids == text.pad_id], 1)
        mask = text.attn_mask[: length + 1, : length + 1] + torch.zeros(rows, 1, 1, length + 1).masked_fill(
            hidden[:, None, None], float("-inf")
        )
        for block in text.transformer.resblocks:
            x, _ = self_block(block, x, mask)
        return F.normalize(text.ln_final(x[:, -1]) @ text.text_projection, dim=-1)


class ImageKeys(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.blocks = model.text_decoder.cross_attn

    def forward(self, tokens):
        return [part for block in self.blocks for part in cross_keys(block, tokens)]


class Decoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text, self.decoder = model.text, model.text_decoder

    def forward(self, ids, past, image):
        """`past`: keys and values of the unimodal blocks, then of the multimodal ones; `image`: of the image tokens."""
        # No text token of a caption is padding, and none sees CLS, so that a step needs no mask.
        start = past[0].shape[2]
        x = self.text.token_embedding(ids) + self.text.positional_embedding[start : start + 1]
        pairs = list(zip(past[::2], past[1::2]))
        blocks, present = self.text.transformer.resblocks, []
        for block, pair in zip(blocks, pairs):
            x, pair = self_block(block, x, past=pair)
            present += pair
        layers = zip(self.decoder.resblocks, self.decoder.cross_attn, pairs[len(blocks) :], zip(image[::2], image[1::2]))
        for block, cross, pair, keys in layers:
            x, pair = self_block(block, x, past=pair)
            present += pair
            x = cross_block(cross, x, keys)
        return self.decoder.ln_final(x[:, -1]) @ self.decoder.text_projection, present


class Prefix(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text, self.decoder = model.text, model.text_decoder

    def forward(self, ids, tokens):
        length = ids.shape[1]
        x = self.text.token_embedding(ids) + self.text.positional_embedding[:length]
        mask = self.text.attn_mask[:length, :length]
        for block in self.text.transformer.resblocks:
            x, _ = self_block(block, x, mask)
        for block, cross in zip(self.decoder.resblocks, self.decoder.cross_attn):
            x, _ = self_block(block, x, mask)
            x = cross_block(cross, x, cross_keys(cross, tokens))
        return self.decoder.ln_final(x[:, -1]) @ self.decoder.text_projection


def check(name, actual, expected):
    worst = (actual - expected).abs().max().item() / max(expected.abs().max().item(), 1e-6)
    if not worst <= TOLERANCE:
        sys.exit(f"{name} differs from open_clip by {worst:.1e}")


def write(module, arguments, path, inputs, outputs, dynamic=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            arguments,
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic,
            opset_version=20,
            dynamo=True,
            external_data=True,
            verbose=False,
        )


@torch.no_grad()
def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--model", type=Path, required=True, help="the model folder")
    arguments.add_argument("--out", type=Path, required=True, help="the folder to write")
    options = arguments.parse_args()
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{options.model.resolve()}", precision="fp32").eval()
    config = json.loads((options.model / "open_clip_config.json").read_text())["model_cfg"]
    if model.visual.attn_pool is None or getattr(model.visual, "attn_pool_contrastive", None) is not None:
        sys.exit("only models with one attentional pooler are exported")
    options.out.mkdir(parents=True, exist_ok=True)

    height, width = model.visual.image_size
    pixels = torch.randn(1, 3, height, width)
    context, vocabulary = config["text_cfg"]["context_length"], config["text_cfg"]["vocab_size"]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{options.model.resolve()}", context_length=context)
    ids = tokenizer(LABELS)

    image, text, keys, decoder, prefix = (part(model).eval() for part in (Image, Text, ImageKeys, Decoder, Prefix))
    embedding, tokens = image(pixels)
    expected = model._encode_image(pixels)
    check("image.onnx", embedding, expected[0])
    check("the image tokens", tokens, expected[1])
    check("text.onnx", text(ids), model.encode_text(ids))

    caption = torch.randint(1, vocabulary, (1, 5))
    logits = model.text_decoder(tokens, model.text(caption)[1])[:, -1]
    check("prefix.onnx", prefix(caption, tokens), logits)
    pairs = len(model.text.transformer.resblocks) + len(model.text_decoder.resblocks)
    heads = [block.attn for block in (*model.text.transformer.resblocks, *model.text_decoder.resblocks)]
    past = [torch.zeros(1, a.num_heads, 0, a.head_dim) for a in heads for _ in range(2)]
    of_image = keys(tokens)
    for at in range(caption.shape[1]):
        step, past = decoder(caption[:, at : at + 1], past, of_image)
    check("decoder.onnx", step, logits)

    write(image, (pixels,), options.out / "image.onnx", ["pixels"], ["embedding", "tokens"])
    write(text, (ids,), options.out / "text.onnx", ["ids"], ["text_embedding"])
    image_names = [f"image.{layer}.{kind}" for layer in range(len(of_image) // 2) for kind in ("key", "value")]
    write(keys, (tokens,), options.out / "image_keys.onnx", ["tokens"], image_names)
    past_names = [f"past.{layer}.{kind}" for layer in range(pairs) for kind in ("key", "value")]
    present_names = [name.replace("past", "present") for name in past_names]
    length = torch.export.Dim("past", min=0, max=context - 1)
    write(
        decoder,
        (caption[:, :1], past, of_image),
        options.out / "decoder.onnx",
        ["ids", *past_names, *image_names],
        ["logits", *present_names],
        {"ids": None, "past": [{2: length}] * len(past), "image": [None] * len(of_image)},
    )
    write(
        prefix,
        (caption, tokens),
        options.out / "prefix.onnx",
        ["ids", "tokens"],
        ["logits"],
        {"ids": {1: torch.export.Dim("length", min=1, max=context)}, "tokens": None},
    )
    description = {
        "versions": f"open_clip {open_clip.__version__}, torch {torch.__version__}",
        "image": [height, width],
        "mean": list(model.visual.image_mean),
        "std": list(model.visual.image_std),
        "context": context,
        "pad": model.pad_id,
        "past": [[a.num_heads, a.head_dim] for a in heads],
        "imageKeys": image_names,
        "labels": LABELS,
        "ids": ids.tolist(),
        "start": vocabulary - 2,
        "end": vocabulary - 1,
    }
    (options.out / "model.json").write_text(json.dumps(description, indent=1))


if __name__ == "__main__":
    main()
