"""Weighs judges that are asked about the best candidates of others, together with these, without labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from zelo import known_items, protocols
from zelo.asking import Panel
from zelo.domains import learned_from
from zelo.errors import BadInput
from zelo.facts import Facts
from zelo.pools import Pools
from zelo.protocols import Retriever
from zelo.stages.known_items import TOP_K, asked, candidates, write_equal, write_learned
from zelo.store.table import Table

BELIEF = 1 / 3  # chosen on the labels of dev of two collections: docs/results.md


@dataclass(frozen=True, kw_only=True)
class KnownShortlists:
    """Writes weights (WEIGHT) of the judges of two judge stages, 1 on average: the second is asked about a shortlist.

    As KnownItems; but the first judges are asked about all candidates of an item, and all judges are weighed by the `top_k`
    that they prefer, of the items whose document is among these: so a second judge is weighed by what it will be asked. A list
    that follows from the scores alone leaves the weights of a conditional logit unbiased (McFadden 1978). A second judge gets
    the share BELIEF of that weight: sentences of documents are easier for a language model than what people ask.
    """

    inputs: dict[str, str]  # data: the load stage; weights: a stage that weighs the first judges
    first: protocols.Judge | protocols.PaidJudge
    second: protocols.Judge | protocols.PaidJudge
    retriever: Retriever
    top_k: int
    items: int  # titles and sentences; 0: equal weights
    documents: int  # that they are taken from, and searched among
    seed: int

    def __post_init__(self) -> None:
        if self.items < 0 or self.documents < 2 or not 2 <= self.top_k <= TOP_K:
            raise BadInput(
                f"known shortlists: items={self.items}, documents={self.documents}, top_k={self.top_k}; items must be at least 0"
                f" (equal weights), documents at least 2, top_k from 2 to {TOP_K}."
            )

    def run(self, tables: dict[str, Table], out: Path) -> Facts:
        """Asks each judge about each item once. Raises BadInput where a judge of both stages has the same name."""
        first, second = Panel(self.first, self.seed), Panel(self.second, self.seed)
        names, unable = [*first.members, *second.members], first.given_queries_only + second.given_queries_only
        if len(set(names)) < len(names):
            raise BadInput(
                f"known shortlists: two judges have one name, {', '.join(names)}; set judge.name of one of them."
            )
        if unable and self.items:
            return write_equal(out, names, f"equal, as known items cannot be asked of {', '.join(unable)}")
        if not self.items:
            return write_equal(out, names, None)
        made = known_items.Items.of(learned_from(tables["data"]), self.items, self.documents, self.seed)
        item, other, usable = candidates(made, self.retriever)
        order = np.flatnonzero(usable)[np.argsort(item[usable], kind="stable")]
        item, other = item[order], other[order]
        odds = asked(made, first, item, other)
        known = tables["weights"].read("weights")
        weight = known["weight"].take(
            pc.index_in(pc.cast(list(first.members), "string"), known["judge"].combine_chunks())
        )
        listed, place = self._listed(odds, weight.to_numpy())
        there = np.full(odds.shape[:2], -1)
        there[item, np.arange(len(item)) - np.searchsorted(item, item)] = other
        kept = there[listed[:, None], place] >= 0
        others = there[listed[:, None], place]
        documents = np.concatenate([made.wanted[listed, None], others], axis=1)
        there = np.insert(kept, 0, True, axis=1)
        pools = Pools(listed.astype(np.int32), there.sum(1), documents[there].astype(np.int32))
        later = asked(made, second, np.repeat(listed, kept.sum(1)), others[kept], pools)[listed]
        both = np.concatenate([odds[listed[:, None], place][:, : later.shape[1]], later], axis=2)
        belief = np.repeat([1.0, BELIEF], [len(first.members), len(second.members)])
        return write_learned(out, names, both, len(made.documents), belief)

    def _listed(self, odds: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([L] items whose answer is on the shortlist, [L, top_k - 1] places of the others there). odds: [I, K, M]."""
        known = np.isfinite(odds[..., 0])
        margin = np.where(known, np.where(known[..., None], odds, 0) @ weight, np.inf)
        listed = np.flatnonzero(known.any(1) & ((margin <= 0).sum(1) < self.top_k))
        return listed, np.argsort(margin[listed], axis=1, kind="stable")[:, : self.top_k - 1]
