"""Questions with known answers, in one shape: BEIR's SciFact, the classic collections as they are handed round
(Cranfield, CISI, CACM, NPL), the meetings of QMSum; and facts that change, which are made here and say so.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path


@dataclass(frozen=True)
class Text:
    """Something to be found.

    Attributes:
        id: by which the answers name it.
        text: of it.
        scope: a meeting; its texts are in their order.
        ref, since: of a fact: what it is about, and since when it is true.
    """

    id: str
    text: str
    scope: str = ""
    ref: str | None = None
    since: str | None = None


@dataclass(frozen=True)
class Question:
    """A question, and what each text is worth as an answer to it."""

    text: str
    grades: dict[str, int]
    scope: str = ""
    as_of: str | None = None


@dataclass(frozen=True)
class Set:
    """Texts and questions."""

    name: str
    texts: list[Text] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    #: whether its texts follow each other
    talk: bool = False

    def scopes(self) -> Iterator[tuple[str, list[Text], list[Question]]]:
        """Each scope for itself."""
        for scope in dict.fromkeys(text.scope for text in self.texts):
            yield (
                scope,
                [text for text in self.texts if text.scope == scope],
                [question for question in self.questions if question.scope == scope],
            )


def found_in(folder: Path) -> list[Set]:
    """The sets that a folder has, each in a folder of its own."""
    readers = {"corpus.jsonl": beir, "CISI.ALL": cisi, "cacm.all": cacm, "doc-text": npl, "test.jsonl": qmsum}
    return [
        read(each)
        for each in sorted(folder.iterdir())
        for file, read in readers.items()
        if (each / file).exists()
    ]  # fmt: skip


def beir(folder: Path) -> Set:
    """``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text().splitlines():
        query, document, grade = line.split("\t")
        if grade.isdigit():
            grades[query][document] = int(grade)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    return _set(
        folder.name, {each["id"]: each["text"] for each in corpus}, {q["id"]: q["text"] for q in queries}, grades
    )


def cisi(folder: Path) -> Set:
    """Information science; titles and abstracts."""
    pairs = [line.split()[:2] for line in _lines(folder / "CISI.REL")]
    return _set("cisi", _smart(folder / "CISI.ALL"), _smart(folder / "CISI.QRY"), _grades(pairs))


def cacm(folder: Path) -> Set:
    """Titles, and some abstracts, of the Communications of the ACM."""
    pairs = [line.split()[:2] for line in _lines(folder / "qrels.text")]
    return _set("cacm", _smart(folder / "cacm.all"), _smart(folder / "query.text"), _grades(pairs))


def npl(folder: Path) -> Set:
    """Physics; a sentence or two each."""
    pairs = [(query, each) for query, given in _slashed(folder / "rlv-ass").items() for each in given.split()]
    queries = {number: text.lower() for number, text in _slashed(folder / "query-text").items()}
    return _set("npl", _slashed(folder / "doc-text"), queries, _grades(pairs))


def qmsum(folder: Path) -> Set:
    """Meetings: what was said, and which turns a question about it is answered by. Every third of the test split."""
    texts, questions = [], []
    for number, line in enumerate(_lines(folder / "test.jsonl")):
        if number % 3:
            continue
        meeting, scope = json.loads(line), f"meeting {number}"
        turns = meeting["meeting_transcripts"]
        texts += [
            Text(f"{scope} {turn}", f"{each['speaker']}: {each['content']}", scope)
            for turn, each in enumerate(turns)
            if each["content"].strip()
        ]
        for asked in meeting["specific_query_list"]:
            spans = [range(int(first), int(last) + 1) for first, last in asked["relevant_text_span"]]
            grades = {f"{scope} {turn}": 1 for span in spans for turn in span}
            questions.append(Question(asked["query"], grades, scope))
    return Set("qmsum", texts, questions, talk=True)


# --- facts that change --------------------------------------------------------------------------------------

# fmt: off
_FIRST = [
    "Anna", "Ben", "Carla", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Liam", "Mara",
    "Nils", "Olga", "Pavel", "Rosa", "Sami", "Tara", "Uwe",
]
_LAST = [
    "Adler", "Berg", "Conti", "Dahl", "Evans", "Fischer", "Garcia", "Haas", "Ito", "Jansen",
]
_TOWNS = [
    "Oslo", "Porto", "Graz", "Lyon", "Turin", "Leeds", "Ghent", "Basel", "Krakow", "Malmo", "Cadiz", "Bergen",
    "Zagreb", "Utrecht", "Bonn", "Split",
]
_JOBS = [
    "nurse", "baker", "pilot", "translator", "plumber", "judge", "gardener", "surveyor", "chemist", "librarian",
    "welder", "auditor", "optician", "architect", "teacher", "editor",
]
_THINGS = [
    "bicycle", "old van", "red scooter", "tram", "electric car", "ferry", "motorbike", "horse", "sports car", "bus",
    "canoe", "tandem",
]
_SPORTS = [
    "chess", "rowing", "fencing", "climbing", "tennis", "judo", "sailing", "darts", "curling", "boxing", "handball",
    "golf",
]
# fmt: on
#: what is said of somebody, in several ways, and how it is asked for
_FACTS: list[tuple[str, Sequence[str], Sequence[str], Sequence[str]]] = [
    (
        "home",
        _TOWNS,
        ("{who} lives in {what}.", "{who} has moved to {what}.", "The flat of {who} is in {what} now."),
        ("Where does {who} live?", "In which town is the home of {who}?"),
    ),
    (
        "job",
        _JOBS,
        ("{who} works as a {what}.", "{who} was hired as {what}.", "By profession {who} is a {what}."),
        ("What does {who} do for a living?", "Which job has {who}?"),
    ),
    (
        "way",
        _THINGS,
        ("{who} goes to work by {what}.", "{who} took to the {what} for the way to work.", "{who} commutes by {what}."),
        ("How does {who} get to work?", "By what means does {who} commute?"),
    ),
    (
        "sport",
        _SPORTS,
        ("{who} has taken up {what}.", "In the evenings {who} goes to {what}.", "The sport of {who} is {what}."),
        ("Which sport does {who} do?", "What does {who} do in the evenings?"),
    ),
]  # fmt: skip


def facts(people: int = 100, seed: int = 7) -> Set:
    """Facts about people, each true until the next: two questions as of some day for each. Made, not found."""
    chance = random.Random(seed)
    names = [f"{first} {last}" for first in _FIRST for last in _LAST]
    texts, questions = [], []
    for who in chance.sample(names, people):
        for about, values, said, asked in _FACTS:
            day, known = date(2019, 1, 1) + timedelta(days=chance.randrange(300)), list[Text]()
            for what in chance.sample(list(values), chance.randint(3, 6)):
                text = chance.choice(said).format(who=who, what=what)
                known.append(Text(f"{who} {about} {day}", text, ref=f"{who}/{about}", since=day.isoformat()))
                day += timedelta(days=chance.randint(60, 500))
            texts += known
            for one in chance.sample(known, 2):
                end = next((each.since for each in known if each.since > one.since), day.isoformat())  # type: ignore[operator]
                length = (date.fromisoformat(str(end)) - date.fromisoformat(str(one.since))).days
                moment = date.fromisoformat(str(one.since)) + timedelta(days=chance.randrange(1, length))
                question = chance.choice(asked).format(who=who)
                questions.append(Question(question, {one.id: 1}, as_of=moment.isoformat()))
    return Set("facts", texts, questions)


# --- files --------------------------------------------------------------------------------------------------


def _set(name: str, texts: dict[str, str], queries: dict[str, str], grades: dict[str, dict[str, int]]) -> Set:
    return Set(
        name,
        [Text(id_, text) for id_, text in texts.items() if text.strip()],
        [Question(text, grades[id_]) for id_, text in queries.items() if grades.get(id_)],
    )


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def _smart(file: Path) -> dict[str, str]:
    """The format of SMART: ``.I`` number, then fields; titles (``.T``) and texts (``.W``) are read."""
    found: dict[str, list[str]] = {}
    number, kept = "", False
    for line in _lines(file):
        if line.startswith(".I"):
            number = line.split()[1]
            found[number] = []
        elif re.fullmatch(r"\.[A-Z]\s*", line):
            kept = line[1] in "TW"
        elif kept:
            found[number].append(line.strip())
    return {number: "\n".join(lines) for number, lines in found.items()}


def _slashed(file: Path) -> dict[str, str]:
    """A number, lines, and a line with nothing but a slash."""
    entries = re.split(r"^\s*/\s*$", file.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    found = {}
    for entry in entries:
        number, _, text = entry.strip().partition("\n")
        if number.strip().isdigit():
            found[number.strip()] = text.strip()
    return found


def _grades(pairs: Sequence[Sequence[str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for query, text in pairs:
        found[str(int(query))][str(int(text))] = 1
    return found
