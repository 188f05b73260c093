"""Teaches the small base model by phantoms: first its autoencoder, then its UNet and text encoder together."""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import repeat

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline
from diffusers.optimization import get_cosine_schedule_with_warmup
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from canicor import phantom
from canicor.manifest import Origin
from canicor.memory import FILMS, keep_freed_memory
from canicor.pipeline import PAPER_CLASS_PROMPT, PAPER_PROMPT, PipelineInfo, WeightedPrompts, prompts
from canicor.text_to_image import mixed
from canicor.vhs import heart_size
from training.dataset import Progress
from training.fitting import moving_average
from training.generator import base
from training.generator.denoising import Denoising
from training.processes import reproducible

LOWEST_VHS, HIGHEST_VHS = 6.0, 13.0
"""Of the phantoms that teach, drawn evenly between: the rare hearts are shown as often as the others."""

# Of what the autoencoder is held to beside the pixels: edges, and latents near a normal distribution.
_EDGES_WEIGHT, _NORMAL_WEIGHT = 1.0, 1e-4

_WARM_UP = 0.05

Done = Callable[[int, int], None]
"""Told how many steps are done, and how many there are."""

_NO_TEXT, _NO_SIZE, _CLASS = 0.1, 0.1, 0.25
"""Shares of the images that are shown without any text, or without the size of the heart, for guidance to lead
away from; and with the study's prompt for its class. The others are shown with their VHS."""


@dataclass(frozen=True)
class Fitting:
    """How a part is fitted.

    Attributes:
        epochs: Passes over the phantoms.
        learning_rate: The highest, of AdamW.
    """

    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class BaseRecipe:
    """How the base model is taught.

    Attributes:
        phantoms: Drawn for it.
        autoencoder: First.
        denoiser: UNet and text encoder, then.
        batch_size: Images a step.
        averaging: What the moving average of UNet and text encoder keeps of itself at a step in the end.
    """

    phantoms: int = 10_000
    autoencoder: Fitting = Fitting(2, 2e-3)
    denoiser: Fitting = Fitting(8, 5e-4)
    batch_size: int = 16
    averaging: float = 0.999


@dataclass(frozen=True)
class Phantoms:
    """What the base model sees.

    Attributes:
        pixels: uint8 [N, HEIGHT, WIDTH].
        vhs: float64 [N].
    """

    pixels: NDArray[np.uint8]
    vhs: NDArray[np.float64]

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in lower-case hexadecimal."""
        return hashlib.sha256(self.pixels.tobytes() + self.vhs.tobytes()).hexdigest()


def draw(count: int, seed: int, progress: Progress) -> Phantoms:
    """Draws phantoms 0 to `count` - 1 of a seed, on all cores."""
    # A fork of a program that has threads, as PyTorch's, may wait for one that is not there.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(os.cpu_count(), spawn, keep_freed_memory, (FILMS,))
    pixels, vhs = np.empty((count, base.HEIGHT, base.WIDTH), np.uint8), np.empty(count)
    with pool as workers:
        drawn = workers.map(_draw, repeat(seed), range(count), chunksize=8)
        for index, (pixels[index], vhs[index]) in enumerate(drawn):
            progress("Drawing phantoms", index + 1, count)
    return Phantoms(pixels, vhs)


def _draw(seed: int, index: int) -> tuple[NDArray[np.uint8], float]:
    wanted = (LOWEST_VHS, HIGHEST_VHS)
    one = phantom.draw(seed, index, width=base.WIDTH, height=base.HEIGHT, vhs_range=wanted, fixed=base.FILM)
    return np.asarray(one.pixels), one.vhs


def teach(phantoms: Phantoms, recipe: BaseRecipe, seed: int, progress: Progress) -> StableDiffusionPipeline:
    """Returns a base model; on one CPU the same arguments give the same weights."""
    reproducible(on_cpu=True)
    pipeline = base.untaught(seed)
    generator = Generator().manual_seed(seed)
    pixels = torch.from_numpy(phantoms.pixels)[:, None]
    _fit_autoencoder(pipeline.vae, pixels, recipe, generator, partial(progress, "Teaching the autoencoder"))
    latents = _latents(pipeline.vae, pixels, recipe.batch_size)
    factor = float(1.0 / latents.std())
    pipeline.vae.register_to_config(scaling_factor=factor)
    _fit_denoiser(
        pipeline, factor * latents, phantoms.vhs, recipe, generator, partial(progress, "Teaching the UNet")
    )
    return pipeline


def info(phantoms: Phantoms, recipe: BaseRecipe, seed: int) -> PipelineInfo:
    """Returns how the base model is asked, and how it was made. Arguments as of `teach`."""
    return PipelineInfo(
        prompt=base.PROMPT,
        lowest_vhs=LOWEST_VHS,
        highest_vhs=HIGHEST_VHS,
        width=base.WIDTH,
        height=base.HEIGHT,
        steps=20,
        guidance_scale=4.0,
        training_origins=(Origin.PHANTOM,),
        training_dataset_digest=phantoms.digest,
        training_plan={"seed": seed, **asdict(recipe)},
        create_time=datetime.now(UTC),
    )


def _fit_autoencoder(
    autoencoder: AutoencoderKL, pixels: Tensor, recipe: BaseRecipe, generator: Generator, done: Done
) -> None:
    rows, columns = (side // 2 for side in pixels.shape[-2:])

    def loss(batch: Tensor) -> Tensor:
        # Of each batch a quarter, at a place drawn by chance: what it learns to draw is smaller than that.
        top, left = (int(torch.randint(side + 1, (), generator=generator)) for side in (rows, columns))
        images = _scaled(pixels[batch, :, top : top + rows, left : left + columns])
        posterior = autoencoder.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        shown = autoencoder.decode(posterior.mean + posterior.std * noise).sample
        normal = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        edges = sum(F.l1_loss(shown.diff(dim=side), images.diff(dim=side)) for side in (-1, -2))
        whole: Tensor = F.l1_loss(shown, images) + _EDGES_WEIGHT * edges + _NORMAL_WEIGHT * normal
        return whole

    for _ in _steps(autoencoder, len(pixels), recipe.autoencoder, recipe.batch_size, loss, generator, done):
        pass


def _fit_denoiser(
    pipeline: StableDiffusionPipeline,
    latents: Tensor,
    vhs: NDArray[np.float64],
    recipe: BaseRecipe,
    generator: Generator,
    done: Done,
) -> None:
    denoising = Denoising(DDPMScheduler.from_config(pipeline.scheduler.config))
    learning = nn.ModuleList([pipeline.unet, pipeline.text_encoder])
    average = moving_average(learning, recipe.averaging)

    def asked(index: int, chance: float) -> WeightedPrompts:
        if chance < _NO_TEXT:
            return (("", 1.0),)
        if chance < _NO_TEXT + _NO_SIZE:
            return ((PAPER_CLASS_PROMPT, 1.0),)
        if chance < _NO_TEXT + _NO_SIZE + _CLASS:
            return prompts(PAPER_PROMPT, token=heart_size(float(vhs[index])).value)
        return prompts(base.PROMPT, vhs=float(vhs[index]))

    def loss(batch: Tensor) -> Tensor:
        chances = torch.rand(len(batch), generator=generator)
        words = mixed(pipeline, [asked(*one) for one in zip(batch.tolist(), chances.tolist(), strict=True)])
        return denoising.losses(
            lambda noisy, steps: pipeline.unet(noisy, steps, words["prompt_embeds"]).sample,
            latents[batch],
            generator,
        ).mean()

    for _ in _steps(learning, len(latents), recipe.denoiser, recipe.batch_size, loss, generator, done):
        average.update_parameters(learning)
    learning.load_state_dict(average.module.state_dict())


def _steps(
    learning: nn.Module,
    count: int,
    fitting: Fitting,
    batch_size: int,
    loss: Callable[[Tensor], Tensor],
    generator: Generator,
    done: Done,
) -> Iterator[None]:
    """Minimises a loss of batches of indices, and yields after each step."""
    total = fitting.epochs * (count // batch_size)
    optimizer = AdamW(learning.parameters(), fitting.learning_rate)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(_WARM_UP * total), total)
    learning.train()
    for step in range(total):
        place = step % (count // batch_size)
        if place == 0:
            order = torch.randperm(count, generator=generator)
        optimizer.zero_grad()
        loss(order[place * batch_size :][:batch_size]).backward()
        nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        done(step + 1, total)
        yield
    learning.eval()


@torch.no_grad()
def _latents(autoencoder: AutoencoderKL, pixels: Tensor, batch_size: int) -> Tensor:
    """Returns the latents [N, channels, rows, columns], unscaled: the middle of what each may be."""
    return torch.cat([autoencoder.encode(_scaled(batch)).latent_dist.mean for batch in pixels.split(batch_size)])


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1.0
