"""``dataflows mcp`` and the official client: a real process over stdio, and HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mcp import Client, StdioServerParameters

import dataflows_sdk as df
from dataflows_memory.mcp import KEY, mcp_server
from dataflows_memory.tools import Tool, ToolBox
from dataflows_sdk.context import Context
from dataflows_sdk.errors import MissingExtraError

from ..conftest import MakeContext, wait_until

WORKFLOWS = '''
import os
import dataflows_sdk as df
from pydantic import BaseModel

print("a module that prints")
os.write(1, b"or writes to the descriptor\\n")


class Sum(BaseModel):
    a: int
    b: int = 1


@df.workflow("mcp-sum")
def total(event: df.Event[Sum], step):
    """Add two numbers."""
    print("a step that prints")
    return step.run("add", lambda: event.payload.a + event.payload.b)


@df.workflow("mcp-waits")
async def waits(event, step):
    return await step.wait_for_event("go")
'''


@pytest.fixture
def place(make_ctx: MakeContext, tmp_path: Path) -> tuple[Context, Path]:
    """A context that only looks, with a table and memories, and a folder with workflows."""
    ctx = make_ctx(work=False)
    ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id").upsert([{"id": 1, "name": "Fence"}])
    ctx.warehouse.table("salaries", {"id": int, "pay": int}, key="id").upsert([{"id": 1, "pay": 9}])
    ctx.memory.remember("The fence is green.", scope="ann")
    ctx.memory.remember("The safe is behind the fence.", scope="bob")
    (tmp_path / "mcp_flows.py").write_text(WORKFLOWS, encoding="utf-8")
    return ctx, tmp_path


def environment(url: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("DATAFLOWS_")}, "DATAFLOWS_URL": url}


def parameters(url: str, folder: Path, *arguments: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "dataflows_sdk.cli.main", "mcp", *arguments],
        env=environment(url),
        cwd=folder,
    )


ARGUMENTS = ("mcp_flows.py", "--table", "tasks", "--scope", "ann", "--write", "--wait", "300ms")


async def told(client: Client, name: str, /, **arguments: Any) -> Any:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)  # type: ignore[union-attr]


async def refused(client: Client, name: str, /, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, result.content
    return str(result.content[0].text)  # type: ignore[union-attr]


async def everything(client: Client) -> None:
    """What both transports have to do."""
    tools = {each.name: each for each in (await client.list_tools()).tools}
    assert {"mcp-sum", "mcp-waits", "recall", "sql", "describe_tables", "why", "runs", "run", "wait"} <= set(tools)
    assert tools["mcp-sum"].input_schema["required"] == ["a"]
    assert tools["sql"].annotations is not None
    assert tools["sql"].annotations.read_only_hint
    assert not any("scope" in each.input_schema["properties"] for each in tools.values())

    assert (await told(client, "mcp-sum", a=2, b=3))["result"] == 5
    handle = await told(client, "mcp-waits")
    assert handle["status"] in ("running", "waiting")
    assert "call wait" in handle["next"]
    await told(client, "send_event", run=handle["run"], name="go", payload="gone")
    deadline = time.monotonic() + 20
    while (now := await told(client, "wait", run=handle["run"])).get("result") != "gone":
        assert time.monotonic() < deadline, now
    assert [each["workflow"] for each in (await told(client, "runs"))["runs"]] == ["mcp-waits", "mcp-sum"]

    (hit,) = (await told(client, "recall", question="fence safe"))["hits"]
    assert hit["text"] == "The fence is green."
    assert "no argument 'scope'" in await refused(client, "recall", question="safe", scope="bob")
    assert (await told(client, "sql", query="select name from tasks"))["rows"] == [["Fence"]]
    for hostile in (
        "select * from salaries",
        "select * from dataflows.runs",
        "select 1; drop table tasks",
        "with x as (delete from tasks returning *) select * from x",
        "select pg_sleep(1000)",
    ):
        assert "refused" in await refused(client, "sql", query=hostile)
    assert "argument 'a'" in await refused(client, "mcp-sum", a="two")
    assert "there is no tool" in await refused(client, "drop_tables")
    (resource,) = (await client.list_resources()).resources
    (text,) = (await client.read_resource(resource.uri)).contents
    assert "Fence" in text.text  # type: ignore[union-attr]
    assert "salaries" not in text.text  # type: ignore[union-attr]
    with pytest.raises(Exception, match="no resource"):
        await client.read_resource("file:///etc/passwd")


# --- stdio ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio(place: tuple[Context, Path], database_url: str, mode: str) -> None:
    async def main() -> None:
        async with Client(parameters(database_url, place[1], *ARGUMENTS), mode=mode) as client:
            await everything(client)

    asyncio.run(main())


@contextmanager
def piped(url: str, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "mcp", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment(url),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def handshake(process: subprocess.Popen[bytes]) -> None:
    ask(process, 1, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {},
                                   "clientInfo": {"name": "test", "version": "1"}})  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == 1
    send(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})


def ask(process: subprocess.Popen[bytes], number: int, method: str, params: Any) -> None:
    send(process, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def send(process: subprocess.Popen[bytes], message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def test_a_client_that_goes_in_the_middle_of_a_call_leaves_nothing(
    place: tuple[Context, Path], database_url: str
) -> None:
    ctx, folder = place
    with piped(database_url, folder, "mcp_flows.py", "--wait", "60s") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        handshake(process)
        ask(process, 2, "tools/call", {"name": "mcp-sum", "arguments": {"a": 1}})
        assert json.loads(process.stdout.readline())["id"] == 2
        ask(process, 3, "tools/call", {"name": "mcp-waits", "arguments": {}})
        (run,) = wait_until(lambda: ctx.runs("mcp-waits"), "it is started")
        process.stdin.close()
        assert process.wait(15) == 0
        rest = process.stdout.read()
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())  # the protocol and nothing else
        said = process.stderr.read().decode()
        assert "a module that prints" in said
        assert "or writes to the descriptor" in said
        assert "a step that prints" in said
        assert "Traceback" not in said
    assert run.refresh().status in ("queued", "waiting", "sleeping")  # it is handed back, and not lost
    assert not ctx._database.query(
        "select 1 from pg_stat_activity where datname = current_database() and usename like 'dataflows_ask%'"
    )


def test_sigterm_ends_it(place: tuple[Context, Path], database_url: str) -> None:
    with piped(database_url, place[1], "--no-memory") as process:
        handshake(process)
        process.terminate()
        assert process.wait(15) == 128 + 15


# --- HTTP -------------------------------------------------------------------------------------------------


@contextmanager
def served(url: str, folder: Path, *arguments: str, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "mcp", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env={**environment(url), **more}, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            said = ""
            while not (found := re.search(r"http://\S+/mcp", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield found[0], process
        finally:
            process.terminate()
            try:
                assert process.wait(15) == 0
            finally:
                process.kill()


async def reached(address: str, work: Callable[[Client], Awaitable[None]], mode: str = "auto") -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            async with Client(address, mode=mode) as client:
                await client.list_tools()
                break
        except Exception:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    async with Client(address, mode=mode) as client:
        await work(client)


def test_over_http(place: tuple[Context, Path], database_url: str) -> None:
    folder = place[1]
    with served(database_url, folder, *ARGUMENTS, "--http", "0") as (address, process):
        assert address.startswith("http://127.0.0.1:")
        asyncio.run(reached(address, everything))
        # an attacker's page that resolves to loopback
        evil = httpx.post(address, json={}, headers={"Host": "evil.example", "Accept": "application/json"})
        assert evil.status_code in (403, 421)

        async def leave() -> None:
            """Go in the middle of a call."""
            async with Client(address) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await client.call_tool("mcp-waits", {})

        asyncio.run(leave())

        async def again(client: Client) -> None:
            assert (await told(client, "mcp-sum", a=1))["result"] == 2

        asyncio.run(reached(address, again, "legacy"))
        server = psutil.Process(process.pid)
        port = int(address.split(":")[2].split("/")[0])
        wait_until(
            lambda: not [each for each in server.net_connections("tcp") if each.status == "ESTABLISHED"
                         and each.laddr.port == port],
            "no connection of a client is left",
        )  # fmt: skip


def test_a_token_is_asked_for(place: tuple[Context, Path], database_url: str) -> None:
    with served(database_url, place[1], "--http", "127.0.0.1:0", DATAFLOWS_MCP_TOKEN="s3cret-s3cret") as (address, _):
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
        accept = {"Accept": "application/json, text/event-stream"}

        def post(**headers: str) -> int:
            try:
                return httpx.post(address, json=body, headers=accept | headers).status_code
            except httpx.TransportError:
                return 0

        wait_until(post, "it listens")
        assert post() == 401
        assert post(Authorization="Bearer wrong") == 401
        assert post(Authorization="Bearer") == 401
        assert post(Authorization="Bearer s3cret-s3cret") == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--http", "0.0.0.0:0"), "--token"),
        (("--http", "example.org:80"), "--token"),
        (("--http", "here"), "HOST:PORT"),
        (("--http", "127.0.0.1:99999"), "HOST:PORT"),
        (("--http", "0", "--token", " "), "--token is empty"),
        (("--table", "x", "--no-tables"), "contradict"),
        (("--table", "nowhere"), "there is no table"),
        (("--flow", "nowhere"), "nowhere"),
        (("--wait", "soon"), "soon"),
    ],
)
def test_a_wrong_command_line_is_told(database_url: str, arguments: tuple[str, ...], said: str) -> None:
    from click.testing import CliRunner

    from dataflows_sdk.cli.main import cli

    result = CliRunner(env={"DATAFLOWS_URL": database_url}).invoke(cli, ["mcp", *arguments])
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert not result.stdout


def test_a_port_that_is_taken_is_told(place: tuple[Context, Path], database_url: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "dataflows_sdk.cli.main", "mcp", "--http", port],
            env=environment(database_url), cwd=place[1], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1:" in done.stderr
    assert not done.stdout


# --- the server by itself ---------------------------------------------------------------------------------


def test_a_hung_tool_is_given_up_and_holds_up_no_other() -> None:
    hung = threading.Event()

    def hang() -> None:
        """Hang."""
        hung.wait(30)

    def quick() -> int:
        """Answer at once."""
        return 7

    server = mcp_server(ToolBox([Tool.of(hang, wait=1), Tool.of(quick)]))

    async def main() -> None:
        async with Client(server) as client:
            slow = asyncio.create_task(refused(client, "hang"))
            await asyncio.sleep(0)
            assert await told(client, "quick") == 7
            assert not slow.done()
            assert "did not answer within" in await slow
            assert not (await client.list_resources()).resources

    try:
        asyncio.run(main())
    finally:
        hung.set()


@pytest.mark.parametrize("by", ["the model", "the client"])
def test_a_call_that_is_repeated_after_trouble_starts_one_run(ctx: Context, by: str) -> None:
    @df.workflow("mcp-repeated")
    async def repeated(event: Any, step: Any) -> Any:
        return await step.wait_for_event("go")

    server = mcp_server(ctx.tools([repeated], tables=[], memory=None, wait="10s"))
    arguments: dict[str, Any] = {"input": 1}
    meta: Any = None
    if by == "the model":
        arguments["idempotency_key"] = "order 17"
    else:
        meta = {KEY: "order 17"}

    async def main() -> None:
        async with Client(server) as client:
            lost = asyncio.create_task(client.call_tool("mcp-repeated", arguments, meta=meta))
            while not (runs := await asyncio.to_thread(ctx.runs, "mcp-repeated")):
                await asyncio.sleep(0.01)
            lost.cancel()
        async with Client(server) as client:
            again = asyncio.create_task(client.call_tool("mcp-repeated", arguments, meta=meta))
            await asyncio.to_thread(runs[0].send_event, "go", "gone")
            done = json.loads((await again).content[0].text)  # type: ignore[union-attr]
            assert (done["run"], done["result"]) == (runs[0].id, "gone")
            assert "idempotency_key" in await refused(client, "mcp-repeated", idempotency_key=" ")
        assert len(await asyncio.to_thread(ctx.runs, "mcp-repeated")) == 1

    asyncio.run(main())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.lowlevel", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[mcp\]"):
        mcp_server(ToolBox())
