"""Where a job's end is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError

__all__ = ["DELIVERY_RETRY", "Callback"]

#: some seven hours, in steps that grow to an hour
DELIVERY_RETRY = Retry(16, "exponential", "5s", "1h")


@dataclass(frozen=True)
class Callback(ShownAsTable):
    """A URL that gets a POST when a job ends.

    What is sent is JSON: ``job``, ``run``, ``workflow``, ``status`` (succeeded, failed or cancelled), ``attempts``, and
    ``result`` or ``error`` (type, message, step). Any status of 200 to 299 is a receipt; redirects are not followed.

    Args:
        url: public, unless `Services(egress=…)` allows it.
        secret_env: name of an environment variable that ``Services(env=[…])`` lets flows read, with ``whsec_`` and
            base64 in it: then the POST is signed with it as Standard Webhooks says (``webhook-id``,
            ``webhook-timestamp``, ``webhook-signature``). The secret itself is never stored.
        retry: when it is tried again; a ``Retry-After`` of the other side is honoured.
        timeout: for each attempt.

    Raises:
        DefinitionError: an argument makes no sense.
    """

    url: str
    secret_env: str | None = None
    retry: Retry = DELIVERY_RETRY
    timeout: Duration = "30s"

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url:
            raise DefinitionError(f"a callback's url is a text, not {self.url!r:.100}")
        if self.secret_env is not None and (not isinstance(self.secret_env, str) or not self.secret_env):
            raise DefinitionError("secret_env is the name of an environment variable, not a secret, and not empty")
        check_retry("a callback's retry", self.retry)
        span = parse_duration(self.timeout)
        if span <= timedelta(0):
            raise DefinitionError(f"timeout={self.timeout!r}: a duration above 0 is needed")
        object.__setattr__(self, "timeout", span)

    @classmethod
    def of(cls, given: Callback | str | None) -> Callback | None:
        """A callback from what `Jobs.enqueue` takes."""
        if given is None or isinstance(given, Callback):
            return given
        if not isinstance(given, str):
            raise DefinitionError(f"callback is a URL or a Callback, not {given!r:.100}")
        return cls(given)

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the job."""
        return {
            "url": self.url,
            "secret_env": self.secret_env,
            "retry": self.retry.to_json(),
            "timeout": parse_duration(self.timeout).total_seconds(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Callback:
        """What `to_json` gave."""
        return cls(document["url"], document.get("secret_env"), Retry.from_json(document["retry"]), document["timeout"])


def check_retry(what: str, policy: object) -> Retry:
    """A policy that can be kept as JSON.

    Raises:
        DefinitionError: it is none, or names classes of exceptions, which are not kept.
    """
    if not isinstance(policy, Retry):
        raise DefinitionError(f"{what} is a df.Retry(…), not {policy!r:.100}")
    if policy.retry_on != (Exception,) or policy.no_retry_on != ():
        raise DefinitionError(
            f"{what} is kept with the job, so that it cannot name classes of exceptions (retry_on, no_retry_on); raise "
            "NonRetryableError where it is of no use to try again"
        )
    return policy
