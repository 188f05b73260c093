"""What a call costs beside its work: `python benchmarks/calls.py [--bytes 600000] [--clients 1] [--rounds 8]`.

A servicer that answers at once, asked over loopback by a client in a process of its own. From the third on, each
row changes one thing beside the second, channel options on both sides. Rows take turns; the median round counts.
The row `canicor` is how `canicor serve` runs. Needs Linux; uvloop is tried where it is installed.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from canicor.classifier.v1 import classifier_pb2 as pb
from canicor.classifier.v1.classifier_pb2_grpc import (
    ClassifierServiceServicer,
    ClassifierServiceStub,
    add_ClassifierServiceServicer_to_server,
)
from canicor.memory import REQUESTS, keep_freed_memory
from services.runtime.interceptor import CallInterceptor
from services.runtime.logs import configure
from services.runtime.tokens import Role, Tokens

METHOD = "/canicor.classifier.v1.ClassifierService/Classify"
LARGEST = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]
CALLS, WARM_UP = 600, 100

Options = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class Variant:
    """One row.

    Attributes:
        intercepted: With tokens, roles, metrics and a line of log a call.
        keeps_memory: On both sides.
        options: On both sides, beside the largest message.
    """

    name: str
    intercepted: bool = False
    keeps_memory: bool = True
    uvloop: bool = False
    options: Options = ()


VARIANTS = (
    Variant("gRPC alone", keeps_memory=False),
    Variant("gRPC, freed memory kept"),
    Variant("canicor", intercepted=True),
    Variant("uvloop", uvloop=True),
    Variant("max_frame_size 1 MiB", options=(("grpc.http2.max_frame_size", 2**20),)),
    Variant("max_frame_size 16 MiB", options=(("grpc.http2.max_frame_size", 2**24 - 1),)),
    Variant("lookahead_bytes 4 MiB", options=(("grpc.http2.lookahead_bytes", 2**22),)),
    Variant("bdp_probe 0", options=(("grpc.http2.bdp_probe", 0),)),
    Variant("optimization_target throughput", options=(("grpc.optimization_target", "throughput"),)),
    Variant("write_buffer_size 1 MiB", options=(("grpc.http2.write_buffer_size", 2**20),)),
    Variant("tcp_read_chunk_size 1 MiB", options=(("grpc.experimental.tcp_read_chunk_size", 2**20),)),
)


class Echo(ClassifierServiceServicer):
    """Answers with the request's id."""

    async def Classify(self, request: pb.ClassifyRequest, context: object) -> pb.ClassifyResponse:  # noqa: N802
        """Drops the image."""
        return pb.ClassifyResponse(request_id=request.request_id)


def serve(variant: Variant, token: Path, port: Any) -> None:  # noqa: ANN401
    with Path(f"{token}.{os.getpid()}.log").open("w") as sys.stderr:
        configure("json", "info")
        _run(variant, _serve(variant, token, port))


async def _serve(variant: Variant, token: Path, port: Any) -> None:  # noqa: ANN401
    roles = {METHOD: frozenset({Role.CLASSIFY})}
    interceptors = [CallInterceptor(Tokens.embedded(token), roles)] if variant.intercepted else []
    server = grpc.aio.server(interceptors=interceptors, options=[*LARGEST, *variant.options])
    add_ClassifierServiceServicer_to_server(Echo(), server)
    port.send(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


def _run(variant: Variant, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    if variant.keeps_memory:
        keep_freed_memory(REQUESTS)
    if variant.uvloop:
        import uvloop

        return uvloop.run(work)
    return asyncio.run(work)


@contextmanager
def served(variant: Variant, token: Path) -> Iterator[tuple[int, int]]:
    """Yields the server's process id and port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(variant, token, theirs), daemon=True)
    process.start()
    try:
        yield process.pid or 0, ours.recv()
    finally:
        process.kill()
        process.join()


def ask(variant: Variant, server: tuple[int, int], token: str, size: int, clients: int) -> tuple[float, float]:
    """Returns the CPU ms a call of server and client."""
    with multiprocessing.Pool(1) as pool:
        return pool.apply(_asked, (variant, server, token, size, clients))


def _asked(variant: Variant, server: tuple[int, int], token: str, size: int, clients: int) -> tuple[float, float]:
    costs: tuple[float, float] = _run(variant, _ask(variant, server, token, size, clients))
    return costs


async def _ask(
    variant: Variant, server: tuple[int, int], token: str, size: int, clients: int
) -> tuple[float, float]:
    pid, port = server
    metadata = (("authorization", f"Bearer {token}"),)
    image = os.urandom(size)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [*LARGEST, *variant.options]) as channel:
        stub = ClassifierServiceStub(channel)

        async def client(calls: int) -> None:
            for _ in range(calls):
                await stub.Classify(pb.ClassifyRequest(image=image), metadata=metadata)

        await asyncio.gather(*(client(WARM_UP // clients) for _ in range(clients)))
        before = _cpu(pid), _cpu(os.getpid())
        await asyncio.gather(*(client(CALLS // clients) for _ in range(clients)))
        after = _cpu(pid), _cpu(os.getpid())
    calls = CALLS // clients * clients
    return (after[0] - before[0]) / calls, (after[1] - before[1]) / calls


def _cpu(pid: int) -> float:
    """Returns the ms that a process has run: /proc/PID/task/TID/schedstat counts ns."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=600_000)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    variants = [variant for variant in VARIANTS if not variant.uvloop or find_spec("uvloop")]
    costs: dict[str, list[tuple[float, float]]] = {variant.name: [] for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / "token"
        Tokens.embedded(token)
        for number in range(given.rounds):
            for variant in variants if number % 2 else variants[::-1]:
                with served(variant, token) as server:
                    costs[variant.name].append(ask(variant, server, token.read_text(), given.bytes, given.clients))
    print(f"{given.bytes} bytes, {given.clients} at once, {given.rounds} rounds of {CALLS}: CPU ms a call")
    print(f"{'':32}{'server':>8}{'client':>8}{'both':>8}{'least':>8}")
    for name, pairs in costs.items():
        both = [sum(pair) for pair in pairs]
        figures = (median(one) for one in (*zip(*pairs, strict=True), both, [min(both)]))
        print(f"{name:32}" + "".join(f"{figure:8.2f}" for figure in figures))


if __name__ == "__main__":
    main()
