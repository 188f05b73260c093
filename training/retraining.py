"""Training a model again, as it was trained before, on what was labelled since."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from canicor.bundle import Bundle, NumberFormat
from canicor.client import channel, translated
from canicor.errors import FailedPrecondition
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from canicor.manifest import Row, read
from canicor.model_repository import Alias, ModelRepository
from canicor.settings import ClientSettings
from training import release
from training.dataset import Progress, subject
from training.fitting import Recipe
from training.lineage import Lineage
from training.run import Plan, train
from training.settings import TrainingSettings
from training.zoo import Backbone

_TRAIN_IT = "train one by `canicor train keypoints` or `canicor train classifier`"


@dataclass(frozen=True)
class Retraining:
    """What came of it.

    Attributes:
        new_labels: Those that neither a version of the model nor one that was refused was made with.
        version: Of the new candidate; None where there is none.
        refusal: Why the model that was trained is no candidate; empty where none was trained.
    """

    new_labels: int
    version: str | None = None
    refusal: str = ""


def retrain(
    name: str,
    base: Sequence[Row],
    labelled: Sequence[Row],
    fewest: int,
    settings: TrainingSettings,
    progress: Progress,
) -> Retraining:
    """Trains a model as production was, and makes it the candidate where it beats that on the same test images.

    Args:
        name: The model's.
        base: Labels from elsewhere, with or without splits.
        labelled: Those of the labelling service.
        fewest: New labels from which on it is worth while.
        settings: Where models, datasets and runs lie.
        progress: Told how far it is.

    Raises:
        FailedPrecondition: Nothing is in production, or it does not say how it was trained.
        NotFound: What production was trained on was not kept.
        CanicorError: As `training.run.train`.
    """
    repository, lineage = ModelRepository.of(settings), Lineage(settings.image_store, name)
    production = repository.aliases(name).aliases.get(Alias.PRODUCTION)
    if not production:
        raise FailedPrecondition(f"{name} has no version in production: {_TRAIN_IT}.", reason="NO_VERSION")
    bundle = repository.read(name, production)
    plan = replace(_plan_of(bundle), checkpoints=settings.training_folder, tracking=settings.tracking)
    rows = following(lineage.of(bundle.info), base, labelled)
    new_labels = lineage.new_labels(rows)
    if new_labels < fewest:
        return Retraining(new_labels)
    candidate = train(rows, plan, progress)
    try:
        version = release.push(candidate, repository, lineage, progress, alias=Alias.CANDIDATE)
    except release.NotBetter as refusal:
        # The same labels would be refused again: they are not new any more.
        lineage.keep(candidate.rows)
        candidate.discard()
        return Retraining(new_labels, refusal=refusal.message)
    return Retraining(new_labels, version)


def reviewed(project: str, settings: ClientSettings) -> list[Row]:
    """Returns the labels of a project that a reviewer saw; none where there are none yet.

    Raises:
        CanicorError: The labelling service does not answer, or refuses.
    """
    request = pb.ExportDatasetRequest(project=project, reviewed_only=True)
    with channel(settings.labeling_address, settings) as connection:
        try:
            with translated():
                parts = LabelingServiceStub(connection).ExportDataset(request)
                return read(b"".join(part.chunk for part in parts))
        except FailedPrecondition as error:
            if error.reason == "NO_LABELS":
                return []
            raise


def following(production: Sequence[Row], base: Sequence[Row], labelled: Sequence[Row]) -> list[Row]:
    """Joins labels, each image once, into splits that follow those of production.

    An image that production was trained on stays in train, one that it was tested on in test, and its dog's other
    images go with it. The rest is split as the base states, or still to be.

    Args:
        production: The rows that production was made from, with their splits.
        base: Labels from elsewhere.
        labelled: Labels that count where the base has another one of the same image.
    """
    rows = {row.image_sha256: row for row in base}
    stated = {row.image_sha256: row.split for row in base}
    rows |= {row.image_sha256: replace(row, split=stated.get(row.image_sha256, "")) for row in labelled}
    of_image = {row.image_sha256: row.split for row in production}
    of_dog = {subject(row): row.split for row in production}
    # A dog may bear a name now.
    of_dog |= {subject(row): of_image[sha256] for sha256, row in rows.items() if sha256 in of_image}
    return [
        # Where two images of one dog were in two splits, both stay: `split` says so.
        replace(row, split=of_image.get(sha256) or of_dog.get(subject(row)) or row.split)
        for sha256, row in rows.items()
    ]


def _plan_of(bundle: Bundle) -> Plan:
    """Returns the plan by which a model was trained.

    Raises:
        FailedPrecondition: The bundle does not say, or says what this version does not know.
    """
    said = bundle.info.training_plan
    try:
        backbone = said["backbone"]
        return Plan(
            bundle.info.kind,
            bundle.name,
            bundle.info.input,
            TypeAdapter(Recipe).validate_python(said["recipe"], extra="forbid"),
            TypeAdapter(int).validate_python(said["seed"]),
            TypeAdapter(tuple[NumberFormat, ...]).validate_python(said["formats"]),
            TypeAdapter(Backbone).validate_python(backbone, extra="forbid") if backbone else None,
            TypeAdapter(float).validate_python(said["dropout"]),
        )
    except (KeyError, ValidationError) as error:
        raise FailedPrecondition(
            f"{bundle.name}/{bundle.version} does not say how it was trained in words of this version of Canicor: "
            f"{_TRAIN_IT}.",
            reason="UNKNOWN_PLAN",
        ) from error
