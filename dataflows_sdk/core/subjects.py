"""Subjects of messages and names of events, and patterns of them.

A subject is words with dots between them: ``payment.us.completed``. In a pattern ``*`` stands for one word and ``>``,
at the end, for one or more; the rules are those of NATS (docs.nats.io, "Subject-Based Messaging").
"""

from __future__ import annotations

from dataflows_sdk.errors import DefinitionError

_LONGEST = 255


def is_pattern(text: str) -> bool:
    """Whether it has a wildcard: a word that is ``*``, or a last one that is ``>``."""
    words = text.split(".")
    return "*" in words or words[-1] == ">"


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of a pattern's."""
    wanted, words = pattern.split("."), subject.split(".")
    for index, word in enumerate(wanted):
        if word == ">" and index == len(wanted) - 1:
            return len(words) > index
        if index >= len(words) or word not in ("*", words[index]):
            return False
    return len(words) == len(wanted)


def check_subject(subject: object) -> str:
    """A subject as it is: words without spaces, with dots between them, and no wildcards.

    Raises:
        DefinitionError: it is none.
    """
    text = check_pattern(subject)
    if is_pattern(text):
        raise DefinitionError(f"{subject!r} is a pattern; a message has one subject such as 'order.created'")
    return text


def check_name(name: object, what: str) -> str:
    """The name of a stream, say, as it is: formed like a subject.

    Raises:
        DefinitionError: it is none; the message says of *what*.
    """
    text = check_pattern(name)
    if is_pattern(text):
        raise DefinitionError(f"{name!r} is no name of a {what}")
    return text


def check_pattern(pattern: object) -> str:
    """A pattern, or a subject, as it is.

    Raises:
        DefinitionError: it is none.
    """
    words = pattern.split(".") if isinstance(pattern, str) else [""]
    if (
        not isinstance(pattern, str)
        or len(pattern) > _LONGEST
        or not pattern.isprintable()
        or any(not word or word.strip() != word or " " in word for word in words)
    ):
        raise DefinitionError(
            f"a subject is words with dots between them, such as 'order.created', up to {_LONGEST} characters, "
            f"not {pattern!r:.300}"
        )
    if ">" in words[:-1]:
        raise DefinitionError(f"in the pattern {pattern!r} the '>' must be the last word")
    return pattern
