"""The outside world of a process, as its nodes may see it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.redact_patterns import is_secret_name
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.nodes.notify import Notifications

if TYPE_CHECKING:
    from dataflows_sdk.nodes.egress import EgressPolicy
    from dataflows_sdk.nodes.functions import FunctionRegistry, FunctionVersion
    from dataflows_sdk.nodes.host import KeyValues
    from dataflows_sdk.nodes.mail import MailSettings
    from dataflows_sdk.nodes.snippets import SnippetRunner

    FindFunction = Callable[[str], Awaitable[FunctionVersion | None]]

_NOTHING: tuple[None, None] = (None, None)


class Services:
    """What nodes reach beyond their run; contexts may share one. What is not used is not made.

    Args:
        egress: an `EgressPolicy`, or the hosts and networks that may be called although they are private.
        env: environment variables that templates may read, by name with their values, or only their names.
        mail: an address such as ``"smtp://user:password@mail.example.com:587?from=me@example.com"``, or `MailSettings`.
        mail_templates: mails by name: subject, body, html.
        functions: functions by slug; by default those that `dataflows_sdk.function` declared.

    Raises:
        DefinitionError: a variable of `env` is not set, or the address of the mail server cannot be read.

    Attributes:
        egress: which addresses may be called.
        env: the environment variables that templates may read, by name.
        mail: how mail is sent; None if nobody said.
        mail_templates: mails by name: subject, body, html.
        notifications: who listens in this process.
        records, actions: how records are written and connected services called; None without these parts.
        kv: small values by key, for functions: those of the context whose node asks; None without a database.
        stored_function: finds a function that was deployed into the database, likewise.
    """

    def __init__(
        self,
        *,
        egress: EgressPolicy | Sequence[str] | None = None,
        env: Mapping[str, str] | Sequence[str] | None = None,
        mail: MailSettings | str | None = None,
        mail_templates: Mapping[str, Any] | None = None,
        functions: FunctionRegistry | None = None,
    ) -> None:
        self._egress = egress
        self._functions = functions
        self.env = _variables(env)
        self.mail = _mail(mail) if isinstance(mail, str) else mail
        self.mail_templates = dict(mail_templates or {})
        self.notifications = Notifications()
        self._runners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SnippetRunner] = weakref.WeakKeyDictionary()
        self.records: Callable[..., Awaitable[Any]] | None = None
        self.actions: Callable[..., Awaitable[Any]] | None = None
        #: what belongs to one context alone, by the loop of its engine
        self._own: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[KeyValues | None, FindFunction | None]]
        self._own = weakref.WeakKeyDictionary()

    def secrets(self) -> list[str]:
        """Values of `env` whose names say that they are secrets: they are masked wherever something is shown."""
        return [value for name, value in self.env.items() if is_secret_name(name)]

    @cached_property
    def egress(self) -> EgressPolicy:
        """The policy for outgoing calls: nothing private by default."""
        from dataflows_sdk.nodes.egress import EgressPolicy

        if isinstance(self._egress, EgressPolicy):
            return self._egress
        return EgressPolicy(allow=tuple(self._egress or ()))

    @cached_property
    def functions(self) -> FunctionRegistry:
        """Functions by slug."""
        if self._functions is not None:
            return self._functions
        from dataflows_sdk.nodes.functions import FUNCTIONS

        return FUNCTIONS

    @property
    def snippets(self) -> SnippetRunner:
        """The sandbox of this loop; its workers start with the first snippet."""
        from dataflows_sdk.nodes.snippets import SnippetRunner

        loop = asyncio.get_running_loop()
        runner = self._runners.get(loop)
        if runner is None:
            runner = self._runners[loop] = SnippetRunner()
        return runner

    def offer(
        self, loop: asyncio.AbstractEventLoop, kv: KeyValues | None, stored_function: FindFunction | None
    ) -> None:
        """What nodes on that loop are to reach of the database of their context."""
        self._own[loop] = (kv, stored_function)

    @property
    def kv(self) -> KeyValues | None:
        """Small values by key."""
        return self._own.get(asyncio.get_running_loop(), _NOTHING)[0]

    @property
    def stored_function(self) -> FindFunction | None:
        """Finds a function that was deployed."""
        return self._own.get(asyncio.get_running_loop(), _NOTHING)[1]

    async def aclose(self) -> None:
        """End what was started on this loop; other contexts may share the rest."""
        self._own.pop(asyncio.get_running_loop(), None)
        runner = self._runners.pop(asyncio.get_running_loop(), None)
        if runner is not None:
            await runner.close()
        if "egress" in self.__dict__:
            await self.egress.aclose()


def _variables(given: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    names = [given] if isinstance(given, str) else list(given)
    unset = [name for name in names if name not in os.environ]
    if unset:
        raise DefinitionError(f"environment variables that flows may read are not set: {', '.join(unset)}")
    return {name: os.environ[name] for name in names}


def _mail(address: str) -> MailSettings:
    from dataflows_sdk.nodes.mail import MailSettings

    return MailSettings.from_url(address)
