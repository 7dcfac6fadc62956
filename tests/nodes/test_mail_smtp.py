"""``action_email`` against a real SMTP server on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dataflows_sdk.core.retry import Retry, is_retryable
from dataflows_sdk.errors import MailError, MailRefusedError
from dataflows_sdk.nodes.mail import ActionEmail, MailSettings, send_email
from dataflows_sdk.nodes.registry import Call
from dataflows_sdk.nodes.services import Services

MESSAGE = {"to": "ada@example.com", "subject": "Grüße", "body": "Hello\n.\n.hidden\nend", "from": "app@shop.example"}


@dataclass
class Post:
    """What the server got, and how it answers."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    #: the answer to a recipient, to the sender, to the content
    rcpt: dict[str, str] = field(default_factory=dict)
    mail: str | None = None
    data: str = "250 taken"
    hang: bool = False

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.rcpt:
            return self.rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mail is not None:
            return self.mail
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.hang:
            await asyncio.Event().wait()
        self.envelopes.append(envelope)
        self.tls.append(session.ssl is not None)
        return self.data

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"hunter2", handled=False)


@asynccontextmanager
async def post_office(
    post: Post, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Post]:
    """*tls* encrypts from the first byte."""
    protocols: list[SMTP] = []

    def protocol() -> SMTP:
        options.setdefault("auth_require_tls", False)
        made = SMTP(
            post,
            hostname="127.0.0.1",
            authenticator=post.authenticate,
            loop=asyncio.get_running_loop(),
            **options,
        )
        protocols.append(made)
        return made

    server = await asyncio.get_running_loop().create_server(protocol, host, 0, ssl=tls)
    post.port = server.sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        server.close()
        tasks = [task for made in protocols if (task := made._handler_coroutine) is not None]
        for made, task in zip(protocols, tasks, strict=False):
            task.cancel()
            if made.transport is not None:
                made.transport.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def send(url: str, **config: Any) -> Any:
    call = Call("mail", "run-1", "orders", 1, "run-1:mail", {}, Services(mail=MailSettings.from_url(url)))
    return await send_email(ActionEmail.model_validate({**MESSAGE, **config}), call)


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def deliver(post: Post, url: str = "smtp://127.0.0.1:{}", config: dict[str, Any] | None = None, **options: Any) -> Any:
    async def main() -> Any:
        async with post_office(post, **options):
            return await send(url.format(post.port), **(config or {}))

    return run(main())


def refused(
    post: Post, url: str = "smtp://127.0.0.1:{}", config: dict[str, Any] | None = None, **options: Any
) -> MailError:
    with pytest.raises(MailError) as caught:
        deliver(post, url, config, **options)
    assert "hunter2" not in str(caught.value)
    assert is_retryable(Retry(), caught.value) is not isinstance(caught.value, MailRefusedError)
    return caught.value


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate authority, as a file, and a server's context with a certificate of it for 127.0.0.1."""
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return path, context


# --- delivery ---------------------------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_written() -> None:
    post = Post()
    output = deliver(
        post,
        config={
            "to": ["Ada <ada@example.com>"],
            "cc": "bob@example.com",
            "bcc": "secret@example.com",
            "html": "<p>Grüße</p>",
            "attachments": [{"filename": "a.bin", "content": bytes(range(256)) * 100}],
        },
    )
    [envelope] = post.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "app@shop.example", ["ada@example.com", "bob@example.com", "secret@example.com"],
    )  # fmt: skip
    raw = envelope.content
    assert isinstance(raw, bytes)
    assert b"secret" not in raw
    message = email.message_from_bytes(raw.replace(b"\r\n", b"\n"), policy=email.policy.default)
    assert message["Subject"] == "Grüße"
    assert message.get_body(("plain",)).get_content() == "Hello\n.\n.hidden\nend\n"  # type: ignore[attr-defined]
    assert message.get_body(("html",)).get_content() == "<p>Grüße</p>\n"  # type: ignore[attr-defined]
    [file] = message.iter_attachments()  # type: ignore[attr-defined]
    assert file.get_content() == bytes(range(256)) * 100
    assert output == {"message_id": message["Message-ID"], "accepted": envelope.rcpt_tos, "rejected": {}}


def test_a_second_sending_has_the_same_id() -> None:
    post = Post()
    assert deliver(post)["message_id"] == deliver(post)["message_id"]
    assert len(post.envelopes) == 2


def test_fifty_at_once() -> None:
    post = Post()

    async def main() -> list[Any]:
        async with post_office(post):
            url = f"smtp://127.0.0.1:{post.port}"
            return await asyncio.gather(*(send(url, to=f"a{n}@example.com") for n in range(50)))

    sent = run(main())
    assert [each["accepted"] for each in sent] == [[f"a{n}@example.com"] for n in range(50)]
    assert {envelope.rcpt_tos[0] for envelope in post.envelopes} == {f"a{n}@example.com" for n in range(50)}


# --- refusals ---------------------------------------------------------------------------------------------


def test_a_refused_recipient_beside_one_that_is_taken() -> None:
    post = Post(rcpt={"bob@example.com": "550 no such user"})
    output = deliver(post, config={"to": ["ada@example.com", "bob@example.com"]})
    assert (output["accepted"], output["rejected"]) == (["ada@example.com"], {"bob@example.com": "550 no such user"})


@pytest.mark.parametrize(
    ("answers", "kind", "code"),
    [
        (["550 no such user"], MailRefusedError, 550),
        (["450 try later"], MailError, 450),
        (["550 no such user", "451 try later"], MailError, 550),
        (["550 no", "553 no"], MailRefusedError, 550),
    ],
)
def test_no_recipient_is_taken(answers: list[str], kind: type[MailError], code: int) -> None:
    post = Post(rcpt={f"a{n}@example.com": answer for n, answer in enumerate(answers)})
    error = refused(post, config={"to": list(post.rcpt)})
    assert (type(error), error.code) == (kind, code)
    assert f"a0@example.com: {answers[0]}" in str(error)
    assert post.envelopes == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("451 try later", MailError), ("554 spam", MailRefusedError), ("552 too large", MailRefusedError)],
)
def test_the_server_refuses_the_content_or_the_sender(answer: str, kind: type[MailError]) -> None:
    for post in (Post(data=answer), Post(mail=answer)):
        error = refused(post)
        assert (type(error), error.code) == (kind, int(answer[:3]))
        assert answer[4:] in str(error)


def test_a_message_that_is_too_large() -> None:
    error = refused(Post(), config={"body": "x" * 5000}, data_size_limit=2000)
    assert (type(error), error.code) == (MailRefusedError, 552)


def test_nobody_listens_or_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(MailError, match="connecting") as caught:
            run(send(f"smtp://127.0.0.1:{free.getsockname()[1]}"))
        assert type(caught.value) is MailError
        free.listen()
        with pytest.raises(MailError, match="did not answer in time while connecting"):
            run(send(f"smtp://127.0.0.1:{free.getsockname()[1]}?timeout=0.2"))
    error = refused(Post(hang=True), "smtp://127.0.0.1:{}?timeout=2")
    assert "did not answer in time while sending" in str(error)


def test_a_server_that_hangs_up_or_speaks_another_language() -> None:
    async def main(greeting: bytes) -> None:
        async def converse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(MailError) as caught:
                await send(f"smtp://127.0.0.1:{port}?timeout=2")
            assert f"127.0.0.1:{port}" in str(caught.value)
            assert isinstance(caught.value, MailRefusedError) is greeting.startswith(b"5")

    for greeting in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 hello\r\n", b"421 busy\r\n", b"554 go away\r\n"):
        run(main(greeting))


# --- login and encryption ---------------------------------------------------------------------------------


def test_login() -> None:
    post = Post()
    deliver(post, "smtp://ada%40x:hunter2@127.0.0.1:{}")
    assert post.logins == [("ada@x", "hunter2")]
    assert len(post.envelopes) == 1


def test_a_wrong_password() -> None:
    post = Post()
    error = refused(post, "smtp://ada:wrong@127.0.0.1:{}?timeout=5")
    assert (type(error), error.code) == (MailRefusedError, 535)
    assert "does not accept user and password" in str(error)
    assert "wrong" not in str(error)
    assert post.envelopes == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_server_that_wants_a_login() -> None:
    error = refused(Post(), auth_required=True)
    assert (type(error), error.code) == (MailRefusedError, 530)


def test_a_login_that_the_server_does_not_know() -> None:
    error = refused(Post(), "smtp://ada:hunter2@127.0.0.1:{}", auth_require_tls=True)
    assert type(error) is MailRefusedError


def test_starttls(authority: tuple[Path, ssl.SSLContext]) -> None:
    path, context = authority
    for option in ("", "&starttls=1"):
        post = Post()
        deliver(
            post, f"smtp://ada:hunter2@127.0.0.1:{{}}?ca={path}{option}", tls_context=context, auth_require_tls=True
        )
        assert (post.tls, post.logins) == ([True], [("ada", "hunter2")])
    post = Post()
    deliver(post, "smtp://127.0.0.1:{}?starttls=0", tls_context=context)
    assert post.tls == [False]
    post = Post()
    deliver(post, "smtp://127.0.0.1:{}?verify=0", tls_context=context)
    assert post.tls == [True]


def test_a_certificate_of_somebody_else(authority: tuple[Path, ssl.SSLContext]) -> None:
    _, context = authority
    post = Post()
    error = refused(post, "smtp://ada:hunter2@127.0.0.1:{}?starttls=1", tls_context=context)
    assert "while encrypting" in str(error)
    assert (post.logins, post.envelopes) == ([], [])


def test_a_server_without_encryption_gets_no_password() -> None:
    post = Post()
    error = refused(post, "smtp://127.0.0.1:{}?starttls=1")
    assert type(error) is MailRefusedError
    assert "offers no encryption (STARTTLS)" in str(error)
    # what is not loopback by its name might be reached over a network
    error = refused(post, "smtp://ada:hunter2@127.0.0.2:{}", host="127.0.0.2")
    assert "offers no encryption (STARTTLS)" in str(error)
    assert (post.logins, post.envelopes) == ([], [])


def test_smtps(authority: tuple[Path, ssl.SSLContext]) -> None:
    path, context = authority
    post = Post()
    deliver(post, f"smtps://ada:hunter2@127.0.0.1:{{}}?ca={path}", tls=context)
    assert (len(post.envelopes), post.logins) == (1, [("ada", "hunter2")])
    error = refused(post, "smtps://ada:hunter2@127.0.0.1:{}", tls=context)
    assert "while connecting" in str(error)
    assert len(post.envelopes) == 1


# --- addresses beyond ASCII -------------------------------------------------------------------------------


def test_addresses_beyond_ascii() -> None:
    post = Post()
    deliver(post, config={"to": "ada@bücher.example"})
    assert post.envelopes[0].rcpt_tos == ["ada@xn--bcher-kva.example"]
    error = refused(post, config={"to": "grüße@example.com"})
    assert "takes ASCII addresses only, not 'grüße@example.com'" in str(error)
    assert type(error) is MailRefusedError
    output = deliver(post, config={"to": "grüße@example.com"}, enable_SMTPUTF8=True)
    assert output["accepted"] == post.envelopes[1].rcpt_tos == ["grüße@example.com"]
    raw = post.envelopes[1].content
    assert isinstance(raw, bytes)
    assert "To: grüße@example.com".encode() in raw
