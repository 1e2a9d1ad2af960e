#!/usr/bin/env python3
"""Write golden references of the optimiser: Adafactor's updates, and which parameters a frozen tower leaves to learn.

    python make_optimizer_golden.py OUT_DIR

Needs: torch, transformers 4.56 (`transformers.optimization.Adafactor`), open_clip_torch 3.3.0. Writes optimizer.json:

  adafactor   cases of {settings, parameters: [{shape, start, gradients, after}]}: values after each of the updates
  locked      for `image` and `text`, by the number of unlocked groups, the names that still learn
"""
import json, math, sys, types
from pathlib import Path

import torch
import transformers.optimization as optimization
from open_clip.coca_model import CoCa

from make_golden import cfg

STEPS = 6
SHAPES = [[6, 4], [5], [4, 3, 2, 2], [1]]


def adafactor(name, beta1, weight_decay, cap):
    # transformers has no upper limit for the second moment's decay, 1 - t^-0.8; the CoCa paper's is 0.999.
    optimization.math = types.SimpleNamespace(pow=lambda t, d: max(math.pow(t, d), 1.0 - cap), sqrt=math.sqrt)
    g = torch.Generator().manual_seed(11)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=g)) for shape in SHAPES]
    rows = [dict(shape=shape, start=p.detach().flatten().tolist(), gradients=[], after=[])
            for shape, p in zip(SHAPES, parameters)]
    rates = [0.02 * (s + 1) for s in range(STEPS)]
    optimizer = optimization.Adafactor(parameters, lr=1.0, beta1=beta1, weight_decay=weight_decay,
                                       scale_parameter=False, relative_step=False)
    for s in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rates[s]
        for p, row in zip(parameters, rows):
            p.grad = torch.randn(p.shape, generator=g) * (10.0 if s == 3 else 0.3)
            row["gradients"].append(p.grad.flatten().tolist())
        optimizer.step()
        for p, row in zip(parameters, rows):
            row["after"].append(p.detach().flatten().tolist())
    return dict(name=name, beta1=beta1 or 0.0, beta2=cap, weight_decay=weight_decay, rates=rates, parameters=rows)


def locked(tower):
    names = {}
    for groups in range(6):
        model = CoCa(**cfg("tiny"))
        getattr(model, "visual" if tower == "image" else "text").lock(groups)
        names[str(groups)] = sorted(n for n, p in model.named_parameters() if p.requires_grad)
    return names


if __name__ == "__main__":
    out = Path(sys.argv[1])
    (out / "optimizer.json").write_text(json.dumps(dict(
        adafactor=[adafactor("paper", 0.9, 0.01, 0.999), adafactor("no momentum", None, 0.0, 0.999),
                   adafactor("capped", 0.9, 0.1, 0.3)],
        locked={tower: locked(tower) for tower in ("image", "text")})))
