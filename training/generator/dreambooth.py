"""Fine-tunes a text-to-image model on a clinic's radiographs, by DreamBooth (Ruiz et al. 2023)."""

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline
from diffusers.optimization import get_scheduler
from numpy.typing import NDArray
from peft import LoraConfig
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer

from canicor.errors import FailedPrecondition, InvalidArgument
from canicor.pipeline import WeightedPrompts, mixing
from canicor.text_to_image import mixed
from training.checkpoint import Checkpoint, State
from training.fitting import moving_average
from training.generator.denoising import Denoising
from training.generator.recipe import DreamBooth, Method
from training.processes import Precision, accelerator, agree, reproducible, share

_ATTENTION = ("to_k", "to_q", "to_v", "to_out.0")
"""What LoRA stands beside, as in diffusers' own script."""

_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Lesson:
    """What a model is taught.

    Attributes:
        pixels: uint8 [N, height, width]: the clinic's images.
        asked: What would ask for each, N of them.
        class_pixels: uint8 [K, height, width]: of the model as it was; none for no prior preservation.
        class_prompt: That asked for these.
    """

    pixels: NDArray[np.uint8]
    asked: Sequence[WeightedPrompts]
    class_pixels: NDArray[np.uint8]
    class_prompt: str


def fine_tune(
    pipeline: DiffusionPipeline,
    lesson: Lesson,
    recipe: DreamBooth,
    step_done: Callable[[int, float], None],
    checkpoint: Checkpoint | None = None,
) -> None:
    """Changes a pipeline's weights; on one CPU the same arguments give the same, with or without a crash between.

    What a step sees depends on the seed and its number alone: images, noise and timesteps are drawn from both.

    Args:
        pipeline: Stable Diffusion or SDXL, in 32-bit floats.
        lesson: Images and words.
        recipe: How.
        step_done: Told the number of steps done and the last one's loss; it may make images by the pipeline.
        checkpoint: Where the run takes up what an earlier one left, and what it leaves now and then.

    Raises:
        FailedPrecondition: The loss is no longer a number, or processes see different checkpoints.
        InvalidArgument: The recipe asks for what this pipeline or this machine can't do.
        DataLoss, InvalidArgument, ResourceExhausted: As `Checkpoint`.
    """
    ours = _accelerator(recipe.precision)
    reproducible(on_cpu=ours.device.type == "cpu")
    torch.manual_seed(recipe.seed)
    pipeline.to(ours.device)
    learning = _learning(pipeline, recipe)
    objective = _Objective(pipeline, lesson, recipe)
    latents, class_latents = (_Latents.of(pipeline.vae, one) for one in (lesson.pixels, lesson.class_pixels))
    optimizer = _optimizer(learning, recipe)
    schedule = get_scheduler(
        recipe.schedule, optimizer, num_warmup_steps=recipe.warm_up_steps, num_training_steps=recipe.steps
    )
    fitted = nn.ParameterList(learning)
    average = moving_average(fitted, recipe.averaging) if recipe.averaging else None
    state = State(fitted, optimizer, schedule, Generator(), average)
    done = checkpoint.resume(state) if checkpoint else 0
    agree(done, ours)
    prepared, stepper = ours.prepare(objective, optimizer)
    for step in range(done + 1, recipe.steps + 1):
        losses = []
        for place in range((step - 1) * recipe.accumulation, step * recipe.accumulation):
            chance = _seeded(recipe.seed, place, ours.process_index)
            # Of dropout, where a pipeline has any.
            torch.manual_seed(chance.initial_seed())
            rows = share(_batch(len(latents), recipe, place), ours)
            priors = share(_batch(len(class_latents), recipe, place), ours) if len(class_latents) else rows[:0]
            shown = torch.cat((latents.draw(rows, chance), class_latents.draw(priors, chance)))
            told = rows
            if recipe.prompt_dropout:
                silent = torch.rand(len(rows), generator=chance) < recipe.prompt_dropout
                told = rows.masked_fill(silent, len(latents) + 1)
            asked = torch.cat((told, torch.full_like(priors, len(latents))))
            each = prepared(shown.to(ours.device), asked, chance)
            loss = each[: len(rows)].mean()
            if len(priors):
                loss = loss + recipe.prior_weight * each[len(rows) :].mean()
            ours.backward(loss / recipe.accumulation)
            losses.append(ours.reduce(loss.detach(), "mean").item())
        ours.clip_grad_norm_(learning, _LARGEST_GRADIENT)
        stepper.step()
        stepper.zero_grad()
        schedule.step()
        if average:
            average.update_parameters(fitted)
        if not math.isfinite(sum(losses)):
            raise FailedPrecondition("The loss is no longer a number: train with another seed.", reason="DIVERGED")
        if checkpoint and ours.is_main_process and step % recipe.checkpoint_steps == 0:
            checkpoint.save(state, step)
        step_done(step, float(np.mean(losses)))
    if average:
        fitted.load_state_dict(average.module.state_dict())
    if recipe.method is Method.LORA:
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    pipeline.to("cpu")
    for part in (pipeline.unet, pipeline.text_encoder):
        part.eval()


class _Objective(nn.Module):
    """Latents and what asks for them -> the loss of each; what is shared between processes is its `forward`."""

    def __init__(self, pipeline: DiffusionPipeline, lesson: Lesson, recipe: DreamBooth) -> None:
        super().__init__()
        self.unet = pipeline.unet
        self.text_encoder = pipeline.text_encoder if recipe.train_text_encoder else None
        self._pipeline = pipeline
        self._asked = (*lesson.asked, ((lesson.class_prompt, 1.0),), (("", 1.0),))
        self._denoising = Denoising(DDPMScheduler.from_config(pipeline.scheduler.config), recipe.snr_gamma or None)
        # Of SDXL: the image's size as it was, where it was cropped, and its size now.
        self._sizes = torch.tensor([[recipe.height, recipe.width, 0, 0, recipe.height, recipe.width]])
        texts, weights = mixing(self._asked)
        self._weights = torch.from_numpy(weights)
        self._texts: dict[str, Tensor] = {}
        if self.text_encoder is None:
            with torch.no_grad():
                self._texts = mixed(pipeline, [((text, 1.0),) for text in texts])

    def forward(self, latents: Tensor, asked: Tensor, chance: Generator) -> Tensor:
        words = self._words(asked)
        added = {}
        if "pooled_prompt_embeds" in words:
            pooled = words["pooled_prompt_embeds"]
            sizes = self._sizes.to(pooled).expand(len(pooled), -1)
            added = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
        return self._denoising.losses(
            lambda noisy, steps: self.unet(noisy, steps, words["prompt_embeds"], **added).sample, latents, chance
        )

    def _words(self, asked: Tensor) -> dict[str, Tensor]:
        if self.text_encoder is not None:
            return mixed(self._pipeline, [self._asked[row] for row in asked.tolist()])
        return {name: torch.tensordot(self._weights[asked].to(one), one, 1) for name, one in self._texts.items()}


@dataclass(frozen=True)
class _Latents:
    """What an autoencoder says of images, kept: of each of a latent's numbers the mean and the spread."""

    mean: Tensor
    spread: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, autoencoder: AutoencoderKL, pixels: NDArray[np.uint8]) -> "_Latents":
        """Encodes uint8 [N, height, width], one by one."""
        found = []
        for image in torch.from_numpy(pixels):
            scaled = image.to(autoencoder.device, autoencoder.dtype) / 127.5 - 1.0
            channels = scaled.expand(1, autoencoder.config.in_channels, -1, -1)
            latent = autoencoder.encode(channels).latent_dist
            found.append((autoencoder.config.scaling_factor * torch.cat((latent.mean, latent.std))).cpu())
        mean, spread = torch.stack(found, 1) if found else torch.empty(2, 0)
        return cls(mean, spread)

    def draw(self, rows: Tensor, chance: Generator) -> Tensor:
        """Returns latents of some images as the autoencoder would draw them."""
        mean, spread = self.mean[rows], self.spread[rows]
        return mean + spread * torch.randn(mean.shape, generator=chance)

    def __len__(self) -> int:
        return len(self.mean)


def _accelerator(precision: Precision) -> Accelerator:
    try:
        return accelerator(precision)
    except InvalidArgument:
        warnings.warn(
            f"This machine can't train in {precision}: 32-bit floats are taken.", RuntimeWarning, stacklevel=3
        )
        return accelerator(Precision.NO)


def _learning(pipeline: DiffusionPipeline, recipe: DreamBooth) -> list[nn.Parameter]:
    """Returns what is fitted, and holds all else fast."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    if recipe.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    if recipe.method is Method.LORA:
        pipeline.unet.add_adapter(
            LoraConfig(r=recipe.lora_rank, lora_alpha=recipe.lora_rank, target_modules=list(_ATTENTION))
        )
    else:
        pipeline.unet.requires_grad_(True)
    pipeline.unet.train()
    if recipe.train_text_encoder:
        if hasattr(pipeline, "text_encoder_2"):
            raise InvalidArgument(
                "SDXL's text encoders are not fitted: leave train_text_encoder out.", reason="TEXT_ENCODER"
            )
        pipeline.text_encoder.requires_grad_(True).train()
    parts = (pipeline.unet, pipeline.text_encoder)
    return [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]


def _optimizer(learning: list[nn.Parameter], recipe: DreamBooth) -> Optimizer:
    make: Callable[..., Optimizer] = AdamW
    if recipe.eight_bit_adam:
        try:
            from bitsandbytes.optim import AdamW8bit

            make = AdamW8bit
        except (ImportError, OSError, RuntimeError) as error:
            warnings.warn(
                f"bitsandbytes can't run here ({error}): AdamW keeps its state in 32 bits.",
                RuntimeWarning,
                stacklevel=3,
            )
    return make(learning, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _seeded(seed: int, *place: int) -> Generator:
    """Returns the random numbers of one place in a run."""
    word = hashlib.blake2b(repr((seed, place)).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(word, "big") >> 1)


def _batch(count: int, recipe: DreamBooth, place: int) -> Tensor:
    """Returns which of `count` images batch `place` of a run holds: all of them once before any comes again."""
    positions = range(place * recipe.batch_size, (place + 1) * recipe.batch_size)
    return torch.tensor([_order(count, recipe.seed, one // count)[one % count] for one in positions])


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=_seeded(seed, count, epoch)).tolist()
    return order
