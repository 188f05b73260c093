"""`canicor train generator` and `canicor train base`: what makes text-to-image pipelines."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from canicor.pipeline_repository import Pipelines
from training.progress import bars
from training.settings import TrainingSettings


def generator(
    manifests: Annotated[
        list[str], typer.Argument(metavar="MANIFEST_FILE_OR_URL...", help="Dataset manifests (Parquet), as one.")
    ],
    name: Annotated[str, typer.Option(help="The pipeline's.")] = "clinic",
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TOML file of settings (docs/generator.md).")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated.")
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON: prompts of single images by their SHA-256."),
    ] = None,
) -> None:
    """Fine-tune a text-to-image model on labelled radiographs by DreamBooth, and put it into the store."""
    from canicor import store
    from canicor.manifest import read
    from training.generator.recipe import DreamBooth
    from training.generator.run import Place, dreambooth, read_captions

    settings = TrainingSettings()
    recipe = DreamBooth.of(config, assignments or ())
    rows = [row for one in manifests for row in read(store.read(store.url_of(one)))]
    place = Place(Pipelines.of(settings), settings.training_folder, settings.tracking)
    with bars() as progress:
        version = dreambooth(name, rows, recipe, read_captions(captions), place, progress)
    if version:
        typer.echo(f"{name}/{version}")


def base(
    name: Annotated[str, typer.Option(help="The pipeline's.")] = "phantom-base",
    phantoms: Annotated[int, typer.Option(min=16, help="Drawn to teach it.")] = 10_000,
    autoencoder_epochs: Annotated[int, typer.Option(min=1, help="Passes over them, of the autoencoder.")] = 2,
    denoiser_epochs: Annotated[int, typer.Option(min=1, help="Passes over them, of the UNet.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of phantoms, weights and noise.")] = 0,
) -> None:
    """Teach the small base model by phantoms, and put it into the store: within the hour on two cores.

    It is Stable Diffusion's in small, so that all else can be tried without its weights. Phantom, not canine.
    """
    from training.generator.base_fitting import BaseRecipe, draw, info, teach
    from training.generator.pushing import card, push

    settings = TrainingSettings()
    pipelines = Pipelines.of(settings)
    # A bad name or a store that does not answer shows now, not after the training.
    pipelines.versions(name)
    usual = BaseRecipe()
    autoencoder = replace(usual.autoencoder, epochs=autoencoder_epochs)
    recipe = BaseRecipe(phantoms, autoencoder, replace(usual.denoiser, epochs=denoiser_epochs))
    with bars() as progress:
        shown = draw(phantoms, seed, progress)
        taught, about = teach(shown, recipe, seed, progress), info(shown, recipe, seed)
    version = push(pipelines, name, taught, about, card(name, about, phantoms))
    typer.echo(f"{name}/{version}")
