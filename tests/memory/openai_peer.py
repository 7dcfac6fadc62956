"""A server on loopback that speaks OpenAI's API: embeddings, chat completions and responses, also streamed.

    with serving() as peer:
        client = openai.OpenAI(base_url=peer.url, api_key=peer.key)
        peer.script(Status(429, retry_after=0.01), Text("hello"))

Each request takes the next behaviour that fits its path from the queue; without one it is answered as usual. What was
asked is in `peer.requests`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

EMBEDDINGS, CHAT, RESPONSES = "/v1/embeddings", "/v1/chat/completions", "/v1/responses"
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
#: that of the API: texts in a request, tokens in a text
MOST_INPUTS, MOST_TOKENS = 2_048, 8_191


# --- behaviours -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """An error in the shape of the API."""

    status: int
    message: str = ""
    code: str | None = None
    retry_after: float | str | None = None
    path: str | None = None


@dataclass(frozen=True)
class Raw:
    """Any body."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    path: str | None = None


@dataclass(frozen=True)
class Slow:
    """The usual answer after so many seconds, or as soon as `peer.release` is set."""

    seconds: float
    path: str | None = None


@dataclass(frozen=True)
class Drop:
    """The connection ends: before a byte was sent, or after so many of the answer's."""

    after: int = 0
    path: str | None = None


@dataclass(frozen=True)
class Change:
    """The usual answer, changed; of embeddings and of models that do not stream."""

    change: Callable[[dict[str, Any]], Any]
    path: str | None = None


@dataclass(frozen=True)
class ToolCall:
    """One function that the model calls; arguments as an object, or as a text to send broken JSON."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str = ""

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Text:
    """What the model says, and the tools that it calls; `drop_after` ends the stream after so many events."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    pieces: int = 4
    pause: float = 0.0
    drop_after: int | None = None
    finish: str | None = None
    path: str | None = None


Behaviour: TypeAlias = Status | Raw | Slow | Drop | Change | Text


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    body: Any
    headers: dict[str, str]


class Peer:
    """What it was asked, and what it will do."""

    def __init__(self, key: str = "sk-test-4f9Qz81LmPwXc") -> None:
        self.url, self.key = "", key
        self.requests: list[Request] = []
        self.release = threading.Event()
        #: how a text becomes a vector; tests may put their own here
        self.vector: Callable[[str, int], list[float]] = words_vector
        self._queue: list[Behaviour] = []
        self._lock = threading.Lock()

    def script(self, *behaviours: Behaviour) -> None:
        """What to do with the next requests, in order."""
        with self._lock:
            self._queue.extend(behaviours)

    @property
    def left(self) -> int:
        """Behaviours that no request took yet."""
        return len(self._queue)

    def count(self, path: str | None = None) -> int:
        """Requests so far, all or those of a path."""
        return sum(path in {None, request.path} for request in self.requests)

    def take(self, request: Request) -> Behaviour | None:
        """Note the request; the behaviour that it gets."""
        with self._lock:
            self.requests.append(request)
            for place, behaviour in enumerate(self._queue):
                if behaviour.path in {None, request.path} and not (
                    isinstance(behaviour, Text) and request.path == EMBEDDINGS
                ):
                    return self._queue.pop(place)
        return None


def words_vector(text: str, dimension: int) -> list[float]:
    """Words in common make vectors alike; the same text always gives the same."""
    vector = [0.0] * dimension
    for word in text.lower().split() or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        for start in range(0, 32, 8):
            number = int.from_bytes(digest[start : start + 8], "little")
            vector[number % dimension] += 1.0 if number >> 63 else -1.0
    length = math.sqrt(sum(n * n for n in vector))
    return [n / length for n in vector] if length else [1.0] + [0.0] * (dimension - 1)


def tokens(text: str) -> int:
    """About as many as the API counts."""
    return len(text.encode()) // 4 + 1


# --- answers ----------------------------------------------------------------------------------------------


class _Refused(Exception):
    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


def _error(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    kinds = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error"}
    kind = "insufficient_quota" if code == "insufficient_quota" else kinds.get(status, "server_error")
    return {
        "error": {
            "message": message,
            "type": "requests" if status == 429 and not code else kind,
            "param": param,
            "code": code,
        }
    }


def embeddings(body: dict[str, Any], vector: Callable[[str, int], list[float]]) -> dict[str, Any]:
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or len(texts) > MOST_INPUTS:
        raise _Refused(f"'$.input' is invalid: between 1 and {MOST_INPUTS} texts; array too long?", "input")
    if not all(isinstance(text, str) and text for text in texts):
        raise _Refused("'$.input' is invalid. Please check the API reference.", "input")
    if (most := max(tokens(text) for text in texts)) > MOST_TOKENS:
        raise _Refused(
            f"This model's maximum context length is {MOST_TOKENS + 1} tokens, however you requested {most} tokens.",
            None,
        )
    model = body.get("model")
    size = body.get("dimensions") or DIMENSIONS.get(str(model), 8)
    encoded = body.get("encoding_format", "float") == "base64"
    data = []
    for index, text in enumerate(texts):
        numbers = vector(text, size)
        packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if encoded else numbers
        data.append({"object": "embedding", "index": index, "embedding": packed})
    used = sum(map(tokens, texts))
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": used, "total_tokens": used}}


def _asked(body: dict[str, Any]) -> str:
    """The last thing that a person or a tool said."""
    said = body.get("messages", body.get("input", ""))
    if isinstance(said, str):
        return said
    if not isinstance(said, list) or not said:
        raise _Refused("the conversation is empty", "messages")
    last = said[-1]
    content = last.get("content") if "content" in last else last.get("output", "")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content or [])


def _pieces(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _calls(said: Text, number: int) -> list[ToolCall]:
    return [
        call if call.id else ToolCall(call.name, call.arguments, f"call_{number}_{i}")
        for i, call in enumerate(said.calls)
    ]


def chat(body: dict[str, Any], said: Text, number: int) -> dict[str, Any]:
    calls = _calls(said, number)
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in calls
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}],
        "usage": _usage(body, said),
    }


def _finish(said: Text) -> str:
    return said.finish or ("tool_calls" if said.calls else "stop")


def _usage(body: dict[str, Any], said: Text) -> dict[str, Any]:
    before = tokens(json.dumps(body.get("messages", body.get("input", ""))))
    after = tokens(said.text + "".join(call.name + call.text for call in said.calls))
    return {"prompt_tokens": before, "completion_tokens": after, "total_tokens": before + after}


def chat_events(body: dict[str, Any], said: Text, number: int) -> Iterator[str]:
    base = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": body.get("model"),
    }
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return f"data: {json.dumps({**base, 'choices': [choice], **({'usage': None} if wants_usage else {})})}\n\n"

    yield event({"role": "assistant", "content": "" if said.text or not said.calls else None})
    for piece in _pieces(said.text, said.pieces):
        yield event({"content": piece})
    for index, call in enumerate(_calls(said, number)):
        head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield event({"tool_calls": [head]})
        for piece in _pieces(call.text, said.pieces):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield event({}, _finish(said))
    if wants_usage:
        yield f"data: {json.dumps({**base, 'choices': [], 'usage': _usage(body, said)})}\n\n"
    yield "data: [DONE]\n\n"


def response(body: dict[str, Any], said: Text, number: int) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if said.text or not said.calls:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        output.append(
            {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        )
    for call in _calls(said, number):
        output.append(
            {
                "id": f"fc_{call.id}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.text,
            }
        )
    used = _usage(body, said)
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "model": body.get("model"),
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "usage": {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        },
    }


def response_events(body: dict[str, Any], said: Text, number: int) -> Iterator[str]:
    whole = response(body, said, number)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    sequence = -1

    def event(kind: str, **rest: Any) -> str:
        nonlocal sequence
        sequence += 1
        return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': sequence, **rest})}\n\n"

    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(whole["output"]):
        at: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = item["content"][0]
            empty = {**item, "status": "in_progress", "content": []}
            yield event("response.output_item.added", output_index=index, item=empty)
            yield event("response.content_part.added", **at, content_index=0, part={**part, "text": ""})
            for piece in _pieces(part["text"], said.pieces):
                yield event("response.output_text.delta", **at, content_index=0, delta=piece, logprobs=[])
            yield event("response.output_text.done", **at, content_index=0, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **at, content_index=0, part=part)
        else:
            empty = {**item, "status": "in_progress", "arguments": ""}
            yield event("response.output_item.added", output_index=index, item=empty)
            for piece in _pieces(item["arguments"], said.pieces):
                yield event("response.function_call_arguments.delta", **at, delta=piece)
            yield event("response.function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


# --- the server -------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer: Peer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        path = self.path.partition("?")[0]
        behaviour = self.peer.take(Request(path, body, {k.lower(): v for k, v in self.headers.items()}))
        number = len(self.peer.requests)
        try:
            self._answer(path, body, behaviour, number)
        except _Refused as refused:
            self._json(refused.status, _error(refused.status, refused.message, refused.code, refused.param))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client left: a timeout, a test of its own

    def do_GET(self) -> None:
        self.peer.take(Request(self.path, None, {k.lower(): v for k, v in self.headers.items()}))
        self._json(404, _error(404, f"Invalid URL (GET {self.path})"))

    def _answer(self, path: str, body: Any, behaviour: Behaviour | None, number: int) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given != self.peer.key:
            # as the API does, but for the key, which it shortens: a client must not count on that
            raise _Refused(f"Incorrect API key provided: {given}.", code="invalid_api_key", status=401)
        if path not in {EMBEDDINGS, CHAT, RESPONSES}:
            raise _Refused(f"Invalid URL (POST {path})", status=404)
        if not isinstance(body, dict) or not body.get("model"):
            raise _Refused("you must provide a model parameter", "model")
        match behaviour:
            case Status(status, message, code, retry_after):
                headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
                self._json(status, _error(status, message or f"scripted {status}", code), headers)
                return
            case Raw(content, status, content_type):
                self._send(status, content, {"Content-Type": content_type})
                return
            case Slow(seconds):
                self.peer.release.wait(seconds)
            case Drop(0):
                self._hang_up()
                return
        if path == EMBEDDINGS:
            answer = embeddings(body, self.peer.vector)
        else:
            said = behaviour if isinstance(behaviour, Text) else Text(f"You said: {_asked(body)}")
            if body.get("stream"):
                events = chat_events if path == CHAT else response_events
                self._stream(events(body, said, number), said)
                return
            answer = chat(body, said, number) if path == CHAT else response(body, said, number)
        if isinstance(behaviour, Change):
            answer = behaviour.change(answer)
        if isinstance(behaviour, Drop):
            content = json.dumps(answer).encode()
            self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(content))})
            self.wfile.write(content[: behaviour.after])
            self._hang_up()
            return
        self._json(200, answer)

    def _stream(self, events: Iterator[str], said: Text) -> None:
        self._head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
        for count, event in enumerate(events):
            if count == said.drop_after:
                self._hang_up()
                return
            if said.pause:
                time.sleep(said.pause)
            content = event.encode()
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("x-request-id", f"req_{len(self.peer.requests)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `peer.requests`."""


@contextmanager
def serving(key: str = "sk-test-4f9Qz81LmPwXc") -> Iterator[Peer]:
    """A peer, as long as the block lasts; `peer.url` is what a client takes for its ``base_url``."""
    peer = Peer(key)
    handler = type("Handler", (_Handler,), {"peer": peer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    peer.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        peer.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
