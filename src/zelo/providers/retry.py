"""The retry policy: which failed attempts are made again, after how long, and which slow the others down."""

import math
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from zelo.providers.request import REFUSED_CONNECTION, Endpoint, Fault

CROWDED = frozenset({"http_429", "http_503", "http_529"})  # faults that say: too much at once
TIMED_OUT = frozenset({504, 524})  # a gateway gave up waiting, but the model behind it may have gone on
RETRIED = frozenset({408, 409, 425, 429})  # and everything from 500 on
BACKOFF, LONGEST_BACKOFF = 0.5, 30.0  # seconds
FEWER = 2  # retries where nothing listens on this machine
LONGEST_ASKED = 120.0  # seconds of retry-after that are honoured; who asks for more is not asked again in this run
PATIENCE = 300.0  # seconds that one request may be waited for between its attempts


def is_retried(status: int) -> bool:
    """Whether an HTTP status says that the same request may succeed later."""
    return status >= 500 or status in RETRIED


def may_be_billed(status: int) -> bool:
    """Whether the model may have answered although the gateway did not."""
    return status in TIMED_OUT


def is_crowded(fault: Fault) -> bool:
    """Whether the endpoint says that it is too much at once."""
    return fault.kind in CROWDED


def pause(endpoint: Endpoint, fault: Fault, tries: int, waited: float) -> float | None:
    """Seconds until the next attempt, or None: there is none. Full jitter, on top of what the endpoint asks for.

    `tries`: attempts before this one (0 at the first fault); `waited`: seconds paused between them.
    """
    # Nobody comes to listen on this machine while we wait: a server that is starting gets a second or two.
    fewer = fault.kind == REFUSED_CONNECTION and endpoint.local
    if fault.stop is not None or tries >= (min(endpoint.retries, FEWER) if fewer else endpoint.retries):
        return None
    seconds = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2.0 ** min(tries, 16)))
    if fault.retry_after is not None:
        if fault.retry_after > LONGEST_ASKED:
            return None
        seconds += fault.retry_after
    return seconds if waited + seconds <= PATIENCE else None


def everybody_waits(fault: Fault) -> float | None:
    """Seconds for which nothing at all is sent to this endpoint; None: only this request waits."""
    asked = fault.retry_after
    return asked if asked is not None and asked <= LONGEST_ASKED else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to wait, from a number or a date (by the endpoint's own clock if it tells it)."""
    asked = headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        until, now = _date(asked), _date(headers.get("date", ""))
        if until is None:
            return None
        seconds = max(0.0, until - (time.time() if now is None else now))
    return seconds if 0 <= seconds < math.inf else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
