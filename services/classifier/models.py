"""The models that this server knows: loaded by alias, swapped without a gap, refused where they are bad."""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum

import structlog

from canicor.errors import CanicorError, DataLoss, FailedPrecondition, NotFound
from canicor.memory import give_back
from canicor.model_repository import Alias, ModelRepository
from services.classifier.engines import Engine
from services.classifier.metrics import MODEL_INFO, RELOADS
from services.classifier.model import Model

_log = structlog.get_logger("canicor.models")

NO_MODEL = (
    "No model is loaded: `canicor demo` makes one from phantoms, `canicor train keypoints MANIFEST` from labels."
)


# In the order in which they are followed.
_FOLLOWED = (Alias.PRODUCTION, Alias.SHADOW)


class State(Enum):
    """Where a version stands on this server."""

    AVAILABLE = "available"
    LOADING = "loading"
    READY = "ready"
    REFUSED = "refused"
    SHADOW = "shadow"


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
class Loading:
    """How versions are loaded.

    Attributes:
        engines: To choose from.
        cores: Of this machine, for this server.
        slowest: Seconds that one inference may take.
    """

    engines: Sequence[Engine]
    cores: int
    slowest: float


@dataclass(frozen=True)
class _Known:
    """What is served now. Replaced as a whole, so a request sees one state of it.

    Attributes:
        loaded: By name and version.
        served: The version behind each alias that this server follows, by name.
    """

    loaded: dict[tuple[str, str], Model] = field(default_factory=dict)
    served: dict[Alias, dict[str, str]] = field(default_factory=lambda: {alias: {} for alias in _FOLLOWED})

    def model(self, name: str, alias: Alias) -> Model | None:
        return self.loaded.get((name, self.served[alias].get(name, "")))

    def pointing(self, name: str, alias: Alias, version: str | None) -> "_Known":
        """Returns the same with an alias pointing at a version, or at none."""
        others = {one: v for one, v in self.served[alias].items() if one != name}
        pointed = {**others, name: version} if version else others
        return replace(self, served={**self.served, alias: pointed})


class Models:
    """Loads from a repository; any thread may call any method.

    Args:
        repository: Where the bundles lie.
        default: Name of the model that answers where none is asked for.
        second: Name of the model of the other kind that is asked beside one, where there is such a one.
        loading: How versions are loaded.
    """

    def __init__(self, repository: ModelRepository, default: str, second: str, loading: Loading) -> None:
        self._repository = repository
        self._default = default
        self._second = second
        self._loading = loading
        self._known = _Known()
        self._under_way: set[tuple[str, str]] = set()
        self._refused: dict[tuple[str, str], str] = {}
        self._changed: dict[tuple[str, str], datetime] = {}
        self._pinned: set[tuple[str, str]] = set()
        self._dropped: list[weakref.ref[Model]] = []
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
        model = known.loaded.get((name, version)) if version else known.model(name, Alias.PRODUCTION)
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
        served = self._known.served
        return tuple(alias for alias in _FOLLOWED if served[alias].get(model.name) == model.version)

    def beside(self, model: Model) -> list[Model]:
        """Returns the models that are asked for a second opinion beside one: at most one, of the other kind."""
        second = self._known.model(self._second, Alias.PRODUCTION)
        return [second] if second and second.info.kind is not model.info.kind else []

    def in_shadow_of(self, model: Model) -> Model | None:
        """Returns the version that is scored beside one, where that is in production."""
        known = self._known
        candidate = known.model(model.name, Alias.SHADOW)
        in_production = known.served[Alias.PRODUCTION].get(model.name) == model.version
        return candidate if in_production and candidate is not model else None

    def follow(self) -> None:
        """Brings what is served into line with the repository's aliases.

        A version that can't be loaded is refused, logged once, and the one before stays; so do all where the
        repository can't be read.
        """
        with self._changing:
            self._give_back()
            try:
                names = self._repository.names()
            except CanicorError as error:
                _log.error("repository unreadable", error=error.message)
                return
            for name in names:
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
            if any(known.served[alias].get(name) == version for alias in _FOLLOWED):
                raise FailedPrecondition(
                    f"{name}/{version} is in production or in the shadow: point the alias elsewhere first.",
                    reason="IN_USE",
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

    def set_shadow(self, name: str, version: str) -> None:
        """Has a version scored beside production by every server; here at once, and only if it runs here.

        Args:
            name: The model's.
            version: The candidate; empty for none.

        Raises:
            NotFound, DataLoss, FailedPrecondition: As `load`; then nothing changed.
        """
        if version:
            return self.set_alias(name, Alias.SHADOW, version)
        with self._changing:
            self._repository.remove_alias(name, Alias.SHADOW)
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
        production = known.served[Alias.PRODUCTION]
        if self._default in production or len(production) != 1:
            return self._default
        return next(iter(production))

    def _follow_one(self, name: str) -> None:
        try:
            wanted = self._repository.aliases(name).aliases
        except CanicorError as error:
            _log.error("aliases unreadable", model=name, error=error.message)
            return
        for alias in _FOLLOWED:
            self._follow_alias(name, alias, wanted.get(alias))
        self._drop_unused(name)

    def _follow_alias(self, name: str, alias: Alias, wanted: str | None) -> None:
        before = self._known.served[alias].get(name)
        if wanted == before or (name, wanted) in self._refused:
            return
        if wanted is None and alias is Alias.PRODUCTION:
            return
        try:
            if wanted is not None:
                self._load(name, wanted)
        except CanicorError as error:
            _log.error("model refused", model=name, version=wanted, error=error.message)
            return
        self._known = self._known.pointing(name, alias, wanted)
        _log.info("alias followed", model=name, alias=alias, version=wanted, before=before)

    def _load(self, name: str, version: str) -> Model:
        key = (name, version)
        if key in self._known.loaded:
            return self._known.loaded[key]
        self._changed[key] = datetime.now(UTC)
        self._under_way.add(key)
        for result in ("loaded", "refused"):
            # From 0 on: Prometheus sees no increase in a series that begins with 1.
            RELOADS.labels(name, result)
        try:
            model = self._loaded(name, version)
        except (DataLoss, FailedPrecondition) as error:
            self._refused[key] = error.message
            RELOADS.labels(name, "refused").inc()
            raise
        finally:
            self._under_way.discard(key)
        self._refused.pop(key, None)
        self._known = replace(self._known, loaded={**self._known.loaded, key: model})
        RELOADS.labels(name, "loaded").inc()
        MODEL_INFO.labels(name, version, model.engine).set(1)
        return model

    def _loaded(self, name: str, version: str) -> Model:
        loading = self._loading
        bundle = self._repository.read(name, version, {engine.file for engine in loading.engines})
        before = self._known.model(name, Alias.PRODUCTION)
        return Model(bundle, loading.engines, loading.cores, loading.slowest, before)

    def _drop_unused(self, name: str) -> None:
        """Frees what no alias points at; a request that still uses it ends with it."""
        known = self._known
        used = {known.served[alias].get(name) for alias in _FOLLOWED}
        for model in list(known.loaded.values()):
            if model.name == name and model.version not in used and (name, model.version) not in self._pinned:
                self._drop(name, model.version)

    def _drop(self, name: str, version: str) -> None:
        loaded = dict(self._known.loaded)
        model = loaded.pop((name, version))
        self._known = replace(self._known, loaded=loaded)
        self._dropped.append(weakref.ref(model))
        self._changed[name, version] = datetime.now(UTC)
        MODEL_INFO.remove(name, version, model.engine)

    def _give_back(self) -> None:
        """Hands the memory of dropped models to the system, once the last request that used one has ended."""
        still_used = [dropped for dropped in self._dropped if dropped() is not None]
        if len(still_used) < len(self._dropped):
            give_back()
        self._dropped = still_used

    def _status(self, name: str, version: str) -> Status:
        key = (name, version)
        aliases = tuple(a for a, v in self._repository.aliases(name).aliases.items() if v == version)
        changed = self._changed.get(key) or datetime.fromtimestamp(0, UTC)
        return Status(name, version, self._state(key), aliases, self._refused.get(key, ""), changed)

    def _state(self, key: tuple[str, str]) -> State:
        if key in self._under_way:
            return State.LOADING
        if key in self._refused:
            return State.REFUSED
        if key not in self._known.loaded:
            return State.AVAILABLE
        in_shadow = self._known.served[Alias.SHADOW].get(key[0]) == key[1]
        in_production = self._known.served[Alias.PRODUCTION].get(key[0]) == key[1]
        return State.SHADOW if in_shadow and not in_production else State.READY


def _order(key: tuple[str, str]) -> tuple[str, int]:
    return key[0], int(key[1])
