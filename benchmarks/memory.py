"""How well and how quickly memory recalls: nDCG@10 on SciFact (BEIR) and Cranfield, milliseconds at 100,000 items.

python benchmarks/memory.py --data ../shared/data/retrieval         # both
python benchmarks/memory.py --only speed --items 100000
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_memory.embedding.choice import choose_embedder
from dataflows_memory.embedding.embedder import Usage

SETS = ("scifact", "cranfield")
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


def read(folder: Path) -> tuple[list[Any], list[Any], dict[str, dict[str, int]]]:
    """Documents, questions, and the grades of documents by question."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        query, document, grade = line.split("\t")
        if grade.isdigit():
            grades[query][document] = int(grade)
    return corpus, queries, grades


def ndcg(found: Sequence[str], grades: dict[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain."""
    gain = sum(grades.get(each, 0) / math.log2(rank + 2) for rank, each in enumerate(found[:k]))
    best = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(grades.values(), reverse=True)[:k]))
    return gain / best if best else math.nan


def quality(data: Path) -> None:
    """nDCG@10 by words, and by words and meaning."""
    chosen = choose_embedder("local").embedder
    print("| data | by words alone | hybrid | ms a question (p50, its embedding included) | s to embed and write |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, df.connect(directory=folder, work=False) as ctx:
        for name in SETS:
            corpus, queries, grades = read(data / name)
            documents = [each for each in corpus if each["text"].strip()]
            results, took = [], []
            for memory in (Memory(ctx, None), Memory(ctx, chosen)):
                collection = f"{name}-{'words' if memory._embedder is None else 'hybrid'}"
                begun = time.perf_counter()
                for each in documents:
                    each["ref"] = each["id"]
                remember(memory, collection, documents)
                wrote = time.perf_counter() - begun
                scores = []
                for query in queries:
                    if not grades.get(query["id"]):
                        continue
                    begun = time.perf_counter()
                    found = memory.recall(query["text"], 10, collection=collection)
                    took.append((time.perf_counter() - begun) * 1_000)
                    scores.append(ndcg([hit.item.ref for hit in found], grades[query["id"]]))
                results.append(statistics.fmean(score for score in scores if not math.isnan(score)))
            half = took[len(took) // 2 :]
            line = [f"{results[0]:.4f}", f"{results[1]:.4f}", f"{statistics.median(half):.1f}", f"{wrote:.0f}"]
            print(f"| {name} | {' | '.join(line)} |", flush=True)


def remember(memory: Memory, collection: str, documents: Sequence[Any]) -> None:
    """One item for each document, named by its id."""
    from dataflows_memory.items import New

    for start in range(0, len(documents), 1_000):
        lot = documents[start : start + 1_000]
        memory._put(collection, "", [New(each["text"], "document", each["ref"]) for each in lot])


def speed(items: int, data: Path) -> None:
    """Milliseconds of a question over so many items of some 30 words, in ten scopes."""
    corpus, queries, _ = read(data / "scifact")
    sentences = [part for each in corpus for part in each["text"].split(". ") if len(part) > 30]
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder, df.connect(directory=folder, work=False) as ctx:
        memory = Memory(ctx, Random())
        begun = time.perf_counter()
        for scope in range(SCOPES):
            for group in range(100):
                texts = [
                    f"{random.choice(sentences)} {random.choice(sentences)} n{scope}-{group}-{number}"
                    for number in range(items // SCOPES // 100)
                ]
                memory.remember(texts, scope=f"s{scope}", meta={"group": group})
        print(f"{items:,} items written in {time.perf_counter() - begun:.0f} s")
        questions = [query["text"] for query in queries[:100]]
        measure("one scope of a tenth", questions, lambda question: memory.recall(question, 10, scope="s3"))
        measure("all scopes", questions, lambda question: memory.recall(question, 10, scope=None))
        measure(
            "all scopes, a condition that keeps 1%",
            questions,
            lambda question: memory.recall(question, 10, scope=None, where={"group": 7}),
        )


def measure(what: str, questions: Sequence[str], ask: Callable[[str], Any]) -> None:
    """Print the median of the second half."""
    took = []
    for question in questions:
        begun = time.perf_counter()
        ask(question)
        took.append((time.perf_counter() - begun) * 1_000)
    half = sorted(took[len(took) // 2 :])
    print(f"{what}: p50 {statistics.median(half):.1f} ms, p95 {half[int(len(half) * 0.95)]:.1f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1].parent / "shared" / "data" / "retrieval")
    parser.add_argument("--only", choices=("quality", "speed"))
    parser.add_argument("--items", type=int, default=100_000)
    arguments = parser.parse_args()
    if arguments.only != "speed":
        quality(arguments.data)
    if arguments.only != "quality":
        speed(arguments.items, arguments.data)
