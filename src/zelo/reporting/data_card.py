"""The data card in words: what the data is like, for the terminal and the report."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zelo.facts import Facts
from zelo.protocols import Backbone, TrainingStage
from zelo.records import SPLITS, UNUSED
from zelo.store.table import Table

if TYPE_CHECKING:
    from zelo.pipeline.run import Result

SHOWN = 10  # domains that a line names
SHARE = 0.01  # of the documents, from which a language is named


def card_of(result: "Result") -> list[tuple[str, str]]:
    """What the first card of this run says, as of `lines`, with examples and with what the first stages found."""
    table = next((table for table in result.tables.values() if "card" in table.manifest), None)
    return [*lines(table, result), *_examples(table.manifest["card"]["duplicates"]), *_found(result)] if table else []


def lines(table: Table, result: "Result") -> Iterator[tuple[str, str]]:
    """(subject, what there is to say of it), eight at most. table: a data card; result: of its run, for what students read."""
    card = table.manifest["card"]
    yield "queries", _queries(card)
    yield "documents", _documents(card)
    if len(card["domains"]) > 1:
        yield "domains", _domains(card["domains"])
    if card["passages"]:
        yield "passages", _passages(card["passages"])
    if longer := _longer(table, result):
        yield "cut", longer
    yield "languages", _languages(card["languages"])
    yield "duplicates", _duplicates(card)
    yield "judgements", _judged(card["judged"])
    yield "left out", _left_out(card)


def _queries(card: Facts) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in card["queries"].items() if count) or "none"
    return f"{counts}{_spread(card['query_lengths'])}"


def _documents(card: Facts) -> str:
    sampled = f" (of {card['measured']:,} documents)" * (card["measured"] < card["documents"])
    empty = card["document_lengths"]["empty"]
    return f"{card['documents']:,}{_spread(card['document_lengths'])}{sampled}" + f"; {empty:,} empty" * bool(empty)


def _domains(domains: Facts) -> str:
    """What each domain has, the first SHOWN of them."""
    said = []
    for name, counts in list(domains.items())[:SHOWN]:
        queries = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if split in counts) or "no queries"
        documents = f" of {counts['documents']:,} documents" if "documents" in counts else ""  # they may have no domain
        said.append(f"{name or 'without a domain'} {queries}{documents}")
    return "; ".join(said) + f"; and {len(domains) - SHOWN:,} more" * (len(domains) > SHOWN)


def _passages(found: Facts) -> str:
    most = f"; the most are of {found['most']['doc_id']}: {found['most']['passages']:,}" * bool(found["split"])
    counts = f"{found['passages']:,}, as {found['split']:,} of {found['documents']:,} documents are split"
    return f"{counts}{_spread(found['lengths'])}{most}"


def _spread(lengths: Facts | None) -> str:
    if lengths is None:
        return ""
    return f"; words and marks: median {lengths['median']:,}, 95 % up to {lengths['p95']:,}, longest {lengths['longest']:,}"


def _longer(table: Table, result: "Result") -> str:
    """How many documents the students of this run do not read to the end; empty where they read all."""
    lengths, texts = table.read("lengths"), "passages" if table.manifest["card"]["passages"] else "documents"
    length, documents = (lengths[column].to_numpy() for column in ("length", "documents"))
    found = []
    for limit, names in sorted(_limits(result).items()):
        share = documents[length > limit].sum() / max(documents.sum(), 1)
        if share:
            found.append(
                f"at least {_percent(share)} of the {texts} have more than {limit:,} tokens ({', '.join(names)})"
            )
    return "; ".join(found)


def _limits(result: "Result") -> dict[int, list[str]]:
    """Tokens of a document -> the students that read so many."""
    found: dict[int, list[str]] = {}
    for step in result.steps:
        if isinstance(step.stage, TrainingStage) and isinstance(step.stage.student.backbone, Backbone):
            found.setdefault(step.stage.student.backbone.max_length, []).append(step.stage.name)
    return found


def _languages(languages: Facts) -> str:
    if not languages["documents"]:
        return "not known: no document has enough text"
    shares = languages["shares"].items()
    named = [f"{name} {_percent(share)}" for name, share in shares if share >= SHARE]
    rest = sum(share for _, share in shares if share < SHARE)
    return (
        ", ".join([*named, *[f"others {_percent(rest)}"] * bool(rest)]) + f" (of {languages['documents']:,} documents)"
    )


def _duplicates(card: Facts) -> str:
    found = card["duplicates"]
    said = ["no document has the title and text of another"]
    if exact := found["exact"]:
        said = [f"{_has(exact, 'document')} the title and text of one before (drop_duplicates=true leaves"]
        said[0] += " them out)" if exact > 1 else " it out)"
    about = "" if found["near_is_exact"] else "about "
    said.append(f"{about}{found['near']:,} nearly so" if found["near"] else "none nearly")
    if queries := card["duplicate_queries"]:
        said.append(
            f"{_has(queries, 'query', 'queries')} the text of one before, of {'their' if queries > 1 else 'its'} split"
        )
    return "; ".join(said)


def _has(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {more or one + 's'} have" if count > 1 else f"1 {one} has"


def _examples(duplicates: Facts) -> Iterator[tuple[str, str]]:
    """Some documents, each with the one before it that is the same."""
    for subject, pairs in (("same", duplicates["examples"]), ("nearly same", duplicates["near_examples"])):
        if pairs:
            yield subject, "; ".join(f"{document} and {other}" for document, other in pairs)


def _found(result: "Result") -> Iterator[tuple[str, str]]:
    """The queries for which a first stage found no document."""
    said = [
        f"{name} finds none for {without:,} of {table.manifest['queries']:,} queries"
        for name, table in result.tables.items()
        if (without := table.manifest.get("queries_without"))
    ]
    if said:
        yield "candidates", "; ".join(said)


def _judged(judged: Facts | None) -> str:
    if judged is None:
        return "not read"
    return "; ".join(_depth(split, found) for split, found in judged.items()) or "none"


def _depth(split: str, found: Facts) -> str:
    noun = "queries" if found["queries"] > 1 else "query"
    words = f"{found['queries']:,} {split} {noun} with {found['labels'] / found['queries']:.1f} labels each"
    if found["fewest"] < found["most"]:
        words += f" ({found['fewest']:,} to {found['most']:,})"
    words += f", {found['relevant'] / found['queries']:.1f} of them relevant"
    return words + f", {found['without_relevant']:,} without a relevant one" * bool(found["without_relevant"])


def _left_out(card: Facts) -> str:
    queries, documents = card["left_out"]["queries"], card["left_out"]["documents"]
    said = [
        f"{count:,} {split} {'queries' if count > 1 else 'query'} with the text of a query that measures"
        for split, count in queries.items()
        if count
    ]
    unused = {name: counts[UNUSED] for name, counts in card["domains"].items() if UNUSED in counts}
    said += [f"{count:,} train or dev queries of {name}" for name, count in unused.items()]
    return "; ".join([*said, *[f"duplicate documents: {documents:,}"] * bool(documents)]) or "nothing"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
