"""What secrets look like: the names they stand under, and the shapes of their text. Pure functions.

Every expression here runs over texts that strangers wrote, so each is linear: no nested repetition, and
words are matched from their beginning only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

__all__ = ["MASK", "is_secret_name", "mask_patterns"]

MASK: Final = "***"

# --- names --------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: one of these words makes a name secret
_SECRET_WORDS = _words(
    """
    password passwords passwd pwd passphrase passcode secret secrets apikey apikeys authorization cookie
    cookies credential credentials creds privatekey accesskey secretkey pgpassword jwt otp authtoken
    accesstoken refreshtoken idtoken bearertoken sessiontoken csrftoken xsrftoken clientsecret
    """
)
#: … and so does "key" after one of these
_KEY_KINDS = _words(
    """
    api access secret private signing encryption auth account subscription master ssh functions license
    hmac service shared session
    """
)
#: … and "token", as the last word, unless one of these is before it: cursors, and the tokens of language
#: models
_TOKEN_FRIENDS = _words(
    """
    page next continuation cursor sync pad eos bos unk sep cls mask stop start end special first last
    delta per new max min prev previous
    """
)
#: … and "tokens" after one of these
_TOKENS_KINDS = _words(
    """
    access refresh auth api bearer session
    """
)
#: a name that ends so speaks about a secret and does not hold one
_HARMLESS_ENDS = _words(
    """
    count counts length len name names hint policy expires expiry expiration ttl age required enabled
    changed version ref type field fields min max limit size at in budget usage strategy jar present set
    """
)
_SECRET_NAMES = frozenset({"auth", "connectionstring", "sas", "pin", "sid", "xauth"})


def is_secret_name(name: object) -> bool:
    """Whether a key, field or header of this name promises a secret.

    Case, dashes, underscores, dots and camelCase do not matter: ``API_KEY``, ``x-api-key``, ``apiKey``
    are one. ``max_tokens``, ``next_page_token``, ``token_count``, ``password_policy`` and ``primary_key``
    are not secret.
    """
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    # a very long key is data, not a name
    return isinstance(name, str) and 2 < len(name) <= 128 and _is_secret_name(str.__str__(name))


@lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    words: list[str] = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in _HARMLESS_ENDS:
        return False
    if "".join(words) in _SECRET_NAMES or not _SECRET_WORDS.isdisjoint(words):
        return True
    before = words[-2] if len(words) > 1 else ""
    pairs = pairwise(words)
    if any(second in ("key", "keys") and first in _KEY_KINDS for first, second in pairs):
        return True
    if words[-1] == "token" or words[-2:] == ["token", "value"]:
        return before not in _TOKEN_FRIENDS
    if words[-1] == "tokens":
        return before in _TOKENS_KINDS
    # run together without any sign: "mypassword", "dbpasswd"
    return words[-1].endswith(("password", "passwd", "apikey", "secret"))


# --- shapes -------------------------------------------------------------------------------------------------

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]{0,40})PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END ).)*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_URL_PASSWORD = re.compile(r"(?<=://)(?P<user>[^\s/?#:@'\"<>]*):(?P<secret>[^\s/?#'\"<>]*)@")
#: a token in the place of a user name: https://ghp_…@github.com
_URL_TOKEN = re.compile(r"(?P<scheme>https?://)[^\s/?#:@'\"<>]{16,}@")
_SCHEME = re.compile(r"\b(?P<scheme>bearer|basic|negotiate)(?P<gap>\s{1,4})[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_KNOWN_TOKEN = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{30,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
)
# name = value, name: value, 'name': 'value', \"name\": \"value\" (JSON within JSON)
_ASSIGNMENT = re.compile(
    r"(?<![\w.-])(?P<name>[\w.-]{3,128})(?P<sign>\\{0,3}['\"]?\s{0,3}[=:]\s{0,3}(?:[bru]{1,2}(?=['\"]))?)(?P<value>"
    r"\"(?:[^\"\\]|\\.)*(?:\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)"
    r"|\\{1,3}[\"'](?:[^\"'\\])*(?:\\{1,3}[\"'])?"
    r"|[^\s,;&'\"\\(){}\[\]]+)",
    re.DOTALL,
)
_REST_OF_LINE = re.compile(r"[^\r\n'\"]*")
#: a look at the text that costs little: none of these, no secret that has a name
_STEMS = re.compile(r"pass|pwd|secret|token|key|auth|cookie|cred|jwt|otp|pin|sid|sas|connection", re.IGNORECASE)


def mask_patterns(text: str) -> str:
    """The text with everything masked that looks like a secret."""
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(lambda m: f"[{m['kind'].lower()}private key {MASK}]", text)
    if "://" in text:
        text = _URL_PASSWORD.sub(lambda m: f"{m['user']}:{MASK}@" if m["secret"] else m[0], text)
        text = _URL_TOKEN.sub(lambda m: f"{m['scheme']}{MASK}@", text)
    text = _SCHEME.sub(_mask_scheme, text)
    text = _KNOWN_TOKEN.sub(MASK, text)
    if _STEMS.search(text):
        text = _mask_assignments(text)
    return text


def _mask_scheme(match: re.Match[str]) -> str:
    words = match[0][len(match["scheme"]) :].strip()
    # "a basic understanding" is prose: a credential has a digit, a sign or a capital in it, or stands
    # after "Bearer"
    if match["scheme"].lower() == "basic" and words.isalpha() and words.islower():
        return match[0]
    return f"{match['scheme']}{match['gap']}{MASK}"


def _mask_assignments(text: str) -> str:
    parts: list[str] = []
    done = 0
    while (match := _ASSIGNMENT.search(text, done)) is not None:
        start, end = match.span("value")
        if not is_secret_name(match["name"]):
            # go on right behind the sign: the value may itself be a name with a value
            parts.append(text[done:start])
            done = start
            continue
        value = match["value"]
        if value[0] not in "\"'\\":
            words = match["name"].lower()
            if "authorization" in words or "cookie" in words:
                # a header has spaces and signs in its value
                line = _REST_OF_LINE.match(text, start)
                end = line.end() if line else end
        parts.append(text[done:start])
        parts.append(_masked(value))
        done = end
    parts.append(text[done:])
    return "".join(parts)


_SAYS_NOTHING = frozenset({"None", "null", "True", "False", "true", "false", '""', "''"})
_OPENING = re.compile(r"\\{0,3}[\"']")


def _masked(value: str) -> str:
    """The mask in the quotes that the value had; what says nothing ("password: None") stays."""
    if value in _SAYS_NOTHING:
        return value
    opening = _OPENING.match(value)
    return f"{opening[0]}{MASK}{opening[0]}" if opening else MASK
