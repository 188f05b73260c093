"""`canicor serve`: the servers as commands."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

import typer

from canicor.errors import FailedPrecondition

SERVICES = ("classifier", "generator", "labeling")

app = typer.Typer(help="Run the services.", no_args_is_help=True)


@app.command()
def classifier() -> None:
    """Serve models to hospitals."""
    from services.classifier.service import ClassifierService
    from services.classifier.settings import ClassifierSettings
    from services.runtime.server import run

    settings = ClassifierSettings()
    run(ClassifierService(settings), settings)


@app.command()
def generator() -> None:
    """Generate radiographs."""
    from services.generator.service import GeneratorService
    from services.generator.settings import GeneratorSettings
    from services.runtime.server import run

    settings = GeneratorSettings()
    run(GeneratorService(settings), settings)


@app.command()
def labeling() -> None:
    """Hand radiographs to people to label."""
    from services.labeling.service import LabelingService
    from services.labeling.settings import LabelingSettings
    from services.runtime.server import run

    settings = LabelingSettings()
    run(LabelingService(settings), settings)


@app.command("all")
def all_services() -> None:
    """Run all three, each in its own process, until one ends or SIGTERM comes."""
    servers = {name: subprocess.Popen([sys.executable, "-m", "canicor.cli", "serve", name]) for name in SERVICES}

    def stop(*_: object) -> None:
        for server in servers.values():
            server.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with ThreadPoolExecutor(len(servers)) as waiting:
        ends = {waiting.submit(server.wait): name for name, server in servers.items()}
        first = next(as_completed(ends))
        stop()
    if first.result():
        raise FailedPrecondition(f"The {ends[first]} ended with status {first.result()}; the others were stopped.")
