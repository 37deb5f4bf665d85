"""Errors that a user can act on: each message names the value, the place and the fix."""


class ZeloError(Exception):
    """An error with a message for the user; `exit_status` is what the process ends with."""

    exit_status = 1


class BadInput(ZeloError):
    """The configuration or the data cannot be used as they are. Nothing was written."""

    exit_status = 2


class LimitReached(ZeloError):
    """A limit that the user set was reached; everything done so far is kept."""

    exit_status = 3
