"""The client that obeys an egress policy, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest
import trustme

from dataflows_sdk.errors import EgressDeniedError
from dataflows_sdk.nodes.egress import EgressPolicy, Resolver

from .http_servers import Asked, response, serving


def to_loopback(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return addresses or ["127.0.0.1"]

    return resolver


def test_a_call_keeps_the_name_and_connects_to_the_address() -> None:
    async def main() -> None:
        policy = EgressPolicy(["shop.example.com"], resolver=to_loopback())
        async with serving(response("hello")) as server, policy.client() as client:
            url = f"http://shop.example.com:{server.port}/a?b=c"
            got = await client.get(url)
            assert (got.status_code, got.text) == (200, "hello")
            assert str(got.url) == url
            await client.get(url)
            assert [asked.headers["host"] for asked in server.asked] == [f"shop.example.com:{server.port}"] * 2
            assert [asked.target for asked in server.asked] == ["/a?b=c"] * 2
            assert server.connections == 1, "the connection is used again"

    asyncio.run(main())


def test_a_dot_at_the_end_and_odd_spellings_are_the_same_host() -> None:
    async def main() -> None:
        policy = EgressPolicy(["shop.example.com", "127.0.0.1"], resolver=to_loopback())
        async with serving(response("hello")) as server, policy.client() as client:
            for host in ("shop.example.com.", "SHOP.example.com", "127.1", "0x7f.1", "2130706433", "127.0.0.1."):
                assert (await client.get(f"http://{host}:{server.port}/")).text == "hello"
            assert server.connections == 2, "one for the name, one for the address"

    asyncio.run(main())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "localhost", "localhost.", "[::ffff:127.0.0.1]",
     "[::ffff:7f00:1]", "a.localhost", "0.0.0.0", "0", "127。0。0。1", "rebind.example.com"],
)  # fmt: skip
def test_nothing_private_is_called(host: str) -> None:
    async def main() -> None:
        policy = EgressPolicy(resolver=to_loopback())
        async with serving(response("secret")) as server:
            async with policy.client() as client:
                with pytest.raises(EgressDeniedError) as caught:
                    await client.get(f"http://{host}:{server.port}/")
            assert caught.value.code in {"denied_ip", "denied_hostname", "denied_dns"}
            assert (server.connections, server.asked) == (0, [])

    asyncio.run(main())


# --- rebinding --------------------------------------------------------------------------------------------


def test_a_name_that_turns_private_is_denied_and_never_reached() -> None:
    """Public for the first look-up, private for each that follows: there is one look-up for one connection."""

    async def main() -> None:
        asked: list[str] = []

        async def rebinding(host: str, port: int) -> Sequence[str]:
            asked.append(host)
            # the documentation network is not routed anywhere; here it stands for the attacker's public server
            return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

        policy = EgressPolicy(["192.0.2.0/24"], resolver=rebinding)
        async with serving(response("secret")) as server, policy.client(timeout=0.3) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://rebind.example.com:{server.port}/")
            assert len(asked) == 1, "what was checked is what is called"
            for _ in range(3):
                with pytest.raises(EgressDeniedError) as caught:
                    await client.get(f"http://rebind.example.com:{server.port}/")
                assert caught.value.code == "denied_dns"
            assert (server.connections, server.asked) == (0, [])

    asyncio.run(main())


def test_one_public_answer_beside_a_private_one_does_not_help() -> None:
    async def main() -> None:
        policy = EgressPolicy(resolver=to_loopback("93.184.216.34", "127.0.0.1"))
        async with serving(response("secret")) as server, policy.client() as client:
            with pytest.raises(EgressDeniedError) as caught:
                await client.get(f"http://rebind.example.com:{server.port}/")
            assert (caught.value.code, server.connections) == ("denied_dns", 0)
            assert caught.value.url == f"http://rebind.example.com:{server.port}/"

    asyncio.run(main())


# --- redirects --------------------------------------------------------------------------------------------


def redirecting(to: Callable[[Asked], str], status: str = "302 Found") -> Callable[..., Awaitable[bytes]]:
    async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return response("moved", status, {"Location": to(asked)})

    return answer


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:{}/", "http://127.1:{}/", "http://2130706433:{}/", "http://[::ffff:127.0.0.1]:{}/",
     "http://localhost:{}/", "//127.0.0.1:{}/", "http://169.254.169.254/latest/meta-data/", "http://other.example.com:{}/",
     "http://user:pw@front.example.com:{}/", "file:///etc/passwd", "gopher://127.0.0.1:{}/_x"],
)  # fmt: skip
def test_a_redirect_is_checked_as_the_url_was(place: str, status: str) -> None:
    async def main() -> None:
        policy = EgressPolicy(["front.example.com"], resolver=to_loopback())
        async with serving(response("secret")) as private:
            front = redirecting(lambda _: place.format(private.port), status)
            async with serving(front) as server, policy.client(follow_redirects=True) as client:
                with pytest.raises(EgressDeniedError) as caught:
                    await client.post(f"http://front.example.com:{server.port}/", content=b"x")
                assert caught.value.code == "redirect_denied"
                assert "pw" not in str(caught.value)
                assert len(server.asked) == 1
            assert (private.connections, private.asked) == (0, [])

    asyncio.run(main())


def test_a_redirect_after_redirects_is_checked_and_those_that_may_are_followed() -> None:
    async def main() -> None:
        policy = EgressPolicy(["front.example.com"], resolver=to_loopback())

        async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
            left = int(asked.target.strip("/"))
            if left == 0:
                return response("arrived")
            place = f"/{left - 1}" if left != 7 else "http://127.0.0.1:1/"
            return response("", "302 Found", {"Location": place})

        async with serving(answer) as server, policy.client(follow_redirects=True) as client:
            url = f"http://front.example.com:{server.port}"
            assert (await client.get(f"{url}/5")).text == "arrived"
            with pytest.raises(EgressDeniedError) as caught:
                await client.get(f"{url}/9")
            assert caught.value.code == "redirect_denied"
            # the same request sent twice is no redirect
            request = client.build_request("GET", "http://127.0.0.1:1/")
            for _ in range(2):
                with pytest.raises(EgressDeniedError) as caught:
                    await client.send(request)
                assert caught.value.code == "denied_ip"

    asyncio.run(main())


# --- TLS --------------------------------------------------------------------------------------------------


def test_certificates_are_checked_for_the_name() -> None:
    async def main() -> None:
        ca = trustme.CA()
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("shop.example.com").configure_cert(theirs)
        trusting = ssl.create_default_context()
        ca.configure_trust(trusting)
        policy = EgressPolicy(["*.example.com", "127.0.0.1"], resolver=to_loopback())
        async with serving(response("safe"), tls=theirs) as server:
            async with policy.client(verify=trusting) as client:
                assert (await client.get(f"https://shop.example.com:{server.port}/")).text == "safe"
                assert (await client.get(f"https://shop.example.com.:{server.port}/")).text == "safe"
                assert server.names == ["shop.example.com"], "SNI has the name, not the address"
                for host in ("other.example.com", "127.0.0.1"):
                    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                        await client.get(f"https://{host}:{server.port}/")
            async with policy.client() as client:
                with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                    await client.get(f"https://shop.example.com:{server.port}/")
            async with policy.client(verify=False) as client:
                assert (await client.get(f"https://other.example.com:{server.port}/")).text == "safe"

    asyncio.run(main())


# --- proxies, addresses, timeouts -------------------------------------------------------------------------


def test_proxies_of_the_environment_do_not_lead_around_the_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine shop.example.com login ada password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async def main() -> None:
        async with serving(response("by proxy")) as proxy, serving(response("directly")) as server:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url)
            policy = EgressPolicy(["shop.example.com"], resolver=to_loopback())
            async with policy.client() as client:
                assert (await client.get(f"http://shop.example.com:{server.port}/")).text == "directly"
                with pytest.raises(EgressDeniedError):
                    await client.get(f"http://127.0.0.1:{server.port}/")
            assert proxy.connections == 0
            assert "authorization" not in server.asked[0].headers

    asyncio.run(main())


def test_the_next_address_is_tried_when_one_refuses() -> None:
    async def main() -> None:
        policy = EgressPolicy(["shop.example.com"], resolver=to_loopback("127.0.0.2", "::1", "127.0.0.1"))
        async with serving(response("hello")) as server, policy.client() as client:
            assert (await client.get(f"http://shop.example.com:{server.port}/")).text == "hello"

    asyncio.run(main())


def test_an_address_that_does_not_answer_delays_the_next_one_a_little() -> None:
    async def main() -> None:
        with socket.socket() as silent:
            # a full backlog: the kernel lets further connections hang
            silent.bind(("127.0.0.2", 0))
            port = silent.getsockname()[1]
            silent.listen(0)
            with socket.create_connection(("127.0.0.2", port)):
                listening = await asyncio.start_server(_hello, "127.0.0.1", port)
                policy = EgressPolicy(["shop.example.com"], resolver=to_loopback("127.0.0.2", "127.0.0.1"))
                async with listening, policy.client() as client:
                    begun = time.monotonic()
                    assert (await client.get(f"http://shop.example.com:{port}/")).text == "hello"
                    assert time.monotonic() - begun < 5

    asyncio.run(main())


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(response("hello", headers={"Connection": "close"}))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_nobody_listens_and_a_resolver_that_hangs() -> None:
    async def main() -> None:
        async def hanging(host: str, port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://shop.example.com:{free.getsockname()[1]}/"
            for addresses in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
                policy = EgressPolicy(["shop.example.com"], resolver=to_loopback(*addresses))
                async with policy.client() as client:
                    with pytest.raises(httpx.ConnectError):
                        await client.get(url)
        async with EgressPolicy(resolver=hanging).client(timeout=0.1) as client:
            with pytest.raises(httpx.ConnectTimeout, match=r"shop\.example\.com"):
                await client.get(url)

    asyncio.run(main())


def test_the_failures_of_a_server_are_those_of_httpx() -> None:
    async def main() -> None:
        policy = EgressPolicy(["127.0.0.1"])

        async def silent(asked: Asked, writer: asyncio.StreamWriter) -> bytes | None:
            if asked.target == "/nothing":
                return None
            if asked.target == "/half":
                writer.write(response("hal", headers={"Content-Length": "4"}))
                return None
            await asyncio.Event().wait()
            return b""

        async with serving(silent) as server, policy.client() as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{server.url}/slow", timeout=httpx.Timeout(30, read=0.1))
            for path in ("nothing", "half"):
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(f"{server.url}/{path}")
        async with serving(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as server, policy.client() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{server.url}/")

    asyncio.run(main())


def test_the_shared_client_is_one_per_loop_and_can_be_opened_again() -> None:
    policy = EgressPolicy(["127.0.0.1"])

    async def main() -> None:
        async with serving(response("x", headers={"Set-Cookie": "session=1; Path=/"})) as server:
            client = policy.shared_client()
            assert policy.shared_client() is client
            assert policy.shared_client(verify=False) is not client
            for _ in range(2):
                assert (await client.get(server.url)).text == "x"
            assert "cookie" not in server.asked[1].headers, "one run is not logged in by another"
            await policy.aclose()
            assert client.is_closed
            await policy.aclose()
            again = policy.shared_client()
            assert again is not client
            assert (await again.get(server.url)).text == "x"
            await policy.aclose()

    asyncio.run(main())
    asyncio.run(main())


def test_many_calls_at_once() -> None:
    async def main() -> None:
        policy = EgressPolicy(["127.0.0.1"])
        waiting = asyncio.Semaphore(0)

        async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
            # nobody is answered before all have asked
            arrived.append(asked.target)
            if len(arrived) == 200:
                for _ in range(200):
                    waiting.release()
            await waiting.acquire()
            return response(asked.target)

        arrived: list[str] = []
        async with serving(answer) as server:
            client = policy.shared_client()
            got = await asyncio.gather(*(client.get(f"{server.url}/{n}") for n in range(200)))
            assert [each.text for each in got] == [f"/{n}" for n in range(200)]
            await policy.aclose()

    asyncio.run(main())


# --- the pool ---------------------------------------------------------------------------------------------


def test_calls_beyond_the_limit_wait_for_a_connection() -> None:
    async def main() -> None:
        at_once: list[int] = []
        running = 0

        async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
            nonlocal running
            running += 1
            at_once.append(running)
            await asyncio.sleep(0.01)
            running -= 1
            return response("x")

        policy = EgressPolicy(["127.0.0.1"])
        limits = httpx.Limits(max_connections=3, max_keepalive_connections=2)
        async with serving(answer) as server, policy.client(limits=limits) as client:
            await asyncio.gather(*(client.get(server.url) for _ in range(30)))
            assert (len(at_once), max(at_once)) == (30, 3)
            async with (
                client.stream("GET", server.url),
                client.stream("GET", server.url),
                client.stream("GET", server.url),
            ):
                with pytest.raises(httpx.PoolTimeout, match="no connection became free"):
                    await client.get(server.url, timeout=httpx.Timeout(5, pool=0.05))
            assert (await client.get(server.url)).text == "x", "what was held is free again"

    asyncio.run(main())


def test_every_slot_comes_back_whatever_happens() -> None:
    async def main() -> None:
        async def answer(asked: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
            match asked.target:
                case "/hang":
                    await asyncio.Event().wait()
                case "/cut":
                    return None
                case "/nonsense":
                    return b"nonsense\r\n\r\n"
                case "/close":
                    return response("x", headers={"Connection": "close"})
            return response("x" * 100_000)

        async def attempt(client: httpx.AsyncClient, url: str) -> None:
            with contextlib.suppress(httpx.TransportError, TimeoutError, EgressDeniedError):
                async with asyncio.timeout(0.05):
                    async with client.stream("GET", url) as got:
                        if url.endswith("/read"):
                            await got.aread()

        policy = EgressPolicy(["127.0.0.1"])
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=1)
        async with serving(answer) as server, policy.client(limits=limits) as client:
            urls = [f"{server.url}/{path}" for path in ("hang", "cut", "nonsense", "close", "unread", "read")]
            urls += ["http://127.0.0.2:1/", "http://127.0.0.1:1/"]
            for _ in range(3):
                await asyncio.gather(*(attempt(client, url) for url in urls))
            got = await asyncio.gather(*(client.get(f"{server.url}/{n}") for n in range(4)))
            assert [len(each.content) for each in got] == [100_000] * 4

    asyncio.run(main())


def test_idle_connections_are_few_and_the_oldest_go_first() -> None:
    async def main() -> None:
        policy = EgressPolicy(["*.example.com"], resolver=to_loopback())
        limits = httpx.Limits(max_connections=10, max_keepalive_connections=2, keepalive_expiry=60)
        async with serving(response("x")) as server, policy.client(limits=limits) as client:
            for host in ("a", "b", "a", "c", "a", "b"):  # the second b lost its connection to c
                await client.get(f"http://{host}.example.com:{server.port}/")
            assert server.connections == 4

    asyncio.run(main())


def test_a_connection_that_the_server_closed_or_that_is_old_is_not_used_again() -> None:
    async def main() -> None:
        policy = EgressPolicy(["127.0.0.1"])
        leave = asyncio.Event()

        async def answer(asked: Asked, writer: asyncio.StreamWriter) -> bytes | None:
            if asked.target == "/last":
                writer.write(response("x"))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                leave.set()
                return None
            return response("x")

        async with serving(answer) as server, policy.client() as client:
            for _ in range(5):
                leave.clear()
                assert (await client.get(f"{server.url}/last")).text == "x"
                await leave.wait()
                assert (await client.get(f"{server.url}/")).text == "x"
        async with serving(response("x")) as server:
            async with policy.client(limits=httpx.Limits(keepalive_expiry=0)) as client:
                for _ in range(3):
                    await client.get(server.url)
                assert server.connections == 3

    asyncio.run(main())


def test_clients_are_loaded_when_they_are_needed() -> None:
    code = (
        "import sys; import dataflows_sdk.nodes.egress, dataflows_sdk.nodes.http, dataflows_sdk.nodes.mail as mail; "
        "dataflows_sdk.nodes.egress.EgressPolicy(['10.0.0.0/8']); mail.MailSettings.from_url('smtp://localhost'); "
        "print(sorted({'httpx', 'httpcore', 'aiosmtplib', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
