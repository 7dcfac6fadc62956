"""A part of `Memory`: questions, and contexts for prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.durations import Duration
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.warehouse.table import in_thread

if TYPE_CHECKING:
    from dataflows_memory.asking.answers import Answered
    from dataflows_memory.asking.asker import Asker
    from dataflows_memory.asking.prompt import PromptContext
    from dataflows_memory.desk import Memory
    from dataflows_memory.models.chat import ChatModel
    from dataflows_memory.models.scripted import ScriptedModel
    from dataflows_sdk.core.durations import Instant
    from dataflows_sdk.runs import Run


class Asking:
    """A part of `Memory`."""

    _askers: dict[str, Asker]

    def asker(self, model: ChatModel | str) -> Asker:
        """What answers questions with a model; a process that has it goes on with such runs of others that died.

        Args:
            model: a `ChatModel`, or the name of a model of OpenAI.

        Raises:
            DefinitionError: it is neither.
            MissingExtraError: ``openai`` is not installed.
        """
        from dataflows_memory.asking.asker import Asker
        from dataflows_memory.models.chat import check_model

        whole: Any = self
        memory: Memory = whole
        if "_askers" not in self.__dict__:
            self._askers = {}
        name = f"openai/{model}" if isinstance(model, str) else check_model(model).name
        known = self._askers.get(name)
        if known is None or (known.model is not model and not isinstance(model, str)):
            known = self._askers[name] = Asker(memory, model)
        return known

    def scripted(self, *answers: Any, name: str = "scripted") -> ScriptedModel:
        """A model that is none, for tests and demos without a key: it says what was written for it.

        Args:
            answers: in order; see `dataflows_memory.models.ScriptedModel`.
            name: by which runs that began with it find it in another process.

        Raises:
            DefinitionError: an answer makes no sense.
        """
        from dataflows_memory.models.scripted import ScriptedModel

        return ScriptedModel(*answers, name=name)

    def ask(
        self, question: str, *, model: ChatModel | str, timeout: Duration | None = None, **options: Any
    ) -> Answered:
        """Answer a question from what is remembered and, where *tables* are given, by SQL, with citations.

        It is a durable run: no call of the model that was answered is paid again, whatever dies. An answer is taken
        only where the numbers that it cites exist and what it quotes stands there; otherwise nothing was found. Where
        nothing fits and no table may be read, the model is not asked at all.

        Args:
            question: in words.
            model: a `ChatModel`, or the name of a model of OpenAI.
            timeout: how long to wait; the run goes on after it.
            options: ``collection``, ``scope``, ``where``, ``tables``, ``hide``, ``as_of``, ``budget``, ``k``,
                ``floor``, ``rounds``, ``sql_attempts``, ``cache``: see `Asker.start`.

        Raises:
            RecallError: the question is empty, or there is no such collection or scope.
            DefinitionError: there is no such table, or an argument makes no sense.
            BudgetUsedUpError: the run waits for more; `more` gives it.
            StepFailed: the model did not answer; its cause is a `ModelError`.
            TimeoutError: there is no answer yet.
        """
        whole: Any = self
        options.setdefault("branch", whole._branch_name())
        return self.asker(model).ask(question, timeout=timeout, **options)

    async def aask(self, question: str, *, model: ChatModel | str, **options: Any) -> Answered:
        """`ask`, to be awaited."""
        return await in_thread(self.ask, question, model=model, **options)

    def more(self, run: Run | str, *, tokens: int | None = None, money: Decimal | float | str | None = None) -> Run:
        """Let a run of `ask` use more than its budget; it goes on where it was.

        Raises:
            DefinitionError: nothing is given.
            RunFinishedError: the run is over.
        """
        from dataflows_memory.models.meter import give_more

        whole: Any = self
        found: Run = whole._context.get(run) if isinstance(run, str) else run
        give_more(found, None, tokens, money)
        return found

    def context(
        self,
        question: str,
        budget_tokens: int = 2_000,
        *,
        k: int = 20,
        collection: str = "default",
        scope: str | Sequence[str] | None = "",
        where: Mapping[str, Any] | None = None,
        as_of: Instant | None = None,
        floor: float = 0.3,
        **options: Any,
    ) -> PromptContext:
        """What is remembered about a question, as numbered sources for a prompt of your own. Asks no model.

        Args:
            question: in words.
            budget_tokens: how long the text may be, by the estimate of `PromptContext.tokens`.
            k: hits that are considered.
            collection, scope, where, as_of: see `Memory.recall`.
            floor: the cosine below which an item that has no word in common with the question is left out.
            options: others of `Memory.recall`: ``around``, ``different``, ``recency``, …

        Raises:
            DefinitionError: no text is so short.
            RecallError, EmbeddingError: see `Memory.recall`.
        """
        from dataflows_memory.asking.flow import passes
        from dataflows_memory.asking.prompt import prompt_context

        if isinstance(budget_tokens, bool) or not isinstance(budget_tokens, int) or budget_tokens < 100:
            raise DefinitionError(f"budget_tokens={budget_tokens!r}: a whole number from 100 on")
        whole: Any = self
        memory: Memory = whole
        found = memory.recall(question, k, collection=collection, scope=scope, where=where, as_of=as_of, **options)
        return prompt_context(question, [hit for hit in found if passes(hit, floor)], budget_tokens)
