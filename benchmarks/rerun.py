"""What judging costs again where the ledger has every answer: processor time a question, by kind of judge.

Run: python benchmarks/rerun.py [QUESTIONS]. Nothing is sent: the ledger is filled with answers, then the questions are planned
and asked three times, and the quickest counts. A question is about two documents of 1,500 characters, 40 a query; an answer has
700. The last column is the share of a first run in which 200 calls are under way at a time and each takes a second.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fakes"))

import decision_server
from chat_questions import FIELDS
from paid_judge import Judge, budget

from zelo.judges.chat import VERDICT, Asked, Chat
from zelo.judges.decision import Decision, Decisions
from zelo.ledger.codec import entry_of
from zelo.ledger.ledger import Ledger
from zelo.ledger.place import ledger_path
from zelo.protocols import PaidJudge
from zelo.providers.client import read
from zelo.providers.request import Reply, Request
from zelo.records import DOCUMENT, QUERY, Questions

DOCUMENTS, PAIRS, LENGTH, ANSWER = 40, 100, 1500, 700  # of a query, of a query, characters, characters
CALL = 1.0 / 200  # seconds for one of 200 calls that take a second each
WORDS = ["alpha", "beta", "pressure", "vessel", "the", "of", "and", "ranking", "model", "naïve"]
RNG = np.random.default_rng(0)
AT: dict[str, Any] = {
    "api_key_env": None,
    "base_url": "http://127.0.0.1:9/v1",
    "input_price": 1.0,
    "document_tokens": 512,
}


def text(length: int) -> str:
    return " ".join(RNG.choice(WORDS, length // 6))


def asked(count: int) -> Questions:
    n = -(-count // PAIRS)
    names = [f"q{number}" for number in range(n)]
    queries = pa.table([names, [text(60) for _ in names], ["train"] * n], schema=QUERY)
    ids = [f"d{number}" for number in range(n * DOCUMENTS)]
    documents = pa.table([ids, ["title"] * len(ids), [text(LENGTH) for _ in ids]], schema=DOCUMENT)
    every = np.stack(np.triu_indices(DOCUMENTS, 1), axis=1)
    pairs = np.concatenate([DOCUMENTS * q + every[np.sort(RNG.permutation(len(every))[:PAIRS])] for q in range(n)])
    query = np.repeat(np.arange(n, dtype=np.int32), PAIRS)
    a, b = pairs.astype(np.int32).T
    return Questions(queries, documents, query, a, b, np.zeros(len(query), np.int16)).take(np.arange(count))


def chat(**changes: Any) -> Chat:
    return Chat(**(FIELDS | AT | changes))


def decision(**changes: Any) -> Decision:
    return Decision(**(decision_server.FIELDS | AT | changes))


def judges() -> Iterator[tuple[str, PaidJudge]]:
    yield "texts alone, as in calls.py", Judge(chat().endpoint)
    yield "chat, JSON", chat()
    yield "chat, tagged line", chat(structured=False)
    yield "chat, verdict", chat(mode=VERDICT)
    yield "chat, listwise", chat(mode="listwise", window=8)
    yield "decision, states of 32 pairs", decision(state_tokens=32_768, pairs_per_state=32)


def answer(judge: PaidJudge, request: Request) -> dict[str, Any]:
    if isinstance(request, Decisions):
        options = {one.name: {value: 0.5 for value, _ in one.options} for one in request.questions}
        return {"answers": {name: {"type": "choice", "probabilities": of} for name, of in options.items()}}
    usage = {"prompt_tokens": 800, "completion_tokens": 200}
    if not isinstance(request, Asked):
        content = "score: 0.50"
    elif request.logprobs:
        listed = [("A", -0.3), ("B", -1.4), *((f"x{n}", -6.0 - n) for n in range(18))]
        first: dict[str, Any] = {"token": "A", "logprob": -0.3}
        first["top_logprobs"] = [{"token": token, "logprob": value} for token, value in listed]
        choice = {"message": {"content": "A"}, "finish_reason": "length", "logprobs": {"content": [first]}}
        return {"choices": [choice], "usage": usage}
    elif request.schema is None:
        content = f"{text(ANSWER)}\n{request.tag}: 0.5"
    else:
        labels = {str(label): 0.5 for label in range(1, 1 + max(label for pair in request.pairs for label in pair))}
        scores = {"scores": labels} if isinstance(judge, Chat) and judge.asked_whole else {"score": 0.5}
        content = json.dumps({"thoughts": [text(ANSWER)], **scores})
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": usage}


def fill(judge: PaidJudge, questions: Questions) -> int:
    """Calls that answer the questions; their answers are in the ledger now."""
    entries = []
    for request in judge.requests(questions):
        raw = json.dumps(answer(judge, request)).encode()
        reply = read(judge.endpoint, request, 200, {}, raw, None)
        assert isinstance(reply, Reply), reply
        entries.append(entry_of(judge.endpoint, request, replace(reply, http=200, body=raw.decode(), seconds=1.0)))
    with Ledger(ledger_path()) as ledger:
        return ledger.add(entries)


def again(judge: PaidJudge, questions: Questions) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    with budget().open(budget().plans({judge.name: (judge, [questions])})) as session:
        outcomes = session.ask({judge.name: (judge, questions)})[judge.name]
    seconds = time.process_time() - start
    assert np.isfinite(outcomes.p).all()
    assert session.figures[judge.name]["calls"] == 0
    return seconds


def main() -> None:
    """Prints a line per kind of judge."""
    questions = asked(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    with tempfile.TemporaryDirectory() as home:
        os.environ["ZELO_HOME"] = home
        for name, judge in judges():
            calls = fill(judge, questions)
            seconds = min(again(judge, questions) for _ in range(3))
            each = 1e6 * seconds / len(questions)
            print(
                f"{name:34} {each:5.1f} us a question, {calls:6,} calls, {seconds / calls / CALL:5.1%} of the first run"
            )


if __name__ == "__main__":
    main()
