"""What goes into production: a model that beats the one there beyond chance, or one with a reason."""

from canicor.bundle import Bundle
from canicor.errors import FailedPrecondition
from canicor.manifest import digest
from canicor.model_repository import Alias, ModelRepository
from training.comparison import Answers, Comparison, compare
from training.dataset import Images, Progress, counting
from training.run import Candidate

MARGIN = 0.05
"""The share of a class's images that a model may get wrong beyond what production does."""


def push(candidate: Candidate, repository: ModelRepository, progress: Progress, reason: str = "") -> str:
    """Pushes a model into production and returns its version.

    Args:
        candidate: The model.
        repository: Whose production version of the same name it has to beat on its own test images.
        progress: Told how far it is.
        reason: Why it is pushed whatever it is worth; stored in the bundle.

    Raises:
        FailedPrecondition: NOT_BETTER: there is no reason, and it is not better beyond chance, or a class suffers.
            Nothing is written.
    """
    name = candidate.name
    production = repository.aliases(name).aliases.get(Alias.PRODUCTION)
    info = candidate.info
    if reason:
        info = info.model_copy(update={"push_reason": reason})
    elif production:
        _check(candidate, repository.read(name, production), progress)
    version = repository.push(
        name,
        info,
        candidate.model,
        candidate.card,
        variants=candidate.variants,
        predictions=candidate.predictions,
    )
    repository.set_alias(name, Alias.PRODUCTION, version)
    if candidate.checkpoint:
        candidate.checkpoint.remove()
    return version


def _check(candidate: Candidate, production: Bundle, progress: Progress) -> None:
    rows, reference = candidate.test_rows, f"{production.name}/{production.version}"
    loaded = counting(progress, f"Asking {reference}", 2 * len(rows))
    answers = []
    for info, model in ((candidate.info, candidate.model), (production.info, production.model)):
        images = Images.load(rows, info.input, loaded)
        answers.append(Answers.of(model, info.kind, images))
    found = compare(answers[0], answers[1], images)
    objections = list(_objections(found))
    if not objections:
        return
    if production.info.test_dataset_digest != digest(rows):
        objections.append(f"{reference} was tested on other images and may have been trained on some of these")
    lines = "".join(f"\n  {objection}" for objection in objections)
    raise FailedPrecondition(
        f"It was not pushed, since on its {len(rows)} test images it does not beat {reference}:{lines}\n"
        "Give the same command with --force REASON to push it all the same: it is not trained again.",
        reason="NOT_BETTER",
    )


def _objections(found: Comparison) -> list[str]:
    objections = []
    if not found.beyond_chance:
        better = {"accuracy": found.accuracy} | ({"VHS error": found.vhs_mae} if found.vhs_mae else {})
        by = ", ".join(
            f"{name} by {one.value:.3f} ({one.lower:.3f} to {one.upper:.3f})" for name, one in better.items()
        )
        objections.append(f"no better beyond chance: {by}")
    objections += [
        f"{name} hearts: {-one.value:.1%} of {one.count} fewer right, more than {MARGIN:.0%}"
        for name, one in found.of_class.items()
        if one.value < -MARGIN
    ]
    return objections
