"""What goes into production, or is a candidate for it: a model that beats the one there beyond chance.

Or one with a reason.
"""

from canicor.bundle import Bundle
from canicor.errors import FailedPrecondition
from canicor.model_repository import Alias, ModelRepository
from training.comparison import Answers, Comparison, compare
from training.dataset import Images, Progress, counting
from training.lineage import Lineage
from training.run import Candidate

MARGIN = 0.05
"""The share of a class's images that a model may get wrong beyond what production does."""


class NotBetter(FailedPrecondition):
    """A model does not beat the one in production."""


def push(
    candidate: Candidate,
    repository: ModelRepository,
    lineage: Lineage,
    progress: Progress,
    *,
    alias: Alias = Alias.PRODUCTION,
    reason: str = "",
) -> str:
    """Pushes a model and returns its version.

    Args:
        candidate: The model.
        repository: Whose production version of the same name it has to beat on its own test images.
        lineage: Keeps the model's dataset.
        progress: Told how far it is.
        alias: Under which it will be.
        reason: Why it is pushed whatever it is worth; stored in the bundle.

    Raises:
        NotBetter: There is no reason, and it is not better beyond chance, or a class suffers. Nothing is written.
    """
    name = candidate.name
    production = repository.aliases(name).aliases.get(Alias.PRODUCTION)
    info = candidate.info
    if reason:
        info = info.model_copy(update={"push_reason": reason})
    elif production:
        _check(candidate, repository.read(name, production), lineage, progress)
    lineage.keep(candidate.rows)
    version = repository.push(
        name,
        info,
        candidate.model,
        candidate.card,
        variants=candidate.variants,
        predictions=candidate.predictions,
    )
    repository.set_alias(name, alias, version)
    candidate.discard()
    return version


def _check(candidate: Candidate, production: Bundle, lineage: Lineage, progress: Progress) -> None:
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
    if lineage.may_know(production.info, rows):
        objections.append(f"{reference} was tested on other images and may have been trained on some of these")
    lines = "".join(f"\n  {objection}" for objection in objections)
    raise NotBetter(
        f"It was not pushed, since on its {len(rows)} test images it does not beat {reference}:{lines}",
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
