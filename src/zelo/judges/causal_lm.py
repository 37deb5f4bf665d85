"""A causal language model in this process as judge: one forward pass a pair, the preference from the odds of A against B."""

import functools
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from zelo.backbones import device
from zelo.backbones.token_batches import token_batches
from zelo.errors import BadInput
from zelo.judges.answer import PREFERENCES, began_with, preference
from zelo.judges.prompt import PAIR, Filled, Prompt
from zelo.judges.rubric import only_compares
from zelo.progress import progress
from zelo.records import ANSWERED, FAILED, STATUSES, UNPARSEABLE, Outcomes, Questions
from zelo.store import hash_file, hash_json
from zelo.texts import document_texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = ("float32", "bfloat16", "float16")
LETTERS = ("A", "B")  # what the prompt asks for: the document shown first, the document shown second
SHORTEST_CUT = 16  # tokens; less says nothing about a document
ROWS = 4096  # questions whose prompts exist at a time
_TAGS = 64  # tokens that the tags around three texts may take beyond those of empty texts
_FILES = ("config.json", "tokenizer.json", "model*.safetensors")
_READ = (*_FILES, "model*.json", "tokenizer*", "*.jinja", "vocab.json", "merges.txt", "*.model")
_SYSTEM, _USER = (
    "SYSTEM-PART-OF-ZELO",
    "USER-PART-OF-ZELO",
)  # stand in for the texts when a chat template is taken apart


@dataclass(frozen=True, kw_only=True)
class CausalLm:
    """P(A) / (P(A) + P(B)) at the next token after a prompt with both documents; tokens that differ by white space are one.

    `model`: a folder or the name of a model on the Hugging Face hub; weights as safetensors, and code of a model's own is never
    run. Texts go through the tokenizer's chat template where it has one, thinking switched off, and cannot write its special
    tokens. A document is cut to `document_tokens`, or to what the context leaves beside the query. In float32 a preference
    moves by less than 1e-5 with the batch that it is computed in; in 16 bits by more. A hub name is known by its name
    and revision alone, so name a commit.
    """

    OUTSIDE_IDENTITY: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    name: str
    model: str
    revision: str | None  # of a model on the hub: a commit, tag or branch
    dtype: Literal["float32", "bfloat16", "float16"]
    prompt: str  # a name in conf/judge/prompts or the path of a .txt file
    instruction: str  # what relevance means to the user; may be empty
    preference: str  # soft, ternary or sign: from odds to preference
    threshold: float  # ternary: |2 p - 1| up to this is a tie
    verdict_mass: float  # what A and B must carry of the probability together; below it a question is unparseable
    document_tokens: int
    batch_tokens: int  # tokens of a batch, padding included
    _said: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    _unread: Counter[str] = field(
        init=False, repr=False, compare=False, default_factory=Counter
    )  # the first -> how many

    def __post_init__(self) -> None:
        where = f"judge {self.name}"
        for name, known in (("dtype", DTYPES), ("preference", PREFERENCES)):
            if getattr(self, name) not in known:
                raise BadInput(f"{where}: {name}={getattr(self, name)!r} is unknown; use one of {', '.join(known)}.")
        if not 0 <= self.threshold < 1:
            raise BadInput(f"{where}: threshold={self.threshold} must be in [0, 1); try 0.1.")
        if not 0 <= self.verdict_mass < 1:
            raise BadInput(
                f"{where}: verdict_mass={self.verdict_mass} must be in [0, 1); try 0.5, or 0 to read anything."
            )
        for name, least in (("document_tokens", SHORTEST_CUT), ("batch_tokens", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"{where}: {name}={getattr(self, name)} is too small; set it to {least} or more.")
        self._prompt.check(PAIR, None, self.instruction, where)

    def content(self) -> dict[str, str]:
        """The words of the prompt, and, where `model` is a folder, what lies in it. Raises BadInput for what is missing."""
        words = {"prompt": self._prompt.content}
        if not Path(self.model).expanduser().is_dir():
            return words
        folder = self._folder()
        files = sorted({path for pattern in _READ for path in folder.glob(pattern)})
        return words | {"model": hash_json({path.name: _hash(path) for path in files})}

    def compare(self, questions: Questions) -> Outcomes:
        """One outcome per question; failed where the model gives no number, unparseable below verdict_mass.

        Raises BadInput for questions across queries or about a document alone.
        """
        only_compares(self.name, questions)
        if questions.query_b_row is not None:
            raise BadInput(f"judge {self.name} compares within one query and cannot across queries.")
        n = len(questions)
        p, mass, tokens = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, np.int32)
        self._say(questions)
        with progress(f"judge {self.name}", n, "pairs") as advance:
            for start in range(0, n, ROWS):
                rows = slice(start, min(start + ROWS, n))
                ids = self._ids(questions, rows)
                tokens[rows] = [len(row) for row in ids]
                for batch in token_batches(ids, self.batch_tokens):
                    at = start + np.array(batch)
                    p[at], mass[at], begins = self._odds([ids[row] for row in batch])
                    self._note(mass[at], begins)
                    advance(len(batch))
                p[rows] = [preference(1 - 2 * value, self.preference, self.threshold) for value in p[rows].tolist()]
        below = mass < self.verdict_mass
        p[below] = np.nan
        status = np.where(np.isnan(p), STATUSES.index(FAILED), STATUSES.index(ANSWERED)).astype(np.int32)
        status[below] = STATUSES.index(UNPARSEABLE)
        return Outcomes.of(self.name, p, np.ones(n), status, tokens, np.zeros(n))

    def notes(self) -> list[str]:
        """A sentence about the questions that have no verdict, and with what the model began there."""
        return [
            f"judge {self.name}: {count:,} pairs are unparseable, for A and B carry less than"
            f" verdict_mass={self.verdict_mass:g} of the probability; the first such answer: {first}. Name another"
            " judge.model, one that follows instructions, or set judge.prompt."
            for first, count in self._unread.items()
        ]

    def _note(self, mass: np.ndarray, begins: list[tuple[int, float]]) -> None:
        """Counts where A and B carry too little, under what the model began with at the first of them."""
        for row in np.flatnonzero(mass < self.verdict_mass).tolist():
            if not self._unread:
                token, share = begins[row]
                text: Any = self._tokenizer.decode([token])
                self._unread[began_with([(text, math.log(share))], float(mass[row]))] = 0
            self._unread[next(iter(self._unread))] += 1

    def cut(self, questions: Questions) -> int:
        """How many of the documents asked about are longer than document_tokens, and so are judged by their beginning."""
        rows = np.unique(np.concatenate([questions.a_row, questions.b_row]))
        texts = document_texts(questions.documents.take(rows))
        short = self._cut(texts, [self.document_tokens] * len(texts))
        return sum(len(text) != len(rest) for text, rest in zip(texts, short, strict=True))

    def _say(self, questions: Questions) -> None:
        """One line, for the first questions that have documents to cut."""
        if not self._said and (count := self.cut(questions)):
            self._said.append(f"judge {self.name}: {count:,} documents of the first {len(questions):,} pairs")
            print(f"{self._said[0]} are cut to {self.document_tokens} tokens", file=sys.stderr, flush=True)

    @cached_property
    def _prompt(self) -> Prompt:
        return Prompt.named(self.prompt, f"judge {self.name}")

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerFast":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder(), local_files_only=True, trust_remote_code=False)

    @cached_property
    def _network(self) -> "PreTrainedModel":
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        folder = self._folder()
        logging.disable_progress_bar()
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=self.dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BadInput(
                f"judge {self.name}: the model in {folder} cannot be loaded as a causal LM ({reason})."
            ) from error
        network, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise BadInput(
                f"judge {self.name}: the weights in {folder} lack {len(missing)} tensors, {missing[0]} for one."
            )
        return network.eval().to(device.chosen())

    @cached_property
    def _letters(self) -> list[list[int]]:
        """The ids of the tokens that are A, or B, but for white space. Raises BadInput where there are none."""
        tokenizer: Any = self._tokenizer
        found = [
            sorted(
                n
                for token, n in tokenizer.get_vocab().items()
                if letter in token and tokenizer.decode([n]).strip() == letter
            )
            for letter in LETTERS
        ]
        if not all(found):
            raise BadInput(
                f"judge {self.name}: the tokenizer of {self.model} has no token A or none B; name another model."
            )
        return found

    @cached_property
    def _frame(self) -> list[list[int]]:
        """Ids before the system's part, between it and the user's, and after: the chat template without its texts."""
        tokenizer = self._tokenizer
        if tokenizer.chat_template is None:
            start: Any = tokenizer("")["input_ids"]
            return [start, *self._encode(["\n\n", "\n\nAnswer:"], texts=False)]
        rendered = _rendered(tokenizer, [("system", _SYSTEM), ("user", _USER)])
        rendered = rendered or _rendered(tokenizer, [("user", f"{_SYSTEM}\n\n{_USER}")])  # some have no system
        parts = re.split(f"{_SYSTEM}|{_USER}", rendered)
        if len(parts) != 3 or rendered.index(_SYSTEM) > rendered.index(_USER):
            raise BadInput(
                f"judge {self.name}: the chat template of {self.model} drops or moves a message; name another model."
            )
        return self._encode(parts, texts=False)

    def _encode(self, parts: list[str], *, texts: bool) -> list[list[int]]:
        """Ids of each part. texts: what looks like a special token is plain text."""
        encoded: Any = self._tokenizer(parts, add_special_tokens=False, split_special_tokens=texts)
        return encoded["input_ids"]

    def _cut(self, texts: list[str], most: list[int]) -> list[str]:
        """The beginnings of texts, at most so many tokens long each."""
        long = [n for n, text in enumerate(texts) if len(text.encode()) > most[n]]  # a token is a byte or more
        short = list(texts)
        if not long:
            return short
        encoded: Any = self._tokenizer(
            [texts[n] for n in long],
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=True,
            max_length=max(most) + 1,
            return_offsets_mapping=True,
        )
        for n, place in zip(long, encoded["offset_mapping"], strict=True):
            if len(place) > most[n]:  # where tokens share a character, it goes
                short[n] = texts[n][: min(place[most[n] - 1][1], place[most[n]][0])]
        return short

    def _ids(self, questions: Questions, rows: slice) -> list[list[int]]:
        """Token ids of the prompts of these rows. Raises BadInput for a query that leaves no room for documents."""
        queries = questions.query_texts(rows)
        room = [
            self._room(query, len(ids)) for query, ids in zip(queries, self._encode(queries, texts=True), strict=True)
        ]
        texts = [queries, self._cut(questions.texts_a(rows), room), self._cut(questions.texts_b(rows), room)]
        filled = [self._filled(*row) for row in zip(*texts, strict=True)]
        system = self._encode([item.system for item in filled], texts=True)
        user = self._encode([item.user for item in filled], texts=True)
        before, between, after = self._frame
        return [before + one + between + other + after for one, other in zip(system, user, strict=True)]

    def _filled(self, query: str, document_a: str, document_b: str) -> Filled:
        texts = {"query": query, "document_a": document_a, "document_b": document_b}
        return self._prompt.fill(texts, self.instruction, None)

    def _room(self, query: str, tokens: int) -> int:
        """Tokens that a document may have beside a query of so many."""
        room = min(self.document_tokens, (self._context - tokens) // 2)
        if room < SHORTEST_CUT:
            raise BadInput(
                f"judge {self.name}: the query {query[:60]!r} of {tokens} tokens leaves no room for documents in the context of"
                f" {self.model}; shorten it, or name a model that reads more."
            )
        return room

    @cached_property
    def _context(self) -> int:
        """Tokens that the model has for a query and two documents."""
        most = getattr(self._network.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
        empty = self._filled("", "", "")
        parts = [*self._frame, *self._encode([empty.system, empty.user], texts=True)]
        return most - sum(map(len, parts)) - _TAGS

    def _odds(self, ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray, list[tuple[int, float]]]:
        """[B] P(A) / (P(A) + P(B)), [B] P(A) + P(B), and the likeliest token with its probability.

        After B sequences of tokens, padded on the left so that all end at the same place.
        """
        import torch

        lengths = torch.tensor([len(row) for row in ids])
        width = int(lengths.max())
        mask = (torch.arange(width) >= width - lengths[:, None]).long()
        tokens = torch.zeros_like(mask)
        tokens[mask.bool()] = torch.tensor([token for row in ids for token in row])
        inputs = {"input_ids": tokens, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        network = self._network
        with torch.inference_mode():
            moved = {name: value.to(network.device) for name, value in inputs.items()}
            logits = network(**moved, use_cache=False, logits_to_keep=1).logits[:, -1].float()
        first, second = (logits[:, letters].logsumexp(1) for letters in self._letters)
        chance = torch.log_softmax(logits, 1)
        mass = sum(chance[:, letters].exp().sum(1) for letters in self._letters)
        top = chance.max(1)
        begins = list(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True))
        return torch.sigmoid(first - second).cpu().numpy(), torch.as_tensor(mass).cpu().numpy(), begins

    def _folder(self) -> Path:
        """Where the model lies; one on the hub is fetched. Raises BadInput for what is missing."""
        folder = Path(self.model).expanduser()
        if not folder.is_dir():
            if folder.is_absolute() or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", self.model):
                raise BadInput(
                    f"judge {self.name}: model={self.model}: there is no such folder. Give a folder, or a hub name (owner/name)."
                )
            folder = self._from_hub()
        for wanted in _FILES:
            if not any(folder.glob(wanted)):
                raise BadInput(
                    f"judge {self.name}: the model folder {folder} has no {wanted}. Save the model and its tokenizer there with"
                    " save_pretrained(), or name another folder."
                )
        return folder

    def _from_hub(self) -> Path:
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.model, revision=self.revision, allow_patterns=list(_READ)))
        except (OSError, ValueError) as error:  # the hub's errors are OSErrors: no such model, no network, no access
            reason = str(error).strip().splitlines()[0]
            raise BadInput(
                f"judge {self.name}: model={self.model} is no folder here and could not be fetched from the Hugging Face hub"
                f" ({reason}). Check the name, the revision and the network, or give a folder."
            ) from error


def _rendered(tokenizer: "PreTrainedTokenizerFast", messages: list[tuple[str, str]]) -> str:
    """The messages (role, text) in the tokenizer's chat template, ready for the answer; "" where it has no such role."""
    from jinja2.exceptions import TemplateError

    try:
        text: Any = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # a variable of the template, which those without it ignore
        )
    except TemplateError:
        return ""
    return text


def _hash(path: Path) -> str:
    facts = path.stat()
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _hash_of(path: Path, _size: int, _changed: int) -> str:
    return hash_file(path)
