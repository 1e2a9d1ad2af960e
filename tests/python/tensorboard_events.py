"""Event files of `coca-train train` with `log.tensorboard = true`, read with the `tensorboard` package.

Trains a tiny model on pictures made here, resumes it from an earlier checkpoint, and compares what TensorBoard makes of
the two files with `metrics.jsonl`. Exits with 77, saying so, where the package is missing.
"""

import argparse
import io
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

SKIPPED = 77

MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16,
                   "attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 32, "heads": 2, "layers": 1},
    "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
}

CONFIG = """
name = "tiny"
model = "model.json"
output = "out"
steps = 4
tokenizer = "train"
log = { every = 1, checkpoint_every = 2, keep_checkpoints = 9, tensorboard = true }
loss = { contrastive = 1.0, caption = 2.0, language_model = 0.1 }
loader = { batch_size = 4, workers = 1 }
optimizer = { learning_rate = 1e-3, warmup = 1 }
data = [{ shards = "data.tar" }]
validation = [{ name = "same", shards = "data.tar", tasks = ["loss", "vqa", "captions"] }]
"""

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "grey": (128, 128, 128)}


def png(colour, size=32):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def fill(folder):
    (folder / "model.json").write_text(json.dumps(MODEL))
    (folder / "train.toml").write_text(CONFIG)
    with tarfile.open(folder / "data.tar", "w") as shard:
        for name, colour in COLOURS.items():
            record = {"captions": [f"a {name} square"], "qa": [["what colour | is it?", name]]}
            for extension, data in [("png", png(colour)), ("json", json.dumps(record).encode())]:
                member = tarfile.TarInfo(f"{name}.{extension}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coca-train", required=True, help="the coca-train binary")
    options = parser.parse_args()
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util import tensor_util
    except ImportError as error:
        print(f"skipped: no tensorboard ({error}); pip install tensorboard")
        return SKIPPED

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        fill(folder)
        train = [options.coca_train, "train", str(folder / "train.toml")]
        subprocess.run(train, check=True)
        # As if it had been killed after step 4, with step 2 saved.
        shutil.rmtree(folder / "out/checkpoints/step-00000004")
        subprocess.run([*train, "--resume"], check=True)

        files = sorted((folder / "out/tensorboard").iterdir())
        assert len(files) == 2, files
        sizes = {"scalars": 0, "tensors": 0, "images": 0}
        board = EventAccumulator(str(folder / "out/tensorboard"), size_guidance=sizes).Reload()
        lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "validation" not in line]
        assert [line["step"] for line in steps] == [1, 2, 3, 4]

        def close(event, value):
            return abs(event.value - value) <= 1e-6 * max(1.0, abs(value))

        for name in ["loss", "contrastive", "caption", "language_model", "learning_rate", "gradient_norm"]:
            events = board.Scalars(f"train/{name}")
            assert [event.step for event in events] == [1, 2, 3, 4], (name, "repeated steps are forgotten", events)
            assert all(close(event, line[name]) for event, line in zip(events, steps)), (name, events)
        [validation] = [line for line in lines if "validation" in line]
        [event] = board.Scalars("validation/same/vqa/exact_match")
        assert event.step == 4 and close(event, validation["vqa"]["exact_match"]), event

        # TensorBoard forgets numbers and images, but not text; the last is what is shown.
        table = board.Tensors("validation/same/answers")[-1]
        text = tensor_util.make_ndarray(table.tensor_proto).item().decode()
        assert "what colour \\| is it?" in text, text
        plugins = [board.SummaryMetadata(f"validation/same/{name}").plugin_data.plugin_name
                   for name in ["captions", "answers"]]
        assert plugins == ["text", "text"], plugins
        [image] = board.Images("validation/same/captions/0")
        assert (image.width, image.height) == (32, 32) and image.encoded_image_string[:2] == b"\xff\xd8"
        config = tensor_util.make_ndarray(board.Tensors("config")[-1].tensor_proto).item().decode()
        assert "learning_rate = 0.001" in config, config
    print("TensorBoard reads what was logged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
