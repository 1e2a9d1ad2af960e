"""Writes the PyTorch checkpoints that the tests of `coca_model::weights` read.

    python tests/golden/make_torch_fixtures.py tests/golden/data/torch

Made with torch 2.15.0. The attack files are harmless: the one that would run a command only creates an empty file.
"""
import os
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import torch


class Attack:
    """Runs a command when it is unpickled by a reader that runs code."""

    def __reduce__(self):
        return os.system, (f"touch {tempfile.gettempdir()}/coca-model-pickle-ran",)


def state_dict():
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5
    return OrderedDict(
        [
            ("visual.weight", torch.nn.Parameter(weight)),
            ("visual.transposed", weight.T),  # strided, shares the storage
            ("visual.view", weight[1]),  # starts inside the storage
            ("visual.half", torch.tensor([1.0, -0.25], dtype=torch.bfloat16)),
            ("logit_scale", torch.tensor(2.75)),
            ("text.ids", torch.arange(3)),
        ]
    )


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    sd = state_dict()
    torch.save(sd, out / "state_dict.bin")
    torch.save(sd, out / "legacy.pth", _use_new_zipfile_serialization=False)
    # As open_clip's training saves it under data parallelism.
    wrapped = OrderedDict(("module." + name, tensor) for name, tensor in sd.items())
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": wrapped, "optimizer": optimizer}, out / "checkpoint.pt")
    torch.save({"state_dict": Attack()}, out / "attack_system.pt")
    # One element, declared as a thousand million.
    torch.save({"w": torch.zeros(1).expand(1_000_000_000)}, out / "attack_expand.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
