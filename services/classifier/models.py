"""The models that this server knows: loaded by alias, swapped without a gap, refused where they are bad."""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

import structlog

from canicor.bundle import Alias, ModelRepository
from canicor.errors import CanicorError, FailedPrecondition, NotFound
from services.classifier.metrics import MODEL_INFO, RELOADS
from services.classifier.model import Model

_log = structlog.get_logger("canicor.models")

NO_MODEL = (
    "No model is loaded: `canicor demo` makes one from phantoms, `canicor train fit MANIFEST --push` from labels."
)


class State(Enum):
    """Where a version stands on this server."""

    AVAILABLE = "available"
    READY = "ready"
    REFUSED = "refused"


@dataclass(frozen=True)
class Status:
    """The state of one version."""

    name: str
    version: str
    state: State
    aliases: tuple[Alias, ...]
    message: str
    update_time: datetime


@dataclass(frozen=True)
class _Known:
    """What is served now. Replaced as a whole, so a request sees one state of it."""

    loaded: dict[tuple[str, str], Model]
    production: dict[str, str]


class Models:
    """Loads from a repository; any thread may call any method.

    Args:
        repository: Where the bundles lie.
        default: Name of the model that answers where none is asked for.
        providers: ONNX Runtime's execution providers by preference.
        cores: Cores that an inference which runs alone may use.
    """

    def __init__(self, repository: ModelRepository, default: str, providers: tuple[str, ...], cores: int) -> None:
        self._repository = repository
        self._default = default
        self._providers = providers
        self._cores = cores
        self._known = _Known({}, {})
        self._refused: dict[tuple[str, str], str] = {}
        self._changed: dict[tuple[str, str], datetime] = {}
        self._pinned: set[tuple[str, str]] = set()
        self._changing = threading.Lock()

    def get(self, reference: str = "") -> Model:
        """Returns a loaded model.

        Args:
            reference: `NAME` for its production version, `NAME/VERSION`, or empty for the default. Where the
                default has no version in production, the only model that has one answers.

        Raises:
            FailedPrecondition: No model is loaded at all.
            NotFound: The named one is not.
        """
        known = self._known
        if not known.loaded:
            raise FailedPrecondition(NO_MODEL, reason="NO_MODEL")
        name, _, version = (reference or self._default_name(known)).partition("/")
        model = known.loaded.get((name, version or known.production.get(name, "")))
        if model is None:
            raise NotFound(
                f"The model {reference or name!r} is not loaded; ListModels names those that are.",
                reason="NO_SUCH_MODEL",
                field="model",
            )
        return model

    def loaded(self) -> list[Model]:
        """Returns the loaded models by name, then version."""
        return [model for _, model in sorted(self._known.loaded.items(), key=lambda item: _order(item[0]))]

    def aliases(self, model: Model) -> tuple[Alias, ...]:
        """Returns the aliases under which a model is served."""
        is_production = self._known.production.get(model.name) == model.version
        return (Alias.PRODUCTION,) if is_production else ()

    def follow(self) -> None:
        """Brings what is served into line with the repository's aliases.

        A version that can't be loaded is refused, logged once, and the one before stays.
        """
        with self._changing:
            for name in self._repository.names():
                self._follow_one(name)

    def load(self, name: str, version: str) -> Model:
        """Loads a version and keeps it until `unload`, whatever the aliases say.

        Raises:
            NotFound, DataLoss, FailedPrecondition: As `ModelRepository.read` and `Model` raise them.
        """
        with self._changing:
            model = self._load(name, version)
            self._pinned.add((name, version))
            return model

    def unload(self, name: str, version: str) -> None:
        """Frees a version.

        Raises:
            FailedPrecondition: It is in production.
            NotFound: It is not loaded.
        """
        with self._changing:
            known = self._known
            if known.production.get(name) == version:
                raise FailedPrecondition(
                    f"{name}/{version} is in production: point the alias elsewhere first.", reason="IN_PRODUCTION"
                )
            if (name, version) not in known.loaded:
                raise NotFound(f"The model {name}/{version} is not loaded.", reason="NO_SUCH_MODEL", field="model")
            self._pinned.discard((name, version))
            self._drop(name, version)

    def set_alias(self, name: str, alias: Alias, version: str) -> None:
        """Points an alias at a version for every server; here at once, and only if the version runs here.

        Raises:
            NotFound, DataLoss, FailedPrecondition: As `load`; then nothing changed.
        """
        with self._changing:
            self._load(name, version)
            self._repository.set_alias(name, alias, version)
            self._follow_one(name)

    def roll_back(self, name: str) -> str:
        """Points production at the version before, and returns it.

        Raises:
            FailedPrecondition: There was none before.
        """
        with self._changing:
            version = self._repository.roll_back(name)
            self._follow_one(name)
            return version

    def statuses(self, only: str = "") -> list[Status]:
        """Returns the state of every version in the repository, or of one model's."""
        return [
            self._status(name, version)
            for name in ([only] if only else self._repository.names())
            for version in self._repository.versions(name)
        ]

    def _default_name(self, known: _Known) -> str:
        if self._default in known.production or len(known.production) != 1:
            return self._default
        return next(iter(known.production))

    def _follow_one(self, name: str) -> None:
        try:
            wanted = self._repository.aliases(name).aliases.get(Alias.PRODUCTION)
        except CanicorError as error:
            _log.error("aliases unreadable", model=name, error=error.message)
            return
        if wanted is None or wanted == self._known.production.get(name) or (name, wanted) in self._refused:
            return
        try:
            self._load(name, wanted)
        except CanicorError as error:
            _log.error("model refused", model=name, version=wanted, error=error.message)
            return
        before = self._known.production.get(name)
        self._known = replace(self._known, production={**self._known.production, name: wanted})
        if before and (name, before) not in self._pinned:
            self._drop(name, before)
        _log.info("in production", model=name, version=wanted, before=before)

    def _load(self, name: str, version: str) -> Model:
        key = (name, version)
        if key in self._known.loaded:
            return self._known.loaded[key]
        self._changed[key] = datetime.now(UTC)
        try:
            model = Model(self._repository.read(name, version), self._providers, self._cores)
        except CanicorError as error:
            self._refused[key] = error.message
            RELOADS.labels(name, "refused").inc()
            raise
        self._refused.pop(key, None)
        self._known = replace(self._known, loaded={**self._known.loaded, key: model})
        RELOADS.labels(name, "loaded").inc()
        MODEL_INFO.labels(name, version, model.provider).set(1)
        return model

    def _drop(self, name: str, version: str) -> None:
        loaded = dict(self._known.loaded)
        model = loaded.pop((name, version))
        self._known = replace(self._known, loaded=loaded)
        self._changed[name, version] = datetime.now(UTC)
        MODEL_INFO.remove(name, version, model.provider)

    def _status(self, name: str, version: str) -> Status:
        key = (name, version)
        state = State.READY if key in self._known.loaded else State.AVAILABLE
        if key in self._refused:
            state = State.REFUSED
        aliases = tuple(a for a, v in self._repository.aliases(name).aliases.items() if v == version)
        changed = self._changed.get(key) or datetime.fromtimestamp(0, UTC)
        return Status(name, version, state, aliases, self._refused.get(key, ""), changed)


def _order(key: tuple[str, str]) -> tuple[str, int]:
    return key[0], int(key[1])
