"""Locales that are not UTF-8: names of files, and what a terminal can print."""

import io
import os
import sys


def read_names_as_utf8() -> None:
    """Starts this process again in Python's UTF-8 mode, unless it reads arguments and names of files so already.

    In another locale a name with any other character holds half surrogates, which neither JSON nor parquet can keep.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and not sys.flags.ignore_environment:
        os.environ["PYTHONUTF8"] = "1"  # for its children, too
        os.execv(sys.executable, sys.orig_argv)


def escape_unprintable() -> None:
    """From now on a character that the output's encoding lacks is printed as its code, as on stderr, and is no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
