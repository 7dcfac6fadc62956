"""How a message leaves: by SMTP, to the console, or into a list for tests."""

from __future__ import annotations

import re
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING, Literal, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from dataflows_sdk.core.redact import Secret
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, MailError, MailRefusedError
from dataflows_sdk.nodes.mail_addresses import parse_addresses

if TYPE_CHECKING:
    import aiosmtplib

__all__ = ["MailSettings", "Sent", "deliver"]

_EXAMPLE = "smtp://user:password@mail.example.com:587?from=app@example.com"
_SCHEMES = ("smtp", "smtps", "console", "memory")
_OPTIONS = ("from", "starttls", "timeout", "verify", "ca")


@dataclass(frozen=True, slots=True)
class Sent(ShownAsTable):
    """A message as a server would get it: `recipients` are those of the envelope, bcc included."""

    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailSettings(ShownAsTable):
    """Where messages go.

    Attributes:
        transport: smtp; smtps, encrypted from the first byte; console, which prints; memory, which keeps them in
            `outbox`.
        host, port: the server.
        username, password: for a server that asks.
        starttls: True demands encryption, False does without; None takes what the server offers, and demands it where
            a password would travel to another machine.
        sender: the ``from`` of messages that name none.
        timeout: seconds, for each answer of the server.
        verify: check the certificate of the server.
        ca: a file with certificates to trust beside none other.
        outbox: what was sent by ``memory:``.
    """

    transport: Literal["smtp", "smtps", "console", "memory"]
    host: str = ""
    port: int = 0
    username: str | None = None
    password: Secret | None = None
    starttls: bool | None = None
    sender: str | None = None
    timeout: float = 30.0
    verify: bool = True
    ca: str | None = None
    outbox: list[Sent] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_url(cls, url: str) -> MailSettings:
        """Read ``smtp://user:password@host:587?from=app@example.com``, ``smtps://…``, ``console:`` or ``memory:``.

        Options: ``from``, ``starttls`` (1 or 0), ``timeout`` (seconds), ``verify`` (1 or 0), ``ca`` (a file). A user
        or password with ``@``, ``:`` or ``/`` in it is written with ``%40``, ``%3A`` and ``%2F``.

        Raises:
            DefinitionError: it is none of these; the message does not repeat the password.
        """
        if not isinstance(url, str):
            raise DefinitionError(f"mail is a URL such as {_EXAMPLE!r}, not {type(url).__name__}")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text may repeat the password
            raise DefinitionError(
                f"the mail URL cannot be read: write it like {_EXAMPLE!r}, and @, : or / of a password as %40, %3A, %2F"
            ) from None
        scheme = parts.scheme
        if scheme not in _SCHEMES:
            raise DefinitionError(f"mail is a URL such as {_EXAMPLE!r}; it cannot begin with {scheme!r}")
        options = _options(parts.query)
        host, username, password = parts.hostname or "", parts.username, parts.password
        if scheme in ("smtp", "smtps") and not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
            raise DefinitionError(f"the mail URL names no host: write it like {_EXAMPLE!r}")
        if scheme in ("console", "memory") and (parts.netloc or parts.path):
            raise DefinitionError(f"write {scheme}: with nothing but options after it")
        if (username is None) != (password is None) or (username == "" and password):
            raise DefinitionError("the mail URL has a user or a password; it takes both or none")
        if scheme == "smtps" and "starttls" in options:
            raise DefinitionError("smtps:// is encrypted from the first byte: leave starttls out, or write smtp://")
        sender = options.get("from")
        if sender is not None:
            _check_sender(sender)
        return cls(
            scheme,  # type: ignore[arg-type]
            host=host,
            port=port or (0 if not host else 465 if scheme == "smtps" else 587 if username else 25),
            username=unquote(username) if username else None,
            password=Secret(unquote(password or "")) if username else None,
            starttls=_flag("starttls", options["starttls"]) if "starttls" in options else None,
            sender=sender,
            timeout=_seconds(options.get("timeout", "30")),
            verify=_flag("verify", options.get("verify", "1")),
            ca=options.get("ca"),
        )


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    for name in options:
        if name not in _OPTIONS:
            raise DefinitionError(f"the mail URL has the option {name[:40]!r}; it knows {', '.join(_OPTIONS)}")
    if len(options) != len(pairs):
        raise DefinitionError("the mail URL names an option twice")
    return options


def _check_sender(sender: str) -> None:
    try:
        if len(parse_addresses(sender)) == 1:
            return
        problem = f"{sender!r} is not one address"
    except ValueError as error:
        problem = str(error)
    raise DefinitionError(f"the mail URL, from=: {problem}")


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("1", "true", "yes", "0", "false", "no"):
        raise DefinitionError(f"the mail URL, {name}=: write 1 or 0, not {text[:40]!r}")
    return text.lower() in ("1", "true", "yes")


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= 3600:
        raise DefinitionError(f"the mail URL, timeout=: write seconds between 0 and 3600, not {text[:40]!r}")
    return float(text)


async def deliver(settings: MailSettings, message: EmailMessage, sender: str, recipients: list[str]) -> dict[str, str]:
    """Send a message; gives the recipients that were refused, with the answer of the server.

    Raises:
        MailError: not now.
        MailRefusedError: not at all.
    """
    if settings.transport == "memory":
        settings.outbox.append(Sent(message, sender, tuple(recipients)))
        return {}
    if settings.transport == "console":
        sys.stdout.write(f"--- e-mail to {', '.join(recipients)}\n{message.as_string()}\n---\n")
        sys.stdout.flush()
        return {}
    return await _by_smtp(settings, message, sender, recipients)


async def _by_smtp(settings: MailSettings, message: EmailMessage, sender: str, recipients: list[str]) -> dict[str, str]:
    import aiosmtplib

    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        timeout=settings.timeout,
        use_tls=settings.transport == "smtps",
        start_tls=False,  # done below: the library would take a server without it for one that cannot be reached
        tls_context=_tls(settings),
        local_hostname=_own_name(),
    )
    where = f"{settings.host}:{settings.port}"
    step = "connecting"
    try:
        await client.connect()
        await client.ehlo()
        step = "encrypting"
        await _encrypt(client, settings)
        if settings.username is not None and settings.password is not None:
            step = "logging in"
            if not client.supports_extension("auth"):
                raise MailRefusedError(f"the mail server {where} takes no user and password here (or not unencrypted)")
            await client.login(settings.username, settings.password.reveal())
        step = "sending"
        options = _needed_extensions(client, where, sender, recipients)
        refused, _ = await client.sendmail(sender, recipients, message.as_bytes(), mail_options=options)
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit()
        return {address: f"{code} {text}" for address, (code, text) in refused.items()}
    except (aiosmtplib.SMTPException, OSError, EOFError) as error:
        _raise(error, where, step)
    finally:
        client.close()


async def _encrypt(client: aiosmtplib.SMTP, settings: MailSettings) -> None:
    if settings.transport == "smtps" or settings.starttls is False:
        return
    if client.supports_extension("starttls"):
        await client.starttls(tls_context=_tls(settings), server_hostname=settings.host)
        await client.ehlo()
        return
    near = settings.host in ("localhost", "127.0.0.1", "::1")
    if settings.starttls or (settings.username is not None and not near):
        raise MailRefusedError(
            f"the mail server {settings.host}:{settings.port} offers no encryption (STARTTLS), and without it the "
            "password and the message could be read on the way; ?starttls=0 permits that"
        )


def _tls(settings: MailSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _own_name() -> str:
    """What the server is told in EHLO; asking DNS for it could take long."""
    name = socket.gethostname()
    return name if "." in name and re.fullmatch(r"[A-Za-z0-9.-]+", name) else "[127.0.0.1]"


def _needed_extensions(client: aiosmtplib.SMTP, where: str, sender: str, recipients: list[str]) -> list[str]:
    wide = [address for address in (sender, *recipients) if not address.isascii()]
    if not wide:
        return []
    if not client.supports_extension("smtputf8"):
        raise MailRefusedError(f"the mail server {where} takes ASCII addresses only, not {wide[0]!r}")
    return ["SMTPUTF8"]


def _raise(error: Exception, where: str, step: str) -> NoReturn:
    """As an error of ours: 4xx and trouble with the network are of the moment, 5xx are for good."""
    import aiosmtplib

    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        each = {refused.recipient: f"{refused.code} {refused.message}" for refused in error.recipients}
        text = "; ".join(f"{address}: {answer}" for address, answer in list(each.items())[:5])
        codes = [refused.code for refused in error.recipients]
        kind = MailError if any(400 <= code < 500 for code in codes) else MailRefusedError
        raise kind(f"the mail server {where} takes the message for no recipient: {text}", codes[0]) from error
    if isinstance(error, aiosmtplib.SMTPResponseException):
        kind = MailRefusedError if 500 <= error.code < 600 else MailError
        what = "does not accept user and password" if step == "logging in" else f"refused while {step}"
        raise kind(f"the mail server {where} {what}: {error.code} {error.message}", error.code) from error
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        raise MailRefusedError(f"the mail server {where} cannot do what is needed for {step}: {error}") from error
    if isinstance(error, TimeoutError):
        raise MailError(f"the mail server {where} did not answer in time while {step}") from error
    raise MailError(f"the connection to the mail server {where} failed while {step}: {error}") from error
