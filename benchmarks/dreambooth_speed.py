"""DreamBooth beside diffusers' own script: `python benchmarks/dreambooth_speed.py SCRIPT`.

SCRIPT is diffusers' examples/dreambooth/train_dreambooth.py, which is not part of its package. Both fine-tune the
small base model with weights drawn by chance, an autoencoder of three channels in it as the script needs, on the
same phantoms with the study's settings: batches of two beside two class images, 8-bit Adam, a cosine schedule, the
UNet in full; in 32-bit floats, since there is no GPU. A run of each is taken twice, with few steps and with more:
what start and end take falls out of the seconds a step; it varies by a second, so many steps lie between. The two
take turns. Takes eight minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from diffusers import AutoencoderKL

from canicor.phantom.folder import IMAGES, MANIFEST, Order, write
from canicor.pipeline import PAPER_CLASS_PROMPT
from canicor.vhs import HeartSize
from training.generator import base

SIDE = 128
CLINIC_IMAGES, CLASS_IMAGES = 60, 12
FEW, MORE = 10, 160
BATCH = 2
PROMPT = f"photo of {HeartSize.LARGE} Cardiovascular Thoracic radiograph x-ray"


def pipeline(folder: Path) -> Path:
    """Writes the small base model, its weights drawn by chance, with three channels, and returns where."""
    made = base.untaught(0)
    made.vae = AutoencoderKL.from_config({**made.vae.config, "in_channels": 3, "out_channels": 3})
    made.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


def phantoms(folder: Path, count: int, seed: int) -> Path:
    """Writes phantoms and their manifest, and returns the folder."""
    write(folder, count, Order(seed, size=(SIDE, SIDE)), lambda: None)
    return folder


def ours(model: Path, rows: Path, steps: int) -> list[str]:
    settings = {
        "pipeline": model,
        "prompt": PROMPT,
        "width": SIDE,
        "height": SIDE,
        "steps": steps,
        "batch_size": BATCH,
        "class_images": CLASS_IMAGES,
        "precision": "no",
        "checkpoint_steps": 10**6,
        "validation_steps": 0,
    }
    asked = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "canicor.cli", "train", "generator", str(rows), "--name", "speed", *asked]


def theirs(folder: Path, model: Path, script: Path, steps: int) -> list[str]:
    settings = {
        "pretrained_model_name_or_path": model,
        "instance_data_dir": folder / "clinic" / IMAGES,
        "class_data_dir": folder / "class" / IMAGES,
        "instance_prompt": PROMPT,
        "class_prompt": PAPER_CLASS_PROMPT,
        "num_class_images": CLASS_IMAGES,
        "resolution": SIDE,
        "train_batch_size": BATCH,
        "max_train_steps": steps,
        "learning_rate": 5e-6,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 0,
        "mixed_precision": "no",
        "checkpointing_steps": 10**6,
        "seed": 0,
        "output_dir": folder / "theirs",
    }
    asked = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(script), "--with_prior_preservation", "--use_8bit_adam", *asked]


def seconds_a_step(command: Callable[[int], list[str]], environment: dict[str, str]) -> float:
    taken = []
    for steps in (FEW, MORE):
        began = time.perf_counter()
        subprocess.run(command(steps), env=environment, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return (taken[1] - taken[0]) / (MORE - FEW)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares DreamBooth with diffusers' own script.")
    parser.add_argument("script", type=Path, help="diffusers' train_dreambooth.py")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, clinic = pipeline(folder), phantoms(folder / "clinic", CLINIC_IMAGES, 71)
        phantoms(folder / "class", CLASS_IMAGES, 72)
        rows = clinic / MANIFEST
        environment = {**os.environ, "CANICOR_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
        # What makes the class images once.
        subprocess.run(ours(model, rows, 1), env=environment, check=True, capture_output=True)
        pairs = [
            (
                seconds_a_step(lambda steps: ours(model, rows, steps), environment),
                seconds_a_step(lambda steps: theirs(folder, model, asked.script, steps), environment),
            )
            for _ in range(asked.rounds)
        ]
    own, other = (median(some) for some in zip(*pairs, strict=True))
    print(f"a step takes {1000 * own:.0f} ms here, {1000 * other:.0f} ms in diffusers' script")
    ratio = median(theirs / ours for ours, theirs in pairs)
    print(f"throughput: {ratio:.2f} times diffusers' ({', '.join(f'{b / a:.2f}' for a, b in pairs)})")
    sys.exit(ratio < 1)


if __name__ == "__main__":
    main()
