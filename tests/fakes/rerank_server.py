"""A rerank endpoint that speaks every form and misbehaves on demand: the more words a text shares with the query, the better."""

import json
from typing import Any

from fake_server import FakeServer, Seen

USAGE = {"total_tokens": 700}
# kind -> what the results become: a list of (index, score), best first.
AMISS: dict[str, Any] = {
    "missing": lambda results: results[:-1],
    "twice": lambda results: [*results[:-1], results[0]],
    "one_more": lambda results: [*results, (len(results), 0.5)],
    "index_negative": lambda results: [(-1, 0.5), *results[1:]],
    "index_words": lambda results: [("0", 0.5), *results[1:]],
    "nan": lambda results: [(results[0][0], float("nan")), *results[1:]],
    "infinite": lambda results: [(results[0][0], 1e39), *results[1:]],
    "null": lambda results: [(results[0][0], None), *results[1:]],
    "words": lambda results: [(results[0][0], "0.9"), *results[1:]],
    "nothing": lambda results: [],
}


def shared(query: str, text: str) -> float:
    """What an honest endpoint says of a pair, different for different texts."""
    return len({*query.split()} & {*text.split()}) + len(text) / 1024


class RerankServer(FakeServer):
    """The form follows from the path and the keys that are sent, as each provider's does."""

    def _answer(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if seen.kind not in (*AMISS, "ok", "no_results"):
            return super()._answer(seen)
        body = seen.body
        texts = body["texts"] if "texts" in body else body["documents"]
        results = sorted(((n, shared(body["query"], text)) for n, text in enumerate(texts)), key=lambda one: -one[1])
        results = AMISS[seen.kind](results) if seen.kind in AMISS else results
        if "texts" in body:
            answer: Any = [{"index": n, "score": score} for n, score in results]
            return 200, {}, json.dumps({"wrong": 1} if seen.kind == "no_results" else answer).encode()
        listed = [{"index": n, "relevance_score": score} for n, score in results]
        key = "data" if "top_k" in body else "results"
        answer = {} if seen.kind == "no_results" else {key: listed}
        if seen.path.startswith("/v2"):
            answer["meta"] = {"billed_units": {"search_units": 1}}
        elif seen.path.endswith("/models/rerank"):
            answer |= USAGE
        else:
            answer["usage"] = USAGE
        return 200, {}, json.dumps(answer).encode()
