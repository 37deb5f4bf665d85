"""Ledgers as earlier versions wrote them."""

import sqlite3
from pathlib import Path

# How earlier versions made the tables that have changed since.
ENTRY_2 = """
DROP TABLE entry; DROP TABLE former;
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE CHECK (length(key) = 16), provider TEXT NOT NULL,
    model TEXT NOT NULL, kind TEXT NOT NULL, repeat INTEGER NOT NULL, status TEXT NOT NULL, answer TEXT NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, usd REAL NOT NULL, made REAL NOT NULL,
    seconds REAL NOT NULL, prompt_bytes INTEGER NOT NULL, form TEXT NOT NULL DEFAULT '');
PRAGMA user_version = 2;
"""
MEASURE_1 = """
ALTER TABLE entry DROP COLUMN form;
DROP TABLE measure;
CREATE TABLE measure (
    provider TEXT NOT NULL, model TEXT NOT NULL, entries INTEGER NOT NULL, tokens_out REAL NOT NULL,
    seconds REAL NOT NULL, n INTEGER NOT NULL, bytes REAL NOT NULL, tokens REAL NOT NULL, bytes_bytes REAL NOT NULL,
    bytes_tokens REAL NOT NULL, tokens_tokens REAL NOT NULL, PRIMARY KEY (provider, model));
PRAGMA user_version = 1;
"""


def make_older(path: Path, version: int, status: str = "answered") -> None:
    """Turns a ledger into one of an earlier version. status: of all of its entries."""
    with sqlite3.connect(path) as file:
        rows = file.execute("SELECT * FROM entry").fetchall()
        measures = file.execute("SELECT * FROM measure").fetchall()
        file.executescript(ENTRY_2)
        older = [(*row[:6], status, *row[6:14]) for row in rows]
        file.executemany(f"INSERT INTO entry VALUES ({','.join('?' * 15)})", older)
        if version == 1:
            file.executescript(MEASURE_1)
            older = [row[:2] + row[3:] for row in measures]
            file.executemany(f"INSERT INTO measure VALUES ({','.join('?' * 11)})", older)
    file.close()
