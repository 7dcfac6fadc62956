"""The end of a context closes what it opened to models, also in event loops that go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import psutil
import pytest

from dataflows_memory.desk import Memory
from dataflows_memory.embedding import OpenAIEmbedder
from dataflows_memory.models import ChatModel

from ..conftest import MakeContext, wait_until
from .openai_peer import Peer, Text, serving


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


def opened(peer: Peer) -> int:
    """Connections of this process to the peer."""
    port = int(peer.url.split(":")[2].split("/")[0])
    mine = psutil.Process().net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == port and each.status == "ESTABLISHED" for each in mine)


def test_the_end_of_a_context_closes_its_models(make_ctx: MakeContext, peer: Peer) -> None:
    ctx = make_ctx()
    first = OpenAIEmbedder("text-embedding-3-small", base_url=peer.url, api_key=peer.key)
    second = OpenAIEmbedder("text-embedding-3-small", base_url=peer.url, api_key=peer.key)
    memory = Memory(ctx, first)
    memory.remember("The fence is green.")
    memory.use(second)
    memory.remember("The roof leaks.")
    model = ChatModel("small", base_url=peer.url, api_key=peer.key)
    peer.script(Text("It is green [1]."))
    assert memory.ask("Which colour has the fence?", model=model, timeout="60s").found
    assert opened(peer) >= 3
    ctx.close()
    wait_until(lambda: opened(peer) == 0, "no connection to a model is left")
    assert len(first.embed(["again"])) == 1, "one that is used again opens a new one"
    first.close()


def test_an_embedder_is_closed_in_the_loop_where_it_is_used(peer: Peer) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    embedder = OpenAIEmbedder("text-embedding-3-small", base_url=peer.url, api_key=peer.key)
    try:
        assert len(asyncio.run_coroutine_threadsafe(embedder.aembed(["fence"]), loop).result(60)) == 1
        assert opened(peer) == 1
        embedder.close()
        wait_until(lambda: opened(peer) == 0, "no connection is left")
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    embedder.close()


def test_a_loop_that_has_ended_is_no_error(peer: Peer) -> None:
    embedder = OpenAIEmbedder("text-embedding-3-small", base_url=peer.url, api_key=peer.key)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(embedder.aembed(["fence"]))
    loop.run_until_complete(embedder._clients[loop].close())
    loop.close()
    embedder.close()
