"""Text-to-image pipelines of the store, by diffusers: requests are checked here without loading any of it."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from canicor.errors import FailedPrecondition, InvalidArgument, NotFound
from canicor.generator.v1 import generator_pb2 as pb
from canicor.pipeline import VHS, Computing, PipelineInfo
from canicor.pipeline_repository import Pipelines
from services.generator.backends.backend import MadeImage, Preview, png
from services.generator.targets import Target, drawn_vhs

if TYPE_CHECKING:
    from canicor.text_to_image import TextToImage

SCHEDULERS = (
    "DDIM",
    "DDPM",
    "DPMSolverMultistep",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "LCM",
    "PNDM",
    "UniPCMultistep",
)
"""Of diffusers, by their names there without `Scheduler`."""

LONGEST_PROMPT = 1000
MOST_STEPS = 1000
HIGHEST_GUIDANCE = 50.0

_MULTIPLE = 8
"""Of which sides are: an autoencoder's cell."""


class TextToImageBackend:
    """Makes images by a pipeline; see `services.generator.backends.backend.Backend`.

    Args:
        pipelines: Where it lies.
        computing: How images are computed.
    """

    def __init__(self, pipelines: Pipelines, computing: Computing) -> None:
        self._pipelines = pipelines
        self._computing = computing

    def checked(self, options: pb.GenerationOptions, targets: Sequence[Target]) -> pb.GenerationOptions:
        """Fills in the pipeline's newest version and what it says of size, prompts and sampler."""
        if find_spec("diffusers") is None:
            raise FailedPrecondition(
                "This generator lacks diffusers: install it with pip install 'canicor[generator,diffusers]'.",
                reason="NO_DIFFUSERS",
            )
        name, version, info = self._asked(options.model)
        sampler = options.sampler
        checked = pb.GenerationOptions(
            backend=options.backend,
            model=f"{name}/{version}",
            width=options.width or info.width,
            height=options.height or info.height,
            prompt=options.prompt or info.prompt,
            negative_prompt=options.negative_prompt or info.negative_prompt,
            sampler=pb.SamplerOptions(
                scheduler=sampler.scheduler or info.scheduler,
                steps=sampler.steps if sampler.HasField("steps") else info.steps,
                guidance_scale=(
                    sampler.guidance_scale if sampler.HasField("guidance_scale") else info.guidance_scale
                ),
            ),
        )
        _check(checked)
        if VHS in checked.prompt:
            _check_taught(info, targets)
        return checked

    def make(
        self,
        seed: int,
        images: Sequence[tuple[int, Target]],
        options: pb.GenerationOptions,
        preview: Callable[[Preview], None] | None = None,
    ) -> Iterator[MadeImage]:
        """Asks for as many images at once as this machine makes best."""
        from canicor.text_to_image import Asked, Sampling

        name, version, info = self._asked(options.model)
        sampler = options.sampler
        pipeline = _loaded(self._pipelines.fetch(name, version), sampler.scheduler, self._computing)
        sampling = Sampling(options.width, options.height, sampler.steps, sampler.guidance_scale)
        for start in range(0, len(images), pipeline.batch_size):
            some = images[start : start + pipeline.batch_size]
            sizes = [drawn_vhs(target, seed, index, info.lowest_vhs, info.highest_vhs) for index, target in some]
            asked = [
                Asked(info.prompts(vhs, options.prompt), options.negative_prompt, seed, index)
                for vhs, (index, _) in zip(sizes, some, strict=True)
            ]
            show = partial(_show, preview, [index for index, _ in some]) if preview else None
            made = pipeline.make(asked, sampling, show)
            for image, vhs, one in zip(made, sizes, asked, strict=True):
                yield MadeImage(
                    png(image),
                    image.width,
                    image.height,
                    parameters={"vhs": vhs, "prompts": dict(one.prompts)},
                    model_digest=info.digest,
                    prompt=one.nearest,
                )

    def _asked(self, model: str) -> tuple[str, str, PipelineInfo]:
        name, _, version = model.partition("/")
        if not name:
            raise InvalidArgument(
                f"Name a pipeline in options.model: {', '.join(self._pipelines.names()) or 'none'} are there.",
                reason="NO_MODEL",
                field="options.model",
            )
        try:
            return name, *self._pipelines.read(name, version)
        except NotFound as error:
            raise InvalidArgument(error.message, reason="UNKNOWN_MODEL", field="options.model") from error


def _show(
    preview: Callable[[Preview], None], indices: Sequence[int], progress: float, images: list[Image.Image]
) -> None:
    for index, image in zip(indices, images, strict=True):
        preview(Preview(index, png(image), progress))


@lru_cache(maxsize=1)
def _loaded(folder: Path, scheduler: str, computing: Computing) -> "TextToImage":
    """Returns the pipeline of a folder; the last one stays in memory. For worker processes alone."""
    import torch

    from canicor.text_to_image import TextToImage

    # One core for each worker; and more of them would add up the same sums in another order.
    torch.set_num_threads(1)
    return TextToImage.load(folder, scheduler, computing)


def _check(options: pb.GenerationOptions) -> None:
    for field, side in (("width", options.width), ("height", options.height)):
        if side % _MULTIPLE:
            raise _wrong(field, f"The {field} is a multiple of {_MULTIPLE}, not {side}.", "SIZE_NOT_A_MULTIPLE")
    for field, text in (("prompt", options.prompt), ("negative_prompt", options.negative_prompt)):
        if len(text) > LONGEST_PROMPT:
            raise _wrong(
                field,
                f"The {field} has at most {LONGEST_PROMPT} characters, not {len(text)}.",
                "PROMPT_TOO_LONG",
            )
    sampler = options.sampler
    if sampler.scheduler and sampler.scheduler not in SCHEDULERS:
        raise _wrong(
            "sampler.scheduler",
            f"There is no scheduler {sampler.scheduler[:80]!r}: take {', '.join(SCHEDULERS)}.",
            "UNKNOWN_SCHEDULER",
        )
    if not 1 <= sampler.steps <= MOST_STEPS:
        raise _wrong("sampler.steps", f"Steps are 1 to {MOST_STEPS}, not {sampler.steps}.", "STEPS_OUT_OF_RANGE")
    # Written so that a NaN is refused too.
    if not 0 <= sampler.guidance_scale <= HIGHEST_GUIDANCE:
        raise _wrong(
            "sampler.guidance_scale",
            f"The guidance scale is 0 to {HIGHEST_GUIDANCE:g}, not {sampler.guidance_scale:g}.",
            "GUIDANCE_OUT_OF_RANGE",
        )


def _check_taught(info: PipelineInfo, targets: Sequence[Target]) -> None:
    for target in targets:
        if isinstance(target, tuple) and not info.lowest_vhs <= target[0] <= target[1] <= info.highest_vhs:
            raise InvalidArgument(
                f"This pipeline was taught hearts of {info.lowest_vhs:g} to {info.highest_vhs:g} vertebrae, "
                f"not of {target[0]:g} to {target[1]:g}.",
                reason="VHS_NOT_TAUGHT",
                field="portions",
            )


def _wrong(field: str, message: str, reason: str) -> InvalidArgument:
    return InvalidArgument(message, reason=reason, field=f"options.{field}")
