"""How well and how quickly memory recalls: nDCG@10 on public collections, beside others; milliseconds at 100,000
items; what changes of a table cost. Wants the dependency group `bench` and the extra `local` with its model.

python benchmarks/memory.py --data ../shared/data/retrieval         # everything
python benchmarks/memory.py --only quality --more ~/collections     # CISI, CACM, NPL, QMSum: see public_sets.py
python benchmarks/memory.py --only speed --items 100000
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import dataflows_sdk as df
import peer_memory
from dataflows_memory.desk import Memory
from dataflows_memory.embedding.choice import choose_embedder
from dataflows_memory.embedding.embedder import Usage
from public_sets import Question, Set, beir, facts, found_in

#: topics of the texts that speed is measured on, and scopes
TOPICS, SCOPES = 500, 10


class Random:
    """Vectors around topics, for speed: what they mean does not matter there."""

    name, dimension = "random-topics", 384

    def __init__(self) -> None:
        self.usage = Usage()
        self._topics = np.random.default_rng(1).normal(size=(TOPICS, 384)).astype(np.float32)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        random_ = np.random.default_rng(len(texts) + len(texts[0]))
        made = self._topics[random_.integers(0, TOPICS, len(texts))] + random_.normal(size=(len(texts), 384))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        return self.embed(texts, query=query)


def ndcg(found: Sequence[str], grades: dict[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain."""
    gain = sum(grades.get(each, 0) / math.log2(rank + 2) for rank, each in enumerate(found[:k]))
    best = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(grades.values(), reverse=True)[:k]))
    return gain / best if best else math.nan


@contextmanager
def database(kept: Path | None = None) -> Iterator[Any]:
    """A context on a server of its own, which is gone afterwards; or stays in a folder."""
    folders = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folders as folder, df.connect(directory=kept or folder, work=False) as ctx:
        yield ctx


class Once:
    """The local model; a text is embedded once for everybody who is compared, and the time is kept."""

    def __init__(self) -> None:
        self._inner: Any = choose_embedder("local").embedder
        self.name, self.dimension, self.usage = self._inner.name, self._inner.dimension, self._inner.usage
        self._known: dict[tuple[str, bool], Any] = {}
        self.seconds = 0.0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        missing = [text for text in dict.fromkeys(texts) if (text, query) not in self._known]
        if missing:
            begun = time.perf_counter()
            made = self._inner.embed(missing, query=query)
            self.seconds += time.perf_counter() - begun
            self._known.update({(text, query): vector for text, vector in zip(missing, made, strict=True)})
        return np.array([self._known[text, query] for text in texts])

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        return self.embed(texts, query=query)


#: from a question to the ids of texts, the best first
Ask = Callable[[Question], list[str]]


def quality(folders: Sequence[Path]) -> None:
    """nDCG@10 and milliseconds a question of ours and of others, with the same vectors; what indexing costs."""
    embedder = Once()
    print("| data | who | nDCG@10 | R@1 | ms a question (p50, its embedding known) |")
    print("| --- | --- | ---: | ---: | ---: |")
    costs = []
    with database() as ctx:
        for each in [*(each for folder in folders for each in found_in(folder)), facts()]:
            embedder.embed([question.text for question in each.questions])
            embedder.embed([question.text for question in each.questions], query=True)
            memories = {"ours, by words": Memory(ctx, None), "ours": Memory(ctx, embedder)}
            for who, memory in memories.items():
                before, begun = embedder.seconds, time.perf_counter()
                remember(memory, f"{each.name} {who}", each)
                costs.append((each.name, who, embedder.seconds - before, time.perf_counter() - begun))
            for who, ask in others(each, embedder, ctx._database.conninfo):
                line(each, who, ask)
            for who, memory in memories.items():
                line(each, who, ours(memory, f"{each.name} {who}", each))
                if any(question.as_of for question in each.questions):
                    line(each, f"{who}, not told of when", ours(memory, f"{each.name} {who}", each, dated=False))
    print()
    for name, who, embedding, whole in costs:
        share = f", {100 * (whole - embedding) / embedding:.0f}% beside the embedder" if embedding else ""
        print(f"{name}, {who}: written in {whole:.1f} s, {embedding:.1f} of them in the model{share}")


def others(each: Set, embedder: Any, url: str) -> Iterator[tuple[str, Ask]]:
    """Those that ours is compared with; each scope is a collection of its own for them."""
    lots = {scope: texts for scope, texts, _ in each.scopes()}
    makers: dict[str, Callable[[list[str], str], Any]] = {
        "BM25 (bm25s)": lambda texts, _: nullcontext(peer_memory.bm25(texts)),
        "cosine": lambda texts, _: nullcontext(peer_memory.dense(texts, embedder)),
        "LangGraph, PostgresStore": lambda texts, name: peer_memory.langgraph_store(texts, embedder, url, name),
    }
    for who, make in makers.items():
        with ExitStack() as stack:
            finders = {
                scope: stack.enter_context(make([text.text for text in texts], f"{each.name}{number}"))
                for number, (scope, texts) in enumerate(lots.items())
            }
            yield who, lambda asked, f=finders: [lots[asked.scope][n].id for n in f[asked.scope](asked.text)]


def ours(memory: Memory, collection: str, each: Set, *, dated: bool = True) -> Ask:
    """What is recalled for a question, as of the moment that it names."""
    named = {(text.ref, text.text): text.id for text in each.texts if text.ref}

    def ask(question: Question) -> list[str]:
        as_of = question.as_of if dated else None
        found = memory.recall(question.text, 10, collection=collection, scope=question.scope, as_of=as_of)
        if each.talk:
            return [f"{question.scope} {hit.item.meta['turn']}" for hit in found]
        return [named.get((hit.item.ref, hit.text), hit.item.ref) for hit in found]

    return ask


def line(each: Set, who: str, ask: Ask) -> None:
    """Ask everything, and print what it was worth."""
    took, scores, first = [], [], []
    for question in each.questions:
        begun = time.perf_counter()
        found = ask(question)
        took.append((time.perf_counter() - begun) * 1_000)
        scores.append(ndcg(found, question.grades))
        first.append(bool(found) and found[0] in question.grades)
    mean = statistics.fmean(score for score in scores if not math.isnan(score))
    half = statistics.median(took[len(took) // 2 :])
    print(f"| {each.name} | {who} | {mean:.4f} | {statistics.fmean(first):.3f} | {half:.1f} |", flush=True)


def changes(rows: int) -> None:
    """What a table costs of which one row in a hundred changes."""
    embedder = Once()
    with database() as ctx:
        memory = Memory(ctx, embedder)
        table = ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id")
        table.upsert_many({"id": n, "name": f"task number {n} is about subject {n * 7919 % 1000}"} for n in range(rows))
        for what in ("the first time", "with 1% changed"):
            before, begun = embedder.seconds, time.perf_counter()
            stored = memory.index_table("tasks", "{name}")
            whole, embedding = time.perf_counter() - begun, embedder.seconds - before
            print(f"a table of {rows:,} rows, {what}: {stored.embedded:,} texts embedded; {whole:.2f} s, "
                  f"{embedding:.2f} of them in the model")  # fmt: skip
            table.upsert_many({"id": n, "name": f"task number {n} is done"} for n in range(0, rows, 100))


def remember(memory: Memory, collection: str, each: Set) -> None:
    """One item for each text: named by its id, by what it is a fact about, or as the next turn of a conversation."""
    from dataflows_memory.items import New

    for scope, texts, _ in each.scopes():
        if each.talk:
            turns = [New(text.text, "text", "talk", 0, meta={"turn": int(text.id.split()[-1])}) for text in texts]
            memory._put(collection, scope, turns, append=True)
        elif texts[0].ref:
            for text in texts:
                memory.remember(text.text, collection=collection, ref=text.ref, since=text.since)
        else:
            for start in range(0, len(texts), 1_000):
                lot = texts[start : start + 1_000]
                memory._put(collection, scope, [New(text.text, "document", text.id) for text in lot])


def speed(items: int, data: Path, kept: Path | None) -> None:
    """Milliseconds of a question over so many items of some 30 words, in ten scopes; kept for the next time."""
    known = beir(data / "scifact")
    sentences = [part for each in known.texts for part in each.text.split(". ") if len(part) > 30]
    random.seed(1)
    with database(kept) as ctx:
        memory = Memory(ctx, Random())
        begun = time.perf_counter()
        for scope in range(0 if memory.collections() else SCOPES):
            for group in range(100):
                texts = [
                    f"{random.choice(sentences)} {random.choice(sentences)} n{scope}-{group}-{number}"
                    for number in range(items // SCOPES // 100)
                ]
                memory.remember(texts, scope=f"s{scope}", meta={"group": group})
        print(f"{items:,} items written in {time.perf_counter() - begun:.0f} s")
        questions = [question.text for question in known.questions[:100]]
        measure("one scope of a tenth", questions, lambda question: memory.recall(question, 10, scope="s3"))
        measure("all scopes", questions, lambda question: memory.recall(question, 10, scope=None))
        measure(
            "all scopes, a condition that keeps 1%",
            questions,
            lambda question: memory.recall(question, 10, scope=None, where={"group": 7}),
        )


def measure(what: str, questions: Sequence[str], ask: Callable[[str], Any]) -> None:
    """Print the medians of three rounds, after one that is not counted, and the 95th percentile of all."""
    rounds: list[list[float]] = []
    for _ in range(4):
        took = []
        for question in questions:
            begun = time.perf_counter()
            ask(question)
            took.append((time.perf_counter() - begun) * 1_000)
        rounds.append(took)
    medians = ", ".join(f"{statistics.median(took):.1f}" for took in rounds[1:])
    every = sorted(each for took in rounds[1:] for each in took)
    print(f"{what}: p50 {medians} ms, p95 {every[int(len(every) * 0.95)]:.1f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1].parent / "shared" / "data" / "retrieval")
    parser.add_argument("--more", type=Path, help="a folder with a folder for each further collection")
    parser.add_argument("--only", choices=("quality", "speed", "changes"))
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="a folder that keeps the items of speed for the next time")
    arguments = parser.parse_args()
    if arguments.only in (None, "quality"):
        quality([arguments.data, *([arguments.more] if arguments.more else [])])
    if arguments.only in (None, "changes"):
        changes(10_000)
    if arguments.only in (None, "speed"):
        speed(arguments.items, arguments.data, arguments.keep)
