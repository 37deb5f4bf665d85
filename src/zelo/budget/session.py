"""Asks the judges of one stage over the network, each answer on disk before the next thing happens."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from typing import Any

from zelo.budget.plan import Plan
from zelo.budget.rate_limiter import RateLimiter
from zelo.budget.recalled import read_known
from zelo.budget.request_batch import Figures, RequestBatch, note, reasons_in_words
from zelo.errors import LimitReached, ZeloError, first_error
from zelo.ledger.async_ledger import AsyncLedger
from zelo.ledger.codec import LOOKED_UP, entry_of, looked_up, parts_of, reply_of, set_aside
from zelo.ledger.ledger import Ledger
from zelo.ledger.operations import Caps, Entry, Granted, Known, Lose, NoRoom, Release, Reserve, Settle
from zelo.progress import Advance
from zelo.protocols import PaidJudge
from zelo.providers import retry
from zelo.providers.client import Client
from zelo.providers.request import NO_USAGE, Fault, Reading, Reply, Request
from zelo.records import ANSWERED, FAILED, Outcomes, Questions

STOPS = (signal.SIGINT, signal.SIGTERM)


class TooManyFailures(ZeloError):
    """A judge fails too often to go on; everything so far is kept."""

    exit_status = 3


class Session:
    """Asks the judges of one stage, one round of questions after the other."""

    def __init__(
        self,
        ledger: Ledger | None,
        plans: Mapping[str, Plan],
        caps: Mapping[str, Caps],
        patient: bool,
        max_failure_rate: float,
        ask_again: frozenset[str],
        advance: Advance,
    ) -> None:
        """caps: of each judge. patient: at a cap, go on with what there is. max_failure_rate, ask_again: as of the Budget."""
        self.ledger = ledger
        self.plans = plans
        self.caps = caps
        self.patient = patient
        self.max_failure_rate = max_failure_rate
        self.ask_again = ask_again
        self.advance = advance
        self.counts = {name: Figures(plan.price) for name, plan in plans.items()}
        self.stopped: ZeloError | None = None  # nobody is asked any more
        self.spent: dict[str, LimitReached] = {}  # these judges are not, and the ledger answers what it can
        self.bought: set[bytes] = set()  # keys of what was answered in this session
        self.former: dict[bytes, Entry] = {}  # what the ledger has of those that are asked again
        self.flying: dict[bytes, list[tuple[RequestBatch, Request]]] = {}
        self.signalled: signal.Signals | None = None  # what asked the process to end
        self.halted: dict[str, asyncio.Event] = {}  # set: nothing more is sent to this judge
        self.limiters: dict[str, RateLimiter] = {}

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Per judge: what was sent, spent and went wrong."""
        return {name: figures.as_facts() for name, figures in self.counts.items()}

    @property
    def live(self) -> dict[str, float]:
        """What all judges have come to so far, for a logger: US dollars, calls, tokens, and failures."""
        counts = self.counts.values()
        return {
            "usd": sum(one.usd for one in counts),
            "calls": sum(one.calls for one in counts),
            "tokens": sum(one.tokens for one in counts),
            "failed": sum(one.statuses.total() - one.statuses[ANSWERED] for one in counts),
            "from_ledger": sum(one.from_ledger for one in counts),
        }

    def kept(self, name: str, pairs: int) -> None:
        """So many pairs need not be asked about: an earlier, partial table has the judge's answers."""
        self.counts[name].from_ledger += pairs
        self.counts[name].before[ANSWERED] += pairs
        self.advance(pairs, self._note())

    def texts(self, judge: PaidJudge, questions: Questions) -> Iterator[tuple[int, str]]:
        """(row, text) of what the ledger holds of this judge's answers to these questions. Sends nothing."""
        for request, reply in self.replies(judge, questions):
            yield from ((row, reply.text) for row in request.rows)

    def replies(self, judge: PaidJudge, questions: Questions) -> Iterator[tuple[Request, Reply]]:
        """What the ledger holds of this judge's answers to these questions, request by request. Sends nothing."""
        assert self.ledger is not None, "a judge without a plan"
        endpoint = judge.endpoint
        for request, entry in looked_up(self.ledger, judge, questions):
            if entry is not None:
                yield request, reply_of(endpoint, request, entry)

    def report(self) -> None:
        """What each judge came to so far, one line each: for a run that ends early."""
        for name, counts in self.counts.items():
            if counts.statuses or counts.calls or counts.open:
                plan = self.plans[name]
                print(f"{plan.asker}: {counts.so_far(plan.pairs, plan.unit)}", file=sys.stderr)
                if not isinstance(self.stopped, TooManyFailures):  # whose own message has them
                    for reason in reasons_in_words(counts.as_facts()):
                        print(f"{self.plans[name].asker}: {reason}", file=sys.stderr)

    def ask(self, asked: Mapping[str, tuple[PaidJudge, Questions]]) -> dict[str, Outcomes]:
        """One outcome per question of each judge, from the ledger or the endpoint.

        Raises LimitReached at a cap (unless on_limit is continue) or when too much fails, BadInput where no call could succeed;
        everything that was answered is in the ledger by then.
        """
        batches, unread = {}, []
        for name, (judge, questions) in asked.items():
            if kept := self.plans[name].recalled.pop(questions):
                batches[name], known = kept
                self._take(name, known)
            else:
                batches[name] = RequestBatch.of(name, judge, len(questions))
                unread.append((batches[name], questions))
        if unread and not self.stopped:
            before = {number: signal.getsignal(number) for number in STOPS}
            try:
                asyncio.run(self._ask(unread))
            except BaseExceptionGroup as group:
                raise first_error(group) from group
            except asyncio.CancelledError:
                if self.signalled is None:
                    raise KeyboardInterrupt from None
            finally:
                if threading.current_thread() is threading.main_thread():
                    for number, handler in before.items():
                        signal.signal(number, handler)
            if self.signalled is not None:
                signal.raise_signal(self.signalled)  # now that the tasks have ended, for whatever handles it
                raise KeyboardInterrupt
        if self.stopped:
            raise self.stopped
        return {name: batch.outcomes() for name, batch in batches.items()}

    def _take(self, name: str, known: Figures) -> None:
        """What the plan has read of the ledger's answers to a whole batch."""
        self.counts[name].add_known(known)
        self.advance(known.from_ledger, self._note())
        self._judge_before(name)

    async def _ask(self, batches: list[tuple[RequestBatch, Questions]]) -> None:
        assert self.ledger is not None, "a judge without a plan"
        self.halted = {batch.name: asyncio.Event() for batch, _ in batches}
        for name in self.halted.keys() & self.spent.keys():
            self.halted[name].set()
        self.limiters = {}
        task = asyncio.current_task()
        assert task is not None

        def stop(number: signal.Signals) -> None:
            self.signalled = number
            task.cancel()

        for number in STOPS:
            if threading.current_thread() is threading.main_thread() and signal.getsignal(number) != signal.SIG_IGN:
                # As asyncio.run does itself where nobody else minds the signal: the tasks end in order, the ledger's last.
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        async with AsyncLedger(self.ledger) as self.writer:
            async with asyncio.TaskGroup() as group:
                for batch, questions in batches:
                    group.create_task(self._serve(batch, questions))

    async def _serve(self, batch: RequestBatch, questions: Questions) -> None:
        """Hands what the ledger does not answer to workers; the client lets as many send as the endpoint bears at once."""
        source = self._unanswered(batch, questions)
        first = await anext(source, None)
        if first is None:
            return
        workers = 2 * batch.endpoint.concurrency  # as many send as it bears, the others write down what came
        queue: asyncio.Queue[Request | None] = asyncio.Queue(workers)
        endpoint = batch.endpoint
        async with Client(endpoint) as client, RateLimiter(endpoint) as limiter, asyncio.TaskGroup() as group:
            self.limiters[batch.name] = limiter

            async def work() -> None:
                while (request := await queue.get()) is not None:
                    await self._call(batch, client, request)

            for _ in range(workers):
                group.create_task(work())
            await queue.put(first)
            async for request in source:
                await queue.put(request)
            for _ in range(workers):
                await queue.put(None)

    async def _unanswered(self, batch: RequestBatch, questions: Questions) -> AsyncIterator[Request]:
        requests = batch.judge.requests(questions)
        while chunk := list(islice(requests, LOOKED_UP)):
            if self.stopped:
                return
            known = await self.writer.find([request.key for request in chunk])
            if not self.halted[batch.name].is_set():
                command = self.caps[batch.name].command
                self.former |= set_aside(batch.endpoint, batch.judge, chunk, known, self.ask_again, command)
            self._read(batch, chunk, known)
            for request in chunk:
                if request.key in known:
                    continue
                if self.halted[batch.name].is_set():  # a reply that was to be asked again stands
                    self._read(batch, [request], self.former)
                elif request.key in self.flying:  # two pairs with the same texts: one call
                    self.flying[request.key].append((batch, request))
                else:
                    self.flying[request.key] = [(batch, request)]
                    yield request

    def _read(self, batch: RequestBatch, requests: list[Request], entries: dict[bytes, Entry]) -> None:
        """Takes what the ledger has of these requests."""
        known = [request for request in requests if request.key in entries]
        if not known:
            return
        twins = [request for request in known if request.key in self.bought]  # the same texts were sent
        before = [request for request in known if request.key not in self.bought]
        read_known(batch, before, entries, self.counts[batch.name])
        for request in twins:
            self._count(batch, request, self._put(batch, request, entries[request.key], bought=False), new=True)
        self.advance(sum(len(request.rows) for request in known), self._note())
        self._judge_before(batch.name)

    async def _call(self, batch: RequestBatch, client: Client, request: Request) -> None:
        """Attempts until there is an outcome. Room is reserved for each attempt, and in its turn, so that none lies idle."""
        tries, waited = 0, 0.0
        while not self.halted[batch.name].is_set():
            async with self.limiters[batch.name].turn(request) as turn:
                grant = await self._grant(batch, request)
                if not isinstance(grant, Granted):
                    return self._land(request, grant, new=False)
                self.counts[batch.name].open += 1
                result = await turn.send(client)
                if not isinstance(result, Reply):
                    await self._give_up(batch, request, grant, result)
            if isinstance(result, Reply):  # its turn is another's by now: writing takes time, too
                return self._land(request, await self._settle(batch, request, grant, result))
            pause = retry.pause(client.endpoint, result, tries, waited)
            if pause is None:
                return self._land(request, None if result.stop else FAILED)
            tries, waited = tries + 1, waited + pause
            self.counts[batch.name].retries += 1
            with contextlib.suppress(TimeoutError):  # unless nothing more is sent to this judge meanwhile
                await asyncio.wait_for(self.halted[batch.name].wait(), pause)
        return self._land(request, None)

    async def _grant(self, batch: RequestBatch, request: Request) -> Granted | Entry | None:
        """Leave to send, or the answer that another process has got meanwhile, or None.

        None: no room, and none will come; or another process has got the answers of all parts, which are in the ledger.
        """
        endpoint, caps = batch.endpoint, self.caps[batch.name]
        tokens, again = request.tokens_in + request.tokens_out, request.key in self.former
        label = (request.key, endpoint.provider, endpoint.model, endpoint.kind, request.repeat)
        parts = tuple(key for key, _ in request.parts)
        reserve = Reserve(*label, tokens, batch.endpoint.worst(request), caps, again, parts)
        result = await self.writer.reserve(reserve, self.halted[batch.name])
        if isinstance(result, Known):
            return None
        if not isinstance(result, NoRoom):
            return result
        cap = f"budget.{result.cap}: {result}"
        self.counts[batch.name].limit = "no budget was set" if caps.calls == 0 else cap  # no user can set 0
        advice = f"raise budget.{result.cap} and run again, or set on_limit=continue to go on with the answers so far"
        self._stop(batch.name, LimitReached(f"{cap}. Every answer is kept: {advice}."))
        return None

    async def _give_up(self, batch: RequestBatch, request: Request, grant: Granted, fault: Fault) -> None:
        counts = self.counts[batch.name]
        counts.fault(fault.kind, fault.words)
        counts.calls += fault.sent
        if fault.billed:
            counts.billed, counts.usd = counts.billed + 1, counts.usd + batch.endpoint.worst(request)
        await self.writer.do(Lose(grant.call, fault.kind) if fault.billed else Release(grant.call, fault.sent))
        counts.open -= 1
        if fault.stop is not None:
            self._stop(batch.name, fault.stop)

    async def _settle(self, batch: RequestBatch, request: Request, grant: Granted, reply: Reply) -> Entry:
        endpoint, counts = batch.endpoint, self.counts[batch.name]
        counts.calls, counts.billed = counts.calls + 1, counts.billed + 1
        paid, again = entry_of(endpoint, request, reply), request.key in self.former
        if request.parts:  # what does not answer each of them cannot be kept, and is asked again by a later run
            whole = batch.judge.read(request, reply).status == ANSWERED
            parts = parts_of(endpoint, request, reply) if whole else ()
            ended = Settle(grant.call, paid, keep=False, parts=parts)
        else:
            ended = Settle(grant.call, paid, keep=reply.status != FAILED, again=again)
        stands = await self.writer.do(ended)  # an earlier answer, if another process got one first
        counts.open -= 1
        counts.usd, counts.tokens = counts.usd + paid.usd, counts.tokens + paid.tokens_in + paid.tokens_out
        if reply.error and not (reply.error == NO_USAGE and endpoint.tokens_cost_nothing):
            counts.fault(reply.error, reply.words)
        return stands

    def _land(self, request: Request, outcome: Entry | str | None, new: bool = True) -> None:
        """Gives an outcome, or FAILED, or None (unsent), to every question that this request was for.

        new: it is what came of a call of this session, not what another process has got meanwhile.
        """
        if isinstance(outcome, Entry) and new:
            self.bought.add(request.key)
        if not isinstance(outcome, Entry) and request.key in self.former:
            if outcome == FAILED:
                self._judge_failures(self.flying[request.key][0][0], FAILED)
            outcome, new = self.former[request.key], False
        for place, (batch, twin) in enumerate(self.flying.pop(request.key)):
            if isinstance(outcome, Entry):
                reading = self._put(batch, twin, outcome, bought=place == 0)
                self._count(batch, twin, reading, new)
                for part in (reading.parts or (reading,)) if new else ():
                    self._judge_failures(batch, part.status)
            elif outcome == FAILED:
                batch.put(twin, Reading(FAILED), 0, 0.0)
                self._count(batch, twin, Reading(FAILED), new)
                self._judge_failures(batch, FAILED)
            if outcome is not None:
                self.advance(len(twin.rows), self._note())

    def _put(self, batch: RequestBatch, request: Request, entry: Entry, bought: bool) -> Reading:
        """bought: this request, not a twin with the same texts, is what the answer was paid for."""
        reading = batch.judge.read(request, reply_of(batch.endpoint, request, entry))
        if reading.status != ANSWERED or reading.parts:
            self.counts[batch.name].read(request, reading, os.environ.get(batch.endpoint.api_key_env or ""))
        batch.put(request, reading, bought * (entry.tokens_in + entry.tokens_out), bought * entry.usd)
        return reading

    def _count(self, batch: RequestBatch, request: Request, reading: Reading, new: bool) -> None:
        """In pairs: so many are from the ledger, or have ended so in this session."""
        counts = self.counts[batch.name]
        statuses = [one.status for one in reading.of_rows(len(request.rows))]
        if new:
            counts.statuses.update(statuses)
        else:
            counts.from_ledger += len(request.rows)
            counts.before.update(statuses)
            self._judge_before(batch.name)

    def _judge_before(self, name: str) -> None:
        """Stops where too much of what the ledger has of this judge is no answer."""
        plan = self.plans[name]
        if words := self.counts[name].too_little_before(self.max_failure_rate, plan.pairs):
            self._stop(name, TooManyFailures(f"{plan.asker}: {words}"))

    def _judge_failures(self, batch: RequestBatch, status: str) -> None:
        """Stops where too many of this judge's last outcomes are no answers."""
        counts, base_url = self.counts[batch.name], batch.endpoint.base_url
        counts.recent.append(status != ANSWERED)
        if words := counts.too_little_now(self.max_failure_rate, self.plans[batch.name].pairs, base_url):
            self._stop(batch.name, TooManyFailures(f"{batch.endpoint.asker}: {words}"))

    def _stop(self, name: str, error: ZeloError) -> None:
        """Sends nothing more: to anybody, or at a cap with on_limit=continue to this judge."""
        if self.patient and isinstance(error, LimitReached):
            self.spent.setdefault(name, error)
            self.counts[name].limit = self.counts[name].limit or str(error)
        else:
            self.stopped = self.stopped or error
        for one, halted in self.halted.items():
            if self.stopped or one in self.spent:
                halted.set()
                self.writer.room.set()
                if one in self.limiters:
                    self.limiters[one].let_go()

    def _note(self) -> str:
        return note(self.counts, {name: plan.calls for name, plan in self.plans.items()})
