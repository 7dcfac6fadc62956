"""Of published code, keys, connections and other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflows_sdk.errors.base import DataflowsError, DefinitionError, NonRetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PublishError(DefinitionError):
    """A workflow cannot be published: a part of it cannot be written down as source."""


class PublishedCodeError(DataflowsError):
    """Published code that is not there, cannot be verified, or does not fit this process.

    Attributes:
        workflow: the name under which it was published.
    """

    def __init__(self, message: str | None = None, workflow: str = "") -> None:
        super().__init__(message)
        self.workflow = workflow


class SigningKeyError(DataflowsError):
    """There is no key to sign or verify published code with, or it is no good."""


class EncryptionKeyError(DataflowsError):
    """There is no key to encrypt secrets with, or it is no good."""


class DecryptionError(NonRetryableError):
    """A secret cannot be decrypted."""

    def __init__(self, message: str | None = None, table: str = "", row: str = "", column: str = "") -> None:
        super().__init__(message)
        self.table = table
        self.row = row
        self.column = column


class ServiceClientNotFoundError(DataflowsError):
    """There is no such service client."""


class ConnectionNotFoundError(DataflowsError):
    """There is no such connection."""


class MissingScopeError(NonRetryableError):
    """The connection lacks scopes that the call needs.

    Attributes:
        missing: the scopes, in the order in which they were asked for.
    """

    def __init__(self, message: str | None = None, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = list(missing)


class ConnectionAuthError(NonRetryableError):
    """A connection gives no access.

    Attributes:
        connection: its id.
    """

    def __init__(self, message: str | None = None, connection: str = "") -> None:
        super().__init__(message)
        self.connection = connection


class EgressDeniedError(NonRetryableError):
    """An address that flows may not call.

    Attributes:
        code: invalid_url, invalid_scheme, denied_hostname, denied_ip, denied_dns, allowlist_miss,
            dns_resolution_failed or redirect_denied.
        url: what was to be called, without a password.
    """

    def __init__(self, message: str | None = None, code: str = "", url: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.url = url


class HttpStatusError(DataflowsError):
    """The server answered with an error.

    Whether a step tries again follows the status and ``Retry-After``, see `dataflows_sdk.core.retry`.

    Attributes:
        body: the beginning of the answer, as text.
        headers: by lower-case name.
    """

    def __init__(
        self, message: str | None = None, status: int = 0, body: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    @property
    def response(self) -> HttpStatusError:
        """Itself: the shape that httpx and requests have, by which retries know an HTTP answer."""
        return self

    @property
    def status_code(self) -> int:
        """The status, under the name that httpx and requests give it."""
        return self.status


class UnexpectedStatusError(HttpStatusError, NonRetryableError):
    """The server answered, without an error, and not as expected."""


class MailError(DataflowsError):
    """The mail server did not take the message.

    Attributes:
        code: what the server answered, for example 451; None where it did not answer.
    """

    def __init__(self, message: str | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class MailRefusedError(MailError, NonRetryableError):
    """The mail server will not take this message, however often it is sent."""
