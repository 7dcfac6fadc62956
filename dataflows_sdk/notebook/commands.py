"""What a page asks of the kernel: a short list of commands, each checked against the run and done on our own thread.

Front ends call handlers on whatever thread they like, some only when the cell that runs has ended; so a handler puts a
command on a queue and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from dataflows_sdk.bulk.failure import failure_of
from dataflows_sdk.errors import ApprovalClosedError, DataflowsError, DefinitionError
from dataflows_sdk.notebook.against import compared
from dataflows_sdk.notebook.details import detail
from dataflows_sdk.notebook.editing import fields_of, read_json, value_of
from dataflows_sdk.notebook.folding import fold
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.model import View, beside
from dataflows_sdk.notebook.queued import Queued, Tell, reply_to
from dataflows_sdk.notebook.remembered import choices, recalled
from dataflows_sdk.notebook.written import rows

if TYPE_CHECKING:
    from dataflows_sdk.approvals import Approval
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.runs import Run

#: characters of a text that somebody wrote
_WRITTEN = 100_000
#: what the engine is asked for, and changes nothing
_TELLING = ("why", "form")


class Commands(Queued):
    """The commands of one view.

    Args:
        run: what they are about; of a run in an archive all can be looked at, and nothing changed.
        view: its events as far as they are known.
        tell: gets the replies: ``{"do": "reply", "id": …, "ok": …, "text": …}``.
        done: called after a command that changed something.
    """

    def __init__(self, run: Run | ArchivedRun, view: View, tell: Tell, done: Callable[[], None]) -> None:
        super().__init__(tell)
        self._run, self._view, self._done = run, view, done
        self._source = source_of(run)
        #: what changes something, and what the engine alone can say
        self._of_live: dict[str, Callable[[Run, dict[str, Any]], dict[str, Any]]] = {
            "decide": self._decide,
            "form": self._form,
            "send": self._send,
            "cancel": self._cancel,
            "retry": self._retry,
            "fork": self._fork,
            "why": self._why,
        }
        self._looking: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "detail": self._detail,
            "writes": self._writes,
            "rows": self._rows,
            "diff": self._diff,
            "places": self._places,
            "recall": self._recall,
        }

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a message says, and give the reply."""
        name = message.get("do")
        if not isinstance(name, str) or name not in {*self._looking, *self._of_live}:
            known = ", ".join([*self._of_live, *self._looking])
            return reply_to(message, ok=False, text=f"{name!r} is no command of a view: {known}")
        mask = self._source.mask
        try:
            reply = reply_to(message, ok=True, **self._do(name, message))
        except DataflowsError as error:
            return reply_to(message, ok=False, text=mask(str(error)))
        except Exception as error:  # noqa: BLE001 - one command must not end the others
            return reply_to(message, ok=False, text=mask(f"{type(error).__name__}: {error}"))
        if name in self._of_live and name not in _TELLING:
            self._done()
        return reply

    def _do(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        if name in self._looking:
            return self._looking[name](message)
        run = self._run
        if not hasattr(run, "_context"):
            raise DefinitionError("this run is in an archive: nothing of it can be changed")
        return self._of_live[name](cast("Run", run), message)

    # --- each of them --------------------------------------------------------------------------------------

    def _decide(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        identifier, decision = _text(message, "approval"), _text(message, "decision")
        given, asked = message.get("given") or {}, self._asked(run, identifier)
        if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
            raise DefinitionError("given= must be texts by the names of fields")
        value = None if asked is None else value_of(given, asked.value, asked.schema)
        comment, responder = message.get("comment"), message.get("responder")
        run._context.approvals.respond(
            identifier,
            decision,
            responder=str(responder) if responder else None,
            comment=str(comment)[:_WRITTEN] if comment else None,
            value=value,
        )
        edited = "" if value is None else ", with the value as edited"
        return {"text": f"{decision}: {asked.node_id if asked is not None else identifier}{edited}"}

    def _form(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        """What can be filled in for an approval."""
        identifier = _text(message, "approval")
        asked = self._asked(run, identifier)
        if asked is None:
            raise ApprovalClosedError(f"approval {identifier} waits for no answer any more", "answered")
        return {"text": "", "fields": [asdict(each) for each in fields_of(asked.value, asked.schema)]}

    def _asked(self, run: Run, identifier: str) -> Approval | None:
        """An approval of this run; None where it waits no longer, which the answer to it will say."""
        found = next((each for each in run._context.approvals.pending(run) if each.id == identifier), None)
        if found is None and identifier not in fold(self._view.events).asks:
            raise DefinitionError(f"this run asks for no approval {identifier!r}")
        return found

    def _send(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        name = _text(message, "name")
        waits = {step["event"] for step in fold(self._view.events).steps.values() if step["status"] == "waiting"}
        if name not in waits:
            raise DefinitionError(f"the run does not wait for the event {name!r} now")
        run.send_event(name, read_json(message.get("payload"), f"the payload of {name!r}"))
        return {"text": f"sent {name}"}

    def _cancel(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        reason = message.get("reason")
        run.cancel(str(reason)[:_WRITTEN] if reason else "from its view in a notebook")
        return {"text": "asked for the run's end"}

    def _retry(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        del message
        status = run.refresh().status
        if status == "quarantined":
            run.resume()
            return {"text": "it goes on"}
        if status != "failed":
            raise DefinitionError(f"the run is {status}; what failed or is quarantined can be tried again")
        return _forked(run._context._fork(run, failure_of(run), {}, None))

    def _fork(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        at, values = message.get("at"), message.get("set") or {}
        if isinstance(at, bool) or not isinstance(at, int | str) or not isinstance(values, dict):
            raise DefinitionError(f"a fork is at an event's number or a step, with values by step, not {at!r}")
        changed = {str(key): read_json(text, f"the value of {key!r}") for key, text in values.items()}
        return _forked(run.fork(at=at, set=changed))

    def _why(self, run: Run, message: dict[str, Any]) -> dict[str, Any]:
        del message
        return {"text": run._context._redactor.redact_text(str(run.explain()))}

    # --- looking: in an archive too --------------------------------------------------------------------------

    def _detail(self, message: dict[str, Any]) -> dict[str, Any]:
        at = message.get("at")
        return detail(self._source, _text(message, "key"), at if isinstance(at, int) else None)

    def _writes(self, message: dict[str, Any]) -> dict[str, Any]:
        del message
        began = datetime.fromisoformat(self._view.head["created"])
        writes, said = beside(self._source, self._view.events, began)
        return {"text": "", "writes": writes, "said": said}

    def _rows(self, message: dict[str, Any]) -> dict[str, Any]:
        table, changed = _text(message, "table"), message.get("changed") is True
        return {"text": "", "table": rows(self._source, self._view.events, message.get("n"), table, changed=changed)}

    def _diff(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"text": "", "against": compared(self._run, self._source.other(_text(message, "other")))}

    def _places(self, message: dict[str, Any]) -> dict[str, Any]:
        del message
        return {"text": "", "places": choices(self._source)}

    def _recall(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"text": "", **recalled(self._source, self._view.events, message.get("n"), message)}


def _forked(fork: Run) -> dict[str, Any]:
    return {"text": f'run2 = ctx.get("{fork.id}")', "run": fork.id}


def _text(message: dict[str, Any], name: str) -> str:
    found = message.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= _WRITTEN:
        raise DefinitionError(f"{name} is a text, not {found!r}")
    return found
