"""How much of an answer ``action_http`` reads."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from dataflows_sdk.core.retry import Retry, is_retryable
from dataflows_sdk.errors import HttpStatusError, NonRetryableError

from .http_servers import Asked, ask, call, failure, response, run, serving


class Endless:
    """Writes for ever, and counts what was taken."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.head, self.piece, self.written = head, piece, 0
        self.left = asyncio.Event()

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + self.head + b"\r\n")
        try:
            while True:
                writer.write(self.piece)
                await writer.drain()
                self.written += len(self.piece)
        except ConnectionError:
            self.left.set()
        return None


def test_an_endless_answer_is_left_at_the_cap() -> None:
    async def main() -> None:
        endless = Endless(b"Content-Type: text/plain\r\n", b"x" * 65536)
        async with serving(endless) as server:
            with pytest.raises(NonRetryableError, match="max_bytes=1,000,000 bytes") as caught:
                await call(server.url, max_bytes=1_000_000)
            assert not is_retryable(Retry(), caught.value)
            await asyncio.wait_for(endless.left.wait(), 10)
            # what the buffers of two sockets hold comes on top
            assert endless.written < 30_000_000

    run(main())


def test_an_announced_size_is_enough_to_refuse() -> None:
    error = failure(response("short", headers={"Content-Length": "5000001", "Connection": "close"}))
    assert isinstance(error, NonRetryableError)
    assert "it announces 5,000,001" in str(error)


def test_the_cap_counts_to_the_byte() -> None:
    assert ask(response("x" * 100), max_bytes=100)[0]["body"] == "x" * 100
    assert isinstance(failure(response("x" * 101), max_bytes=100), NonRetryableError)
    packed = gzip.compress(b"x" * 101)
    assert isinstance(failure(response(packed, headers={"Content-Encoding": "gzip"}), max_bytes=100), NonRetryableError)
    got, _ = ask(response(packed, headers={"Content-Encoding": "gzip"}), max_bytes=101)
    assert got["body"] == "x" * 101


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


TEXT = "".join(f"line {n}\n" for n in range(50_000))


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT.encode())),
        ("x-gzip", gzip.compress(TEXT.encode())),
        ("GZIP", gzip.compress(TEXT[:9000].encode()) + gzip.compress(TEXT[9000:].encode()) + b"\0" * 100),
        ("deflate", zlib.compress(TEXT.encode())),
        ("deflate", raw_deflate(TEXT.encode())),
        ("identity", TEXT.encode()),
    ],
)
def test_packed_answers(encoding: str, packed: bytes) -> None:
    got, [asked] = ask(response(packed, headers={"Content-Encoding": encoding}))
    assert got["body"] == TEXT
    assert asked.headers["accept-encoding"] == "gzip, deflate"


def test_packed_answers_that_are_broken() -> None:
    packed = gzip.compress(TEXT.encode())
    cut = failure(response(packed[:-20], headers={"Content-Encoding": "gzip"}))
    assert isinstance(cut, ConnectionError)
    assert "ends in the middle" in str(cut)
    for encoding, raw in (("gzip", b"no gzip"), ("br", b"x"), ("gzip, gzip", packed), ("deflate", b"\xff\xff\xff")):
        error = failure(response(raw, headers={"Content-Encoding": encoding}))
        assert isinstance(error, NonRetryableError), encoding
    assert ask(response(b"", headers={"Content-Encoding": "gzip"}))[0]["body"] is None


def test_a_gzip_bomb_is_not_unpacked() -> None:
    import tracemalloc

    # half a gigabyte of nothing, in half a megabyte
    packer = zlib.compressobj(9, wbits=31)
    piece = bytes(16 * 1024 * 1024)
    bomb = b"".join(packer.compress(piece) for _ in range(32)) + packer.flush()
    assert len(bomb) < 700_000

    async def main() -> None:
        answer = response(bomb, headers={"Content-Encoding": "gzip"}, type="application/json")
        async with serving(answer) as server:
            tracemalloc.start()
            with pytest.raises(NonRetryableError, match="larger than max_bytes"):
                await call(server.url)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 40_000_000

    run(main())


def test_an_error_with_an_endless_body_is_still_that_error() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"busy " * 10_000)
            await writer.drain()

    error = failure(answer)
    assert isinstance(error, HttpStatusError)
    assert (error.status, len(error.body)) == (503, 2000)
