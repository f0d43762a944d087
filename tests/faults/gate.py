"""A door in front of a server: closed, the server is as good as killed, but keeps its files."""

import socket
from contextlib import suppress
from threading import Thread

HOST = "127.0.0.1"


class Gate:
    """A TCP server on 127.0.0.1 that passes connections on to another port, while it is open."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self._server: socket.socket | None = None
        self._pairs: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        """Listen, each time on the same port."""
        self._server = socket.create_server((HOST, self.port), backlog=128)
        self.port = self._server.getsockname()[1]
        Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        """Cut all connections and refuse new ones."""
        server, self._server = self._server, None
        for connection in ([server] if server else []) + self._pairs:
            # Closing alone would not wake the thread that waits for it.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._pairs = []

    def _accept(self, server: socket.socket) -> None:
        while self._server is server:
            try:
                client, _ = server.accept()
                target = socket.create_connection((HOST, self.target))
            except OSError:
                continue
            self._pairs += [client, target]
            for source, sink in ((client, target), (target, client)):
                Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 16):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
