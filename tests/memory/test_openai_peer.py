"""The peer is what the official client takes for OpenAI."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from .openai_peer import CHAT, EMBEDDINGS, Drop, Peer, Status, Text, ToolCall, serving


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=peer.url, api_key=peer.key, max_retries=0, timeout=20) as client:
        yield client


def test_float_and_base64_are_the_same_vectors(peer: Peer, client: openai.OpenAI) -> None:
    coded = client.embeddings.create(input=["one two", "three"], model="text-embedding-3-small")
    assert peer.requests[0].body["encoding_format"] == "base64"  # by itself
    plain = client.embeddings.create(
        input=["one two", "three"], model="text-embedding-3-small", encoding_format="float"
    )
    assert len(coded.data) == 2
    assert len(coded.data[0].embedding) == 1536
    assert coded.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert coded.usage.total_tokens > 0
    assert (
        len(client.embeddings.create(input="x", model="text-embedding-3-small", dimensions=64).data[0].embedding) == 64
    )


def test_chat_with_tools_whole_and_streamed(peer: Peer, client: openai.OpenAI) -> None:
    said = Text("Let me look.", calls=(ToolCall("recall", {"query": "budget"}),))
    peer.script(said, said)
    messages = [{"role": "user", "content": "hi"}]
    whole = client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
    assert whole.choices[0].finish_reason == "tool_calls"
    assert json.loads(whole.choices[0].message.tool_calls[0].function.arguments) == {"query": "budget"}  # type: ignore[index,union-attr,arg-type]
    with client.chat.completions.stream(model="m", messages=messages, stream_options={"include_usage": True}) as stream:  # type: ignore[index,union-attr,arg-type]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Let me look."
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"query": "budget"}'  # type: ignore[index,union-attr,arg-type]
    assert final.usage == whole.usage
    assert peer.count(CHAT) == 2
    assert peer.left == 0
    echo = client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
    assert echo.choices[0].message.content == "You said: hi"


def test_responses_with_tools_whole_and_streamed(peer: Peer, client: openai.OpenAI) -> None:
    said = Text("Here.", calls=(ToolCall("sql", {"q": "select 1"}, "call_7"),))
    peer.script(said, said)
    whole = client.responses.create(model="m", input="hi")
    assert whole.output_text == "Here."
    call = whole.output[1]
    assert call.type == "function_call"
    assert call.call_id == "call_7"
    assert json.loads(call.arguments) == {"q": "select 1"}
    with client.responses.stream(model="m", input="hi") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.function_call_arguments.delta" in kinds
    assert final.output_text == "Here."
    assert final.usage == whole.usage


def test_errors_have_the_shape_of_the_api(peer: Peer, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong:
        with openai.OpenAI(base_url=peer.url, api_key="sk-other", max_retries=0) as other:
            other.embeddings.create(input="x", model="m")
    assert wrong.value.code == "invalid_api_key"
    peer.script(Status(429, retry_after=3), Status(500), Drop(), Drop(after=20))
    with pytest.raises(openai.RateLimitError) as limited:
        client.embeddings.create(input="x", model="m")
    assert limited.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(input="x", model="m")
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError):
            client.embeddings.create(input="x", model="m")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.embeddings.create(input="word " * 50_000, model="m")
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(input=["a", ""], model="m")
    with pytest.raises(openai.NotFoundError):
        client.post("/nothing", cast_to=object, body={"model": "m"})
    assert peer.count(EMBEDDINGS) == 7


def test_a_stream_that_breaks(peer: Peer, client: openai.OpenAI) -> None:
    peer.script(Text("one two three four", pieces=4, drop_after=3))
    got = []
    with pytest.raises(openai.APIConnectionError):
        for chunk in client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        ):
            got.append(chunk.choices[0].delta.content or "")
    assert "".join(got) == "one two th"[: len("".join(got))]
    assert any(got)
