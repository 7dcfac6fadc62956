"""What deployed functions may ask of their host: values by key, addresses; and the values by key themselves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, NotSerializableError, RunFailed
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext

ENGINES = ["quickjs", "v8"]


@pytest.fixture
def address() -> Iterator[str]:
    """An HTTP server on loopback that says what it was asked; ``/none`` is not there, ``/slow`` never answers."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            told = {"method": self.command, "path": self.path, "body": self.rfile.read(size).decode()}
            if self.path == "/slow":
                ended.wait(30)
            told["header"] = self.headers.get("x-own")
            data = json.dumps(told).encode()
            self.send_response(404 if self.path == "/none" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def deploy(ctx: df.Context, source: str, engine: str = "quickjs", timeout_ms: int = 20_000) -> None:
    ctx.functions.deploy("f", source, engine=engine, timeout_ms=timeout_ms)  # type: ignore[arg-type]


def test_contexts_that_share_services_have_each_their_own_values_and_functions(
    make_ctx: MakeContext, dataflows_databases: Any
) -> None:
    shared, other = df.Services(env={"A": "1"}), dataflows_databases.create()
    try:
        one, two = make_ctx(services=shared), make_ctx(other, services=shared)
        for name, ctx in (("one", one), ("two", two)):
            deploy(ctx, f"await atlas.kv.set('who', '{name}'); return [await atlas.kv.get('mine'), '{name}']")
            ctx.kv.set("mine", name)
        assert [ctx.functions.invoke("f", timeout="30s") for ctx in (one, two)] == [["one", "one"], ["two", "two"]]
        assert [ctx.kv.get("who") for ctx in (one, two)] == ["one", "two"]
        one.close()
        assert two.functions.invoke("f", timeout="30s") == ["two", "two"], "though the first one is gone"
        two.close()
    finally:
        dataflows_databases.drop(other)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_keeps_values(make_ctx: MakeContext, engine: str) -> None:
    ctx = make_ctx()
    counts = """
        const n = (await atlas.kv.get("n") ?? 0) + 1;
        await atlas.kv.set("n", n);
        return n;
    """
    deploy(ctx, counts, engine)
    assert [ctx.functions.invoke("f", timeout="30s") for _ in range(3)] == [1, 2, 3]
    assert ctx.kv.get("n") == 3
    deploy(ctx, 'return [await atlas.kv.delete("n"), await atlas.kv.delete("n"), await atlas.kv.get("n")]', engine)
    assert ctx.functions.invoke("f", timeout="30s") == [True, False, None]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_fetches(make_ctx: MakeContext, address: str, engine: str) -> None:
    ctx = make_ctx(services=df.Services(egress=["127.0.0.1"]))
    fetches = """
        const options = {method: "PUT", headers: {"x-own": "7"}, body: "hello"};
        const all = await Promise.all([
            atlas.fetch(input + "/a").then(async r => [r.status, r.ok, (await r.json()).method]),
            atlas.fetch(input + "/none").then(async r => [r.status, r.ok, JSON.parse(await r.text()).path]),
            atlas.fetch(input + "/post", {method: "POST", headers: {"x-own": "7"}, body: "hello"}).then(r => r.json()),
        ]);
        return all;
    """
    deploy(ctx, fetches, engine)
    made = ctx.functions.start("f", address)
    plain, missing, posted = made.result("30s")
    assert (plain, missing) == ([200, True, "GET"], [404, False, "/none"])
    assert posted == {"method": "POST", "path": "/post", "body": "hello", "header": "7"}


PRIVATE = [
    "http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data", "http://2130706433/", "http://[::1]/",
    "file:///etc/passwd", "http://localhost/", "nonsense",
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_a_function_fetches_nothing_private(make_ctx: MakeContext, engine: str) -> None:
    ctx = make_ctx()
    deploy(ctx, "try { await atlas.fetch(input); return 'got it' } catch (error) { return error.name }", engine)
    for url in PRIVATE:
        assert ctx.functions.invoke("f", url, timeout="30s") in ("EgressDeniedError", "TypeError"), url


REFUSED = [
    ("atlas.kv.get(7)", "a key is a text"),
    ("atlas.kv.get('')", "a key is a text"),
    ("atlas.kv.set('a', 1, {ttl: -1})", "ttl"),
    ("atlas.kv.set('a', 'x'.repeat(1100000))", "1024 KiB"),
    ("atlas.fetch('https://example.com', {redirect: 'manual'})", "not redirect"),
    ("atlas.fetch('https://example.com', {method: 7})", "method"),
    ("atlas.db.query('select 1')", "warehouse"),
    ("atlas.kv.set('a', 1n)", "BigInt"),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_host_refuses_is_an_error_that_can_be_caught(make_ctx: MakeContext, engine: str) -> None:
    ctx = make_ctx()
    for asks, message in REFUSED:
        deploy(ctx, f"try {{ return await {asks} }} catch (error) {{ return String(error) }}", engine)
        assert message in ctx.functions.invoke("f", timeout="30s"), asks
        deploy(ctx, f"return await {asks}", engine)
        with pytest.raises(RunFailed, match=message):
            ctx.functions.invoke("f", timeout="30s")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "code",
    [
        "return await atlas.fetch(input + '/slow')",
        "for (;;) await atlas.kv.set('n', 1)",
        "await atlas.kv.get('n'); for (;;) {}",
    ],
)
def test_time_spent_with_the_host_counts(make_ctx: MakeContext, address: str, engine: str, code: str) -> None:
    ctx = make_ctx(services=df.Services(egress=["127.0.0.1"]))
    deploy(ctx, code, engine, timeout_ms=700)
    with pytest.raises(RunFailed, match="timeout"):
        ctx.functions.invoke("f", address, timeout="60s")
    deploy(ctx, "return 7", engine)
    assert ctx.functions.invoke("f", timeout="30s") == 7


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "code",
    [
        "const first = add(); return await (first)",
        "const other = async () => { await (add()); }; await other(); return 1",
        "const first = add(); await [1]; await first",
    ],
)
def test_nothing_is_asked_twice(make_ctx: MakeContext, engine: str, code: str) -> None:
    ctx = make_ctx()
    add = "const add = async () => atlas.kv.set('n', ((await atlas.kv.get('n')) ?? 0) + 1);"
    deploy(ctx, f"{add} {code}", engine)
    ctx.functions.invoke("f", timeout="30s")
    assert ctx.kv.get("n") == 1


def test_who_is_no_function_has_no_host(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    assert ctx.run(df.flow("f").on_manual().snippet("s", "return typeof atlas"), timeout="30s").result() == "undefined"


def test_a_function_that_spoils_the_language_spoils_only_itself(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    spoils = """
        Array.prototype.push = Map.prototype.get = Promise.prototype.then = JSON.stringify = () => { throw 1 };
        Object.defineProperty(Array.prototype, "0", {set() { throw 2 }});
        try { await atlas.kv.set("a", [1]) } catch {}
        return 1;
    """
    deploy(ctx, spoils)
    assert ctx.functions.start("f").wait("30s").status in ("succeeded", "failed")
    deploy(ctx, "return [1].concat(await atlas.kv.get('a'))")
    assert ctx.functions.invoke("f", timeout="30s") == [1, None]


# --- values by key ----------------------------------------------------------------------------------------


def test_values_by_key(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx, other = make_ctx(clock=clock, work=False), make_ctx(clock=clock, work=False)
    ctx.kv.set("a", {"at": clock.now(), "n": 1})
    ctx.kv.set("ab", 2, ttl="1h")
    assert other.kv.get("a") == {"at": clock.now(), "n": 1}
    assert (other.kv.keys(), other.kv.keys("ab"), other.kv.get("none", 7)) == (["a", "ab"], ["ab"], 7)
    clock.advance("61m")
    assert (other.kv.get("ab"), other.kv.keys(), other.kv.delete("ab")) == (None, ["a"], False)
    ctx.kv.set("ab", 3, ttl="1h")
    ctx.kv.set("ab", 4)
    clock.advance("61m")
    assert other.kv.get("ab") == 4
    ctx.kv.set("c", 1, ttl="1s")
    clock.advance("1h")
    ctx.kv.set("d", None)
    with ctx._database.connection() as connection:
        assert connection.execute("select array_agg(key order by key) from dataflows.kv").fetchone() == (
            ["a", "ab", "d"],
        )
    assert ctx.kv.get("d", 7) is None
    assert ctx.kv.delete("a")


@pytest.mark.parametrize("key", ["", "x" * 501, "a\0", None, 7])
def test_keys_that_cannot_be(make_ctx: MakeContext, key: Any) -> None:
    kv = make_ctx(work=False).kv
    for act in (kv.get, kv.delete, lambda key: kv.set(key, 1)):
        with pytest.raises(DefinitionError):
            act(key)


def test_values_that_cannot_be(make_ctx: MakeContext) -> None:
    kv = make_ctx(work=False).kv
    for value in (object(), "x" * (1024 * 1024 + 1)):
        with pytest.raises(NotSerializableError, match="'a'"):
            kv.set("a", value)
    for ttl in ("0s", "-1s"):
        with pytest.raises(DefinitionError):
            kv.set("a", 1, ttl=ttl)
    assert kv.keys() == []
