"""Code: snippets in the document, and functions by slug."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.nodes.registry import Call, Config, NodeType, register


class SnippetConfig(Config):
    """Code in the document, run in a sandbox (JavaScript) or a process of its own (Python, which is trusted)."""

    code: str = Field(description="`return` gives the output; else the value of the last expression does")
    language: Literal["javascript", "python"] = "javascript"
    input: Any = Field(default=None, description="what the snippet sees as `input`")
    timeout_ms: int = Field(default=1_000, ge=1, le=600_000)
    memory_mb: int = Field(default=64, ge=8, le=4_096)
    engine: Literal["auto", "quickjs", "v8"] = "auto"


class FunctionConfig(Config):
    """A function that was registered or deployed under a slug."""

    function_slug: str = Field(min_length=1)
    input: Any = Field(default=None, description="what the function gets; the trigger's data by default")


async def run_snippet(config: SnippetConfig, call: Call) -> Any:
    """Run the code; it sees `input`, `trigger` and `steps`."""
    steps = call.scope.get("steps") or {}
    # Only those that the code may mean: outputs can be large, and some are no JSON.
    named = {node: steps[node] for node in steps if node in config.code}
    names = {"input": config.input, "trigger": call.scope.get("trigger"), "steps": named}
    return await call.services.snippets.run(
        config.code,
        config.language,
        names,
        timeout_ms=config.timeout_ms,
        memory_mb=config.memory_mb,
        engine=config.engine,
    )


async def call_function(config: FunctionConfig, call: Call) -> Any:
    """Call the function of that slug."""
    given = config.input if "input" in config.model_fields_set else call.scope.get("trigger")
    functions, slug = call.services.functions, config.function_slug
    if call.services.stored_function is not None and not functions.is_callable(slug):
        stored = await call.services.stored_function(slug)
        if stored is not None:
            functions.learn(stored)
    return await functions.invoke(slug, given, call)


register(
    NodeType(
        NodeKind("code_snippet", "snippet", config=SnippetConfig, standard=True),
        "JavaScript in a sandbox, or Python in a process of its own.",
        "code",
        run_snippet,
        {"code": "return input.price * 1.19", "input": {"price": "{{trigger.price}}"}},
        "what the code returns",
    )
)
register(
    NodeType(
        NodeKind("code_function", "function", config=FunctionConfig, standard=True),
        "Calls a function by its slug.",
        "code",
        call_function,
        {"function_slug": "validate-order"},
        "what the function returns",
    )
)
