"""Frames over pipes, as the process for snippets sees them.

A request is a head of four numbers (`REQUEST`: bytes of the body, milliseconds, megabytes, longest answer in bytes)
and a body, the JSON text ``{"code": …, "names": {…}}``. An answer is its length and a JSON text: ``{"ready": true}`` or
``{"failed": "why"}`` first; to a request ``{"value": …}`` or ``{"error": {"kind": …, …}}``, maybe with a ``log``.
Before it a snippet with a host may ask: ``{"calls": [{"id": …, "name": …, "args": […]}]}``; the parent then sends a
frame like a request, whose body is the list of results.
"""

from __future__ import annotations

import _thread
import os
from _queue import SimpleQueue
from struct import Struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[bytes], bytes]

REQUEST = Struct(">IIII")
ANSWER = Struct(">I")


class Engine(Protocol):
    """What runs snippets."""

    def confine(self) -> None:
        """Give up what no snippet needs; the last thing before the first request."""

    def prepare(self) -> None:
        """Do what can be done before the next request, and clear away what the last one left."""

    def __call__(self, body: bytes, seconds: float, memory: int, longest: int, ask: Ask, /) -> bytes:
        """Run the snippet in a body, within so many seconds and bytes; the answer's JSON.

        What it wants from the host goes through *ask*: a JSON list of calls in, one of results out.
        """


_Request = tuple[bytes, int, int, int]


class Wire:
    """The two ends, moved away from standard input and output, where a print would fall between the frames."""

    def __init__(self) -> None:
        self._source = os.dup(0)
        self._target = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.close(nothing)
        self._requests: SimpleQueue[_Request] = SimpleQueue()

    def listen(self) -> None:
        """Read in a thread of its own: the end of the input means that the parent is gone, also in mid-snippet."""
        _thread.start_new_thread(self._read, ())

    def send(self, answer: bytes) -> None:
        rest = memoryview(ANSWER.pack(len(answer)) + answer)
        try:
            while rest:
                rest = rest[os.write(self._target, rest) :]
        except OSError:  # nobody wants it any more
            os._exit(0)

    def serve(self, run: Engine) -> None:
        """Answer requests for ever."""
        while True:
            run.prepare()
            body, milliseconds, megabytes, longest = self._requests.get()
            try:
                answer = run(body, milliseconds / 1_000, megabytes << 20, longest, self._ask)
            except Exception as error:  # noqa: BLE001 - a fault of the engine's binding is not the end of the worker
                answer = failure("engine", f"{type(error).__name__}: {error}")
            self.send(answer)

    def _ask(self, calls: bytes) -> bytes:
        self.send(b'{"calls":' + calls + b"}")
        return self._requests.get()[0]

    def _read(self) -> None:
        while True:
            size, *limits = REQUEST.unpack(self._exactly(REQUEST.size))
            self._requests.put((self._exactly(size), *limits))

    def _exactly(self, size: int) -> bytes:
        read = bytearray()
        while len(read) < size:
            try:
                part = os.read(self._source, min(size - len(read), 1 << 20))
            except OSError:
                part = b""
            if not part:
                os._exit(0)
            read += part
        return bytes(read)


def escaped(text: str) -> str:
    """A text as a JSON string; the module `json` is not worth its import for the few that a worker writes itself."""
    plain = "".join(
        c if c.isprintable() and c not in '"\\' and ord(c) < 0x7F else f"\\u{min(ord(c), 0xFFFF):04x}" for c in text
    )
    return f'"{plain}"'


def failure(kind: str, message: str = "") -> bytes:
    """The answer of a snippet that failed in a way which its engine did not describe."""
    return f'{{"error":{{"kind":{escaped(kind)},"name":"","message":{escaped(message)}}}}}'.encode()
