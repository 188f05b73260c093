"""Many labellers, crashes, and a long queue: `python -m benchmarks.labelling [--images N] [--queue N]`.

On SQLite and on PostgreSQL: sixteen people label 5,000 images twice each at once. Now and then one's program
crashes with a task in hand and starts anew, two leave for good with one, and the server gets SIGKILL three times
at moments drawn by chance. At the end each image must have two labels by two people, every label that was answered
must be there, and no lease may have been held by two. Then 200,000 tasks wait, and one labeller, and four at once,
label 500 of them each: how long LeaseTask and SubmitLabel take. Needs PostgreSQL.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import SecretStr

import services.labeling
from canicor.client import translated
from canicor.errors import CanicorError, NotFound, Unavailable
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.labeling.v1.labeling_pb2_grpc import LabelingServiceStub
from services.labeling import images
from services.labeling.tables import Image, committed
from services.runtime.database import opened
from tests.clinics import HEIGHT, WIDTH, png, points
from tests.servers import Server, running_postgresql

PROJECT = "hearts"
LABELLERS, LEAVING, KILLS = 16, 2, 3
LABELS_PER_IMAGE = 2
CRASHES = 0.02
LEASE_SECONDS = 10
IMPORTED_AT_ONCE = 500
MANAGER = "manager"
TIMED = 500
MOST_MILLISECONDS = 20.0


def people() -> list[str]:
    return [f"labeller-{number}" for number in range(LABELLERS)]


def token_of(name: str) -> str:
    return f"token of {name}"


def tokens(folder: Path) -> Path:
    roles = {MANAGER: "manage", **dict.fromkeys(people(), "label")}
    file = folder / "tokens.toml"
    file.write_text(
        "".join(
            f'[[tokens]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token_of(name).encode()).hexdigest()}"\n'
            f'roles = ["{role}"]\n'
            for name, role in roles.items()
        )
    )
    return file


class Clinic:
    """A labeling server that may be killed, and what was answered by it."""

    def __init__(self, folder: Path, database: str) -> None:
        settings = {
            "CANICOR_DATABASE_URL": database,
            "CANICOR_TOKENS_FILE": str(tokens(folder)),
            "CANICOR_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        self.server = Server("labeling", folder / "home", settings, {})
        self.answered: set[str] = set()
        self.holders: defaultdict[str, set[str]] = defaultdict(set)
        self._lock = threading.Lock()

    @contextmanager
    def calling(self, name: str) -> Iterator[LabelingServiceStub]:
        """Connects a person."""
        with self.server.channel(token=SecretStr(token_of(name))) as channel:
            yield LabelingServiceStub(channel)

    def label_to_the_end(self, name: str, tasks: int | None = None) -> None:
        """Labels until nothing is left for this person; or so many tasks, and leaves with one more in hand."""
        chance = random.Random(name)  # noqa: S311
        done = 0
        with self.calling(name) as stub:
            while True:
                try:
                    with translated():
                        task = stub.LeaseTask(pb.LeaseTaskRequest(project=PROJECT), timeout=5).task
                except NotFound:
                    # Others may still leave what they hold.
                    if self._is_done(stub):
                        return
                    time.sleep(1.0)
                    continue
                except CanicorError:
                    time.sleep(0.1)
                    continue
                with self._lock:
                    self.holders[task.lease_id].add(name)
                if done == tasks:
                    return
                if chance.random() >= CRASHES:
                    self._submit(stub, task)
                    done += 1

    def _submit(self, stub: LabelingServiceStub, task: pb.Task) -> None:
        request = pb.SubmitLabelRequest(request_id=task.lease_id, lease_id=task.lease_id, key_points=points())
        while True:
            try:
                with translated():
                    label = stub.SubmitLabel(request, timeout=5).label
            except Unavailable:
                time.sleep(0.1)
            except CanicorError as error:
                if error.reason != "LEASE_EXPIRED":
                    time.sleep(0.1)
                    continue
                return
            else:
                with self._lock:
                    self.answered.add(label.id)
                return

    @staticmethod
    def _is_done(stub: LabelingServiceStub) -> bool:
        try:
            counts = stub.GetStatistics(pb.GetStatisticsRequest(project=PROJECT), timeout=5)
        except Exception:
            return False
        return counts.labelled_count == counts.image_count


def crash(folder: Path, database: str, count: int) -> bool:
    """Labels with crashes, prints what came of it, and returns whether all is as it should be."""
    clinic = Clinic(folder, database)
    clinic.server.start()
    try:
        with clinic.calling(MANAGER) as stub:
            project = pb.Project(name=PROJECT, labels_per_image=LABELS_PER_IMAGE)
            stub.SetProject(pb.SetProjectRequest(project=project))
            for start in range(0, count, IMPORTED_AT_ONCE):
                some = [
                    pb.ImportImage(content=png(one)) for one in range(start, min(start + IMPORTED_AT_ONCE, count))
                ]
                stub.ImportImages(pb.ImportImagesRequest(project=PROJECT, images=some))
        leaving = dict.fromkeys(people()[:LEAVING], count // LABELLERS)
        wanted = count * LABELS_PER_IMAGE
        kills = sorted(random.sample(range(1, wanted), KILLS))
        began = time.monotonic()
        with ThreadPoolExecutor(LABELLERS) as threads:
            working = [threads.submit(clinic.label_to_the_end, name, leaving.get(name)) for name in people()]
            for kill in kills:
                while len(clinic.answered) < kill and not all(one.done() for one in working):
                    time.sleep(0.02)
                clinic.server.kill()
                clinic.server.start()
            for one in working:
                one.result()
        seconds = time.monotonic() - began
        labels = list(listed(clinic))
    finally:
        clinic.server.stop()
    by_image = Counter(label.image_id for label in labels)
    twice = len({(label.image_id, label.labeller) for label in labels}) < len(labels)
    right = {
        "each image has its labels": set(by_image.values()) == {LABELS_PER_IMAGE} and len(by_image) == count,
        "none by one person twice": not twice,
        "no answered label is lost": clinic.answered <= {label.id for label in labels},
        "no lease was held by two": all(len(holders) == 1 for holders in clinic.holders.values()),
    }
    print(
        f"  {len(labels)} labels in {seconds:.0f} s, {len(labels) / seconds:.0f} tasks a second, killed at {kills}"
    )
    print("  " + ", ".join(f"{what}: {holds}" for what, holds in right.items()), flush=True)
    return all(right.values())


def listed(clinic: Clinic) -> Iterator[pb.Label]:
    token, more = "", True
    with clinic.calling(MANAGER) as stub:
        while more:
            page = stub.ListLabels(pb.ListLabelsRequest(project=PROJECT, page_size=1000, page_token=token))
            yield from page.labels
            token = page.next_page_token
            more = bool(token)


def long_queue(folder: Path, database: str, count: int) -> float:
    """Prints how long a task takes to lease and to label with so many waiting; returns a lone labeller's p99."""
    clinic = Clinic(folder, database)
    asyncio.run(fill(database or f"sqlite:///{folder / 'home' / 'labeling.db'}", count))
    clinic.server.start()
    try:
        worst = 0.0
        for names in (people()[:1], people()[1:5]):
            with ThreadPoolExecutor(len(names)) as threads:
                measured = threads.map(lambda name: timed(clinic, name, min(TIMED, count // 10)), names)
                times = [pair for one in measured for pair in one]
            for what, taken in zip(("LeaseTask", "SubmitLabel"), np.array(times).T * 1000, strict=True):
                p50, p99 = np.quantile(taken, (0.5, 0.99))
                print(f"  {len(names)} at once, {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
                worst = max(worst, p99) if len(names) == 1 else worst
        return worst
    finally:
        clinic.server.stop()


def timed(clinic: Clinic, name: str, count: int) -> Sequence[tuple[float, float]]:
    """Returns the seconds that each lease and each label took."""
    found = []
    with clinic.calling(name) as stub:
        for _ in range(count):
            began = time.perf_counter()
            task = stub.LeaseTask(pb.LeaseTaskRequest(project=PROJECT)).task
            leased = time.perf_counter()
            stub.SubmitLabel(
                pb.SubmitLabelRequest(request_id=task.lease_id, lease_id=task.lease_id, key_points=points())
            )
            found.append((leased - began, time.perf_counter() - leased))
    return found[20:]


async def fill(database: str, count: int) -> None:
    """Adds images whose files nobody asks for."""
    migrations = Path(services.labeling.__file__).parent / "migrations"
    async with opened(database, migrations) as engine:
        for start in range(0, count, IMPORTED_AT_ONCE):
            rows = [
                Image(
                    project=PROJECT,
                    url="file:///nowhere",
                    sha256=f"{number:064x}",
                    width=WIDTH,
                    height=HEIGHT,
                    pixel_aspect=1.0,
                    origin=pb.ORIGIN_REAL,
                    subject_id="",
                )
                for number in range(start, min(start + IMPORTED_AT_ONCE, count))
            ]
            await committed(engine, lambda session, rows=rows: images.add(session, PROJECT, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description="Many labellers, crashes, and a long queue.")
    parser.add_argument("--images", type=int, default=5_000, help="labelled with crashes; default: %(default)s")
    parser.add_argument("--queue", type=int, default=200_000, help="tasks that wait; default: %(default)s")
    asked = parser.parse_args()
    right = True
    with running_postgresql() as server:
        for name, database in (("SQLite", lambda: ""), ("PostgreSQL", server.new_database)):
            print(name, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                right = crash(Path(folder), database(), asked.images) and right
            with tempfile.TemporaryDirectory() as folder:
                p99 = long_queue(Path(folder), database(), asked.queue)
                right = right and (name == "SQLite" or p99 <= MOST_MILLISECONDS)
    sys.exit(not right)


if __name__ == "__main__":
    main()
