"""The outside world of a process, as its nodes may see it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dataflows_sdk.nodes.notify import Notifications

if TYPE_CHECKING:
    from dataflows_sdk.nodes.egress import EgressPolicy
    from dataflows_sdk.nodes.functions import FunctionRegistry, FunctionVersion
    from dataflows_sdk.nodes.mail import MailSettings
    from dataflows_sdk.nodes.snippets import SnippetRunner


class Services:
    """What nodes reach beyond their run; contexts may share one. What is not used is not made.

    Attributes:
        egress: which addresses may be called.
        env: the environment variables that templates may read, by name.
        mail: how mail is sent; None if nobody said.
        mail_templates: mails by name: subject, body, html.
        notifications: who listens in this process.
        records, actions: how records are written and connected services called; None without these parts.
        stored_function: finds a function that was deployed into the database.
    """

    def __init__(
        self,
        *,
        egress: EgressPolicy | None = None,
        env: Mapping[str, str] | None = None,
        mail: MailSettings | None = None,
        mail_templates: Mapping[str, Any] | None = None,
        functions: FunctionRegistry | None = None,
    ) -> None:
        self._egress = egress
        self._functions = functions
        self.env = dict(env or {})
        self.mail = mail
        self.mail_templates = dict(mail_templates or {})
        self.notifications = Notifications()
        self._runners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SnippetRunner] = weakref.WeakKeyDictionary()
        self.records: Callable[..., Awaitable[Any]] | None = None
        self.actions: Callable[..., Awaitable[Any]] | None = None
        self.stored_function: Callable[[str], Awaitable[FunctionVersion | None]] | None = None

    @cached_property
    def egress(self) -> EgressPolicy:
        """The policy for outgoing calls: nothing private by default."""
        if self._egress is not None:
            return self._egress
        from dataflows_sdk.nodes.egress import EgressPolicy

        return EgressPolicy()

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

    async def aclose(self) -> None:
        """End what was started on this loop; other contexts may share the rest."""
        runner = self._runners.pop(asyncio.get_running_loop(), None)
        if runner is not None:
            await runner.close()
        if "egress" in self.__dict__:
            await self.egress.aclose()
