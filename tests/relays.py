"""A connection that a test can drop, as a network does."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


class Relay:
    """Hands bytes between callers and a server, until it drops their connections.

    Attributes:
        address: Where it listens, `host:port`.
    """

    def __init__(self, listener: socket.socket, server: str) -> None:
        host, port = server.rsplit(":", 1)
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._listener = listener
        self._server = (host, int(port))
        self._callers: list[socket.socket] = []
        self._threads: list[Thread] = []

    def drop(self) -> None:
        """Ends every connection that there is; new ones are taken."""
        while self._callers:
            with suppress(OSError):
                self._callers.pop().shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Takes connections until the listener is shut down."""
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._callers.append(caller)
                self._threads.append(Thread(target=self._hand_on, args=(caller,)))
                self._threads[-1].start()
        for thread in self._threads:
            thread.join()

    def _hand_on(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._server) as server, suppress(OSError):
            others = {caller: server, server: caller}
            while True:
                for one in select.select([caller, server], [], [])[0]:
                    received = one.recv(65536)
                    if not received:
                        return
                    others[one].sendall(received)


@contextmanager
def relay(server: str) -> Iterator[Relay]:
    """Stands before a server at `host:port`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stands = Relay(listener, server)
        taking = Thread(target=stands.accept)
        taking.start()
        try:
            yield stands
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            stands.drop()
            taking.join()
