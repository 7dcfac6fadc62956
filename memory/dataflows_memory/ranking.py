"""Putting lists of candidates together: pure functions of scores, words and vectors.

The scheme, and what each part of it is worth, is measured in `benchmarks/memory.py`: scores of each list are scaled to
0…1 (convex combination, Bruch, Gai and Ingber 2023), what stands side by side in the question counts where it stands
side by side in the text, and the question is moved towards what was found first (Rocchio 1971) before the vectors are
asked again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]

Scores: TypeAlias = dict[int, float]

#: of BM25
K1, B = 1.2, 0.75
#: how much a pair of words counts, in parts of what the more common of the two counts
PAIR = 0.4
#: the first so many of what was found move the question, by so much
FEEDBACK, TOWARDS = 2, 0.5
#: the part of words in the score; the rest is meaning
WORDS = 0.45
#: fewer candidates than these say nothing about what was meant
FEEDBACK_AMONG = 10


def bm25(texts: Mapping[int, str], question: Mapping[str, int], average: float) -> tuple[Scores, dict[str, float]]:
    """What the statements of recall.sql say of many items, of few whose texts are at hand.

    Args:
        texts: stems of each item, with a space before, between and after.
        question: how often each stem is asked for.
        average: how many words an item has.

    Returns:
        scores of the items that have any of the words, and the inverse document frequency of each that some have.
    """
    whole = "".join(texts.values())
    items, ends = list(texts), list(accumulate(map(len, texts.values())))
    times = {term: _counted(f" {term} ", whole, items, ends) for term in question}
    counts = {term: len(found) for term, found in times.items() if found}
    rare = {term: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for term, count in counts.items()}
    scores: Scores = {}
    for term, idf in rare.items():
        for item, count in times[term].items():
            length = texts[item].count(" ") - 1
            weight = question[term] * idf * count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))
            scores[item] = scores.get(item, 0.0) + weight
    return scores, rare


def _counted(word: str, whole: str, items: Sequence[int], ends: Sequence[int]) -> dict[int, int]:
    """How often a word stands in each item of a text that is all of them, each up to its end."""
    found: dict[int, int] = {}
    at = whole.find(word)
    while at >= 0:
        item = items[bisect_right(ends, at)]
        found[item] = found.get(item, 0) + 1
        at = whole.find(word, at + len(word) - 1)  # the space behind one may be that before the next
    return found


def with_pairs(
    scores: Scores, question: Sequence[str], texts: Mapping[int, str], rare: Mapping[str, float], average: float
) -> Scores:
    """The same scores of words, more for texts in which words of the question stand side by side as they do there.

    Args:
        scores: by item.
        question: its stems in their order.
        texts: stems of each item, with a space before, between and after.
        rare: the inverse document frequency of each stem.
        average: how many words an item has.
    """
    pairs = {(one, other) for one, other in pairwise(question) if one in rare and other in rare}
    if not pairs:
        return scores
    found = dict(scores)
    for item in scores:
        text = texts.get(item)
        if text is None:
            continue
        length = text.count(" ") - 1
        for one, other in pairs:
            times = text.count(f" {one} {other} ")
            if times:
                weight = PAIR * min(rare[one], rare[other])
                found[item] += weight * times * (K1 + 1) / (times + K1 * (1 - B + B * length / max(average, 1.0)))
    return found


def scaled(scores: Scores, depth: int) -> Scores:
    """Scores from 0 to 1: the best is 1, that at *depth* is 0; with fewer candidates nothing at all is 0."""
    if not scores:
        return {}
    best = sorted(scores.values(), reverse=True)[:depth]
    low = best[-1] if len(best) >= depth else min(0.0, best[-1])
    width = best[0] - low
    if width <= 0:
        return dict.fromkeys(scores, 1.0)
    return {item: min(1.0, max(0.0, (score - low) / width)) for item, score in scores.items()}


def together(lists: Iterable[tuple[float, Scores]]) -> Scores:
    """The sum of scaled lists, each by its weight."""
    total: Scores = {}
    for weight, scores in lists:
        for item, score in scores.items():
            total[item] = total.get(item, 0.0) + weight * score
    return total


def best(scores: Scores, count: int) -> list[int]:
    """Items by falling score; equal ones by their number, so that the same question has the same answer."""
    return sorted(scores, key=lambda item: (-scores[item], item))[:count]


def moved(
    found: Sequence[int], near: Mapping[int, float], near_found: Mapping[int, float]
) -> Callable[[Mapping[int, tuple[float, float]]], Scores]:
    """How near items are to the question once it is moved towards what was found first.

    No vector is needed for it: with all of length one, the question q moved to m = q + t (f1 + … + fn) / n has with x
    the cosine (q·x + t (f1·x + … + fn·x) / n) / |m|.

    Args:
        found: the items f that it is moved to.
        near: q·f of these, at least.
        near_found: f1·f + … + fn·f of these, at least.

    Returns:
        a function from (q·x, f1·x + … + fn·x) of items to their cosines.
    """
    share = TOWARDS / len(found)
    square = 1 + 2 * share * sum(near[item] for item in found) + share**2 * sum(near_found[item] for item in found)
    length = math.sqrt(max(square, 1e-12))

    def cosines(items: Mapping[int, tuple[float, float]]) -> Scores:
        # what has no direction is NaN
        known = {item: (own + share * others) / length for item, (own, others) in items.items()}
        return {item: score for item, score in known.items() if not math.isnan(score)}

    return cosines


def highest(scores: Scores, count: int) -> Scores:
    """The best of them."""
    return {item: scores[item] for item in best(scores, count)}


def with_groups(scores: Scores, group_of: Mapping[int, object], share: float = 0.6, most: int = 3) -> Scores:
    """More for items whose group has other good ones: *share* of the mean of the group's best scores."""
    groups: dict[object, list[float]] = {}
    for item, score in scores.items():
        groups.setdefault(group_of[item], []).append(score)
    means = {group: sum(sorted(found, reverse=True)[:most]) / most for group, found in groups.items() if len(found) > 1}
    return {item: score + share * means.get(group_of[item], 0.0) for item, score in scores.items()}


def spread(ranked: Sequence[int], scores: Scores, vectors: Mapping[int, Vector], count: int, share: float) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): *share* of relevance, the rest for being different."""
    import numpy as np

    left = [item for item in ranked if item in vectors]
    chosen: list[int] = []
    highest = max((scores[item] for item in left), default=1.0) or 1.0
    while left and len(chosen) < count:

        def worth(item: int) -> float:
            near = max((float(np.dot(vectors[item], vectors[other])) for other in chosen), default=0.0)
            return share * scores[item] / highest - (1 - share) * near

        taken = max(left, key=lambda item: (worth(item), -item))
        chosen.append(taken)
        left.remove(taken)
    rest = [item for item in ranked if item not in chosen]
    return [*chosen, *rest][:count]


def faded(scores: Scores, ages: Mapping[int, float], half: float) -> Scores:
    """Scores that are halved every *half* seconds of an item's age."""
    return {item: score * math.pow(0.5, max(ages[item], 0.0) / half) for item, score in scores.items()}
