"""An embedding endpoint that speaks every form and misbehaves on demand: a vector counts words by their first letter."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from fake_server import FakeServer, Seen

TOKENS = 300  # of every honest answer
WIDTH = 26
# kind -> what the items of an answer become, in order
AMISS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "fewer": lambda items: items[:-1],
    "more": lambda items: [*items, items[0]],
    "twice": lambda items: [*items[:-1], items[0]],
    "no_index": lambda items: [{"embedding": items[0]["embedding"]}, *items[1:]],
    "nan": lambda items: [items[0] | {"embedding": [float("nan")] * WIDTH}, *items[1:]],
    "zeros": lambda items: [items[0] | {"embedding": [0.0] * WIDTH}, *items[1:]],
    "short": lambda items: [items[0] | {"embedding": [1.0, 2.0]}, *items[1:]],
}


def vector(text: str) -> np.ndarray:
    """What an honest endpoint gives, [26]; it is not of length 1."""
    found = np.full(WIDTH, 0.01)
    for word in text.lower().split():
        found[ord(word[0]) % WIDTH] += 1
    return found


class EmbeddingServer(FakeServer):
    """The form follows from the keys that are sent. The items of an answer stand in no order."""

    narrow = False  # half as many numbers

    def _answer(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if seen.kind not in (*AMISS, "ok"):
            return super()._answer(seen)
        body = seen.body
        texts = body["texts"] if "texts" in body else body["input"]
        vectors = [vector(text)[: WIDTH // 2 if self.narrow else WIDTH] for text in texts]
        if "texts" in body:
            answer: Any = {"embeddings": {"float": [one.tolist() for one in vectors]}}
            return 200, {}, json.dumps(answer | {"meta": {"billed_units": {"input_tokens": TOKENS}}}).encode()
        packed = "base64" in (body.get("encoding_format"), body.get("embedding_type"))
        items = [
            {
                "index": n,
                "embedding": base64.b64encode(one.astype("<f4").tobytes()).decode() if packed else one.tolist(),
            }
            for n, one in enumerate(vectors)
        ]
        items = AMISS[seen.kind](items) if seen.kind in AMISS else items[::-1]
        return 200, {}, json.dumps({"data": items, "usage": {"total_tokens": TOKENS}}).encode()
