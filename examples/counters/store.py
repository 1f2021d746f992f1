"""Counts on disk: one SQLite database, every change in a synced transaction."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path

CHUNK_ROWS = 200

_SCHEMA = """
CREATE TABLE IF NOT EXISTS life (instance TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (
    vnode INTEGER, name TEXT, value INTEGER NOT NULL, PRIMARY KEY (vnode, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clients (
    vnode INTEGER, client TEXT, number INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (vnode, client)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arriving (
    vnode INTEGER, began INTEGER, chunk INTEGER, data TEXT NOT NULL,
    PRIMARY KEY (vnode, began, chunk)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arrived (vnode INTEGER PRIMARY KEY, began INTEGER NOT NULL);
"""


class Store:
    """What a node knows: counts, the last increment of each client, and what is arriving."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(directory / "counters.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        row = self._db.execute("SELECT instance FROM life").fetchone()
        if row is None:
            row = (uuid.uuid4().hex,)
            self._db.execute("INSERT INTO life VALUES (?)", row)
        self.instance: str = row[0]
        """Which store this is, however often its process has begun."""

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # -- counting --------------------------------------------------------------------------------

    def add(self, vnode: int, name: str, client: str, number: int) -> int:
        """Count one, unless the client's ``number`` was counted; return the value then.

        Raises ValueError for a number below the last: its answer is not kept any more.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT number, value FROM clients WHERE vnode=? AND client=?", (vnode, client)
            ).fetchone()
            if row is not None and number <= row[0]:
                if number < row[0]:
                    raise ValueError(f"{client!r} has counted {row[0]} already")
                return int(row[1])
            value = self.value(vnode, name) + 1
            self._db.execute("REPLACE INTO counts VALUES (?,?,?)", (vnode, name, value))
            self._db.execute(
                "REPLACE INTO clients VALUES (?,?,?,?)", (vnode, client, number, value)
            )
            return value

    def value(self, vnode: int, name: str) -> int:
        """Return a count."""
        row = self._db.execute(
            "SELECT value FROM counts WHERE vnode=? AND name=?", (vnode, name)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db  # commits, or rolls back what raised

    # -- what uring.client.ring asks for ---------------------------------------------------------

    async def opened(self, vnode: int) -> None:
        """Let what has arrived, if anything has, take the place of what is there."""
        with self._transaction():
            row = self._db.execute("SELECT began FROM arrived WHERE vnode=?", (vnode,)).fetchone()
            if row is None:
                return
            self._forget(vnode)
            rows = self._db.execute(
                "SELECT data FROM arriving WHERE vnode=? AND began=? ORDER BY chunk",
                (vnode, row[0]),
            ).fetchall()
            for (data,) in rows:
                for table, *values in json.loads(data):
                    marks = ",".join("?" * (1 + len(values)))
                    self._db.execute(
                        f"REPLACE INTO {_TABLES[table]} VALUES ({marks})", [vnode, *values]
                    )
            self._db.execute("DELETE FROM arriving WHERE vnode=?", (vnode,))
            self._db.execute("DELETE FROM arrived WHERE vnode=?", (vnode,))

    async def frozen(self, vnode: int) -> None:
        """Nothing is under way: increments are counted while their request is looked at."""

    async def chunk(self, vnode: int, number: int) -> bytes | None:
        """Return some rows."""
        rows = self._db.execute(
            "SELECT 'n', name, value, NULL FROM counts WHERE vnode=:v UNION ALL"
            " SELECT 'c', client, number, value FROM clients WHERE vnode=:v"
            " ORDER BY 1, 2 LIMIT :many OFFSET :start",
            {"v": vnode, "many": CHUNK_ROWS, "start": number * CHUNK_ROWS},
        ).fetchall()
        if not rows:
            return None
        return json.dumps([row[:3] if row[0] == "n" else row for row in rows]).encode()

    async def closed(self, vnode: int) -> None:
        """Forget what another node owns now."""
        with self._transaction():
            self._forget(vnode)

    def _forget(self, vnode: int) -> None:
        for table in _TABLES.values():
            self._db.execute(f"DELETE FROM {table} WHERE vnode=?", (vnode,))

    async def begin(self, vnode: int, source: str, began: int) -> int:
        """Forget other transfers of the vnode; return how much of this one has come."""
        with self._transaction():
            self._db.execute("DELETE FROM arriving WHERE vnode=? AND began<>?", (vnode, began))
            self._db.execute("DELETE FROM arrived WHERE vnode=? AND began<>?", (vnode, began))
            (count,) = self._db.execute(
                "SELECT COUNT(*) FROM arriving WHERE vnode=? AND began=?", (vnode, began)
            ).fetchone()
        return int(count)

    async def store(self, vnode: int, began: int, number: int, data: bytes) -> None:
        """Keep a chunk."""
        with self._transaction():
            self._db.execute(
                "REPLACE INTO arriving VALUES (?,?,?,?)", (vnode, began, number, data.decode())
            )

    async def complete(self, vnode: int, began: int) -> None:
        """Note that the transfer is whole."""
        with self._transaction():
            self._db.execute("REPLACE INTO arrived VALUES (?,?)", (vnode, began))


_TABLES = {"n": "counts", "c": "clients"}
_INSERTS = {
    "n": "REPLACE INTO counts VALUES (?,?,?)",
    "c": "REPLACE INTO clients VALUES (?,?,?,?)",
}
