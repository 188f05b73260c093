"""`canicor train base`, and what else makes text-to-image pipelines."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from canicor.pipeline_repository import Pipelines
from training.progress import bars
from training.settings import TrainingSettings


def base(
    name: Annotated[str, typer.Option(help="The pipeline's.")] = "phantom-base",
    phantoms: Annotated[int, typer.Option(min=16, help="Drawn to teach it.")] = 12_000,
    autoencoder_epochs: Annotated[int, typer.Option(min=1, help="Passes over them, of the autoencoder.")] = 2,
    denoiser_epochs: Annotated[int, typer.Option(min=1, help="Passes over them, of the UNet.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of phantoms, weights and noise.")] = 0,
) -> None:
    """Teach the small base model by phantoms, and put it into the store: within the hour on two cores.

    It is Stable Diffusion's in small, so that all else can be tried without its weights. Phantom, not canine.
    """
    from torch import float16

    from training.generator.base_fitting import BaseRecipe, draw, info, teach

    settings = TrainingSettings()
    pipelines = Pipelines(settings.image_store, settings.home_folder / "pipelines")
    # A bad name or a store that does not answer shows now, not after the training.
    pipelines.versions(name)
    recipe = BaseRecipe(phantoms, autoencoder_epochs, denoiser_epochs)
    with bars() as progress, tempfile.TemporaryDirectory() as folder:
        shown = draw(phantoms, seed, progress)
        # Half the bytes, and no worse a picture.
        teach(shown, recipe, seed, progress).to(float16).save_pretrained(folder)
        version = pipelines.push(name, Path(folder), info(shown, recipe, seed))
    typer.echo(f"{name}/{version}")
