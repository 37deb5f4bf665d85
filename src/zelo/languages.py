"""The languages of a collection, guessed from some of its documents."""

from collections import Counter

import numpy as np

from zelo.texts import Texts

CHARACTERS = 1000  # that are read of a document
SHORTEST = 20  # characters from which a language is guessed


def languages(texts: Texts, most: int) -> Counter[str]:
    """ISO 639 code -> documents, of up to `most` documents at even distances; short ones are passed over.

    By py3langid (Barbaresi, 2021, after langid: Lui and Baldwin, ACL 2012).
    """
    import py3langid

    samples = (texts[row][:CHARACTERS].strip() for row in spaced(len(texts), most).tolist())
    return Counter(py3langid.classify(text)[0] for text in samples if len(text) >= SHORTEST)


def spaced(count: int, most: int) -> np.ndarray:
    """Up to `most` rows of `count`, at even distances."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(int)
