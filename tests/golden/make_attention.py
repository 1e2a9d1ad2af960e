#!/usr/bin/env python3
"""Write data/attention.json: where open_clip's CoCa looks in a picture, for the models that make_golden.py wrote.

    python make_attention.py

Needs: torch, open_clip_torch 3.3.0, safetensors. Nothing is downloaded. For each model, with its first image and the
first six tokens of its first text:

  cross   [6][N]             attention of the text positions to the image tokens, mean over heads and layers
  pooler  [N][1 + patches]   attention of the image tokens to class token and patches, mean over heads; null without one
  heat    [6][patches]       cross @ pooler without the class token, each row scaled to sum to 1

The weights are those that torch.nn.MultiheadAttention itself returns (need_weights=True, average_attn_weights=True).
"""
import json
from pathlib import Path

import torch
from open_clip.coca_model import CoCa
from safetensors.torch import load_file

DATA = Path(__file__).parent / "data"
MODELS = ["tiny", "tiny_nopool", "tiny_cascade", "tiny_parallel", "tiny_quickgelu_ls", "tiny_bias"]


def recorded(model, run):
    """The attention weights of each attention module, by name, of one forward pass."""
    names = {module: name for name, module in model.named_modules()}
    weights, forward = {}, torch.nn.MultiheadAttention.forward

    def recording(self, *args, **kwargs):
        output, attention = forward(self, *args, **{**kwargs, "need_weights": True, "average_attn_weights": True})
        weights[names[self]] = attention.double()
        return output, attention

    torch.nn.MultiheadAttention.forward = recording
    try:
        with torch.no_grad():
            run()
    finally:
        torch.nn.MultiheadAttention.forward = forward
    return weights


def attention(name):
    tensors = load_file(DATA / f"model_{name}.safetensors")
    config = json.loads((DATA / f"model_{name}.json").read_text())["config"]
    model = CoCa(**config)
    model.load_state_dict({key[2:]: value for key, value in tensors.items() if key.startswith("w.")})
    # Double precision, so that the file is more exact than what is compared with it.
    model = model.double().eval()
    image, text = tensors["in.image"][:1].double(), tensors["in.text"][:1, :6]
    weights = recorded(model, lambda: model(image, text, output_labels=False))

    cross = torch.stack([value[0] for key, value in weights.items() if ".cross_attn." in key]).mean(0)
    pooler = weights.get("visual.attn_pool.attn")
    if pooler is None:
        heat = cross
    else:
        # With one pooler its first query makes the image embedding; with two all of this one's are image tokens.
        pooler = pooler[0] if "visual.attn_pool_contrastive.attn" in weights else pooler[0, 1:]
        heat = (cross @ pooler)[:, 1:]
    heat = heat / heat.sum(1, keepdim=True)
    rounded = lambda matrix: matrix if matrix is None else [[round(x, 9) for x in row] for row in matrix.tolist()]
    return {"cross": rounded(cross), "pooler": rounded(pooler), "heat": rounded(heat)}


(DATA / "attention.json").write_text(json.dumps({name: attention(name) for name in MODELS}, indent=None) + "\n")
