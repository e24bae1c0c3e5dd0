"""A chain's file, the journal's or the reviews': SQLite in WAL mode, synchronous=FULL, so that what was committed survives a
power cut, and readers never wait for the writer or it for them. Everything SQLite can say comes out as a JournalError.

`user_version` is the version of the schema. Migrations make it: a new file runs all of them, an older one those it lacks.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecell.errors import JournalBlocked, JournalError

FILE = "journal.sqlite"
APPLICATION = 0x6564_6365
"""`application_id` of the file: "edce"."""
BUSY_S = 5.0
"""Longest wait for another writer's transaction."""
HURRY_S = 0.5
"""The same of a run, whose frames are waiting, and which has two seconds to end: it tries again."""

MIGRATIONS = (
    """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY, run_id TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL, head BLOB NOT NULL,
        signature BLOB
    );
    CREATE TABLE contents (position INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE states (run_id TEXT PRIMARY KEY, position INTEGER NOT NULL, body BLOB NOT NULL);
    """,
    """
    ALTER TABLE events ADD COLUMN sequence INTEGER;
    UPDATE events SET sequence = json_extract(CAST(body AS TEXT), '$.sequence');
    CREATE UNIQUE INDEX events_by_sequence ON events (run_id, sequence) WHERE sequence IS NOT NULL;
    CREATE TABLE memories (
        run_id TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run_id, number)
    ) WITHOUT ROWID;
    CREATE INDEX events_of_runs ON events (run_id, type) WHERE sequence IS NULL;
    """,
)
"""Version n is what the first n of them make. 2: messages are found by run and sequence, none is there twice, the few other
events of a run are found without reading all, and what a run has learnt need not be written anew with every window."""

VERSION = len(MIGRATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Of a chain's file. application: its `application_id`. what: what it is called; begin: how to get one.

    migrations: version n of its schema is what the first n of them make.
    """

    file: str
    application: int
    what: str
    begin: str
    migrations: tuple[str, ...]

    @property
    def version(self) -> int:
        """Of the schema that is written now."""
        return len(self.migrations)


JOURNAL = Kind(
    file=FILE, application=APPLICATION, what="journal", begin="keep one: edgecell run --journal DIR", migrations=MIGRATIONS
)
REVIEWS = Kind(
    file="reviews.sqlite",
    application=0x6564_6372,  # "edcr"
    what="file of reviews",
    begin="review a cell: edgecell review RUN",
    migrations=(
        """
        CREATE TABLE events (
            position INTEGER PRIMARY KEY, run_id TEXT NOT NULL, type TEXT NOT NULL, sequence INTEGER, body BLOB NOT NULL,
            head BLOB NOT NULL, signature BLOB
        );
        CREATE TABLE contents (position INTEGER PRIMARY KEY, body BLOB NOT NULL);
        CREATE INDEX events_of_runs ON events (run_id, position);
        """,
    ),
)
_STAMPS = ("application_id", "user_version")
_OTHER = "give the folder of a journal, or another one that is empty"
_FULL = re.compile("full|disk i/o error", re.IGNORECASE)
_CLOSED = re.compile("unable to open|readonly", re.IGNORECASE)
_LOCKED = re.compile("locked|busy", re.IGNORECASE)


def open_for_writing(folder: Path, kind: Kind = JOURNAL) -> sqlite3.Connection:
    """The file in `folder`, made if missing (folder 0700, file 0600) and brought up to date. Raises JournalError."""
    return _open_for_writing(folder / kind.file, kind)


def _open_for_writing(path: Path, kind: Kind) -> sqlite3.Connection:
    with translated(path):
        connection = connect_to(path)
        try:
            _set_up_writing(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_to(path: Path) -> sqlite3.Connection:
    """A database to be written, made if missing, for its owner alone (folder 0700, file 0600). Raises JournalError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
            _sync_folders(path)
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        fix = "give a folder that may be written: --journal DIR, or path in [journal]"
        raise JournalError(f"cannot keep a journal in {path.parent}: {error.strerror}", fix=fix) from None
    return _connect(f"{path.resolve().as_uri()}?mode=rw")


def open_for_reading(path: Path, kind: Kind = JOURNAL) -> sqlite3.Connection:
    """A chain's file, or that in a folder, which another process may be writing. Raises JournalError."""
    path = path / kind.file if path.is_dir() else path
    if not path.is_file():
        raise JournalError(f"there is no {kind.what} at {path}", fix=f"give the folder of one, or {kind.begin}")
    with translated(path):
        connection = readable(path)
        try:
            connection.execute("PRAGMA query_only = ON")
            version = _version(connection, path, kind)
            if version < kind.version:
                connection.close()
                _open_for_writing(path, kind).close()  # brings it up to date
                connection = readable(path)
            _check_schema(connection, path, kind)
        except BaseException:
            connection.close()
            raise
    return connection


def schema_of(folder: Path) -> int | None:
    """Version of the schema that the journal in `folder` has, None where there is none yet. Nothing is changed, an older schema
    stays one. Raises PermissionError, and JournalError, also for a schema newer than those known here."""
    path = folder / FILE
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return None
    with translated(path), closing(readable(path)) as connection:
        return _version(connection, path, JOURNAL, may_be_empty=True) or None


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What SQLite raises, as a JournalError: JournalBlocked where trying again may help."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if _FULL.search(text):
            raise JournalBlocked(f"{path} cannot be written: {text}", fix=f"free space: df -h {path.parent}") from None
        if _LOCKED.search(text):
            raise JournalBlocked(f"{path} is kept locked by another program", fix=f"end it: fuser -v {path}") from None
        if _CLOSED.search(text):
            raise JournalError(f"{path} cannot be opened: {text}", fix=f"check who may use it: ls -l {path.parent}") from None
        what = f"{path} is damaged, or no journal: {text}"
        raise JournalError(what, fix="give a whole journal; a copy needs the file that ends with -wal beside it") from None
    except (OverflowError, UnicodeDecodeError) as error:
        raise JournalError(f"{path} is damaged: {error}", fix="give a whole journal") from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and durable once left without an error. Only one writer at a time is inside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _make(path: Path) -> None:
    """An empty file that only its owner may read."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _sync_folders(path: Path) -> None:
    """The file's name, and its folder's, survive a power cut from now on. What is in the file is SQLite's affair."""
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def readable(path: Path) -> sqlite3.Connection:
    """A database to be read beside a writer, or, where nothing may be written, a file that nobody writes.

    Raises sqlite3.Error."""
    uri = path.resolve().as_uri()
    connection = _connect(f"{uri}?mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        connection.close()
        beside = path.with_name(path.name + "-wal")
        if not isinstance(error, sqlite3.OperationalError) or (beside.exists() and beside.stat().st_size):
            raise
        connection = _connect(f"{uri}?immutable=1")
    return connection


def without_tables(path: Path) -> bool:
    """Whether a file was begun and nothing came of it: its disk was full then, or the power went. What cannot be read is told
    by whoever opens it."""
    try:
        with translated(path), closing(readable(path)) as connection:
            return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except JournalError:
        return False


def _set_up_writing(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    version = _version(connection, path, kind, may_be_empty=True)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise JournalError(f"{path}: this file system cannot hold it", fix="keep the journal on a local disk: --journal DIR")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    if version < kind.version:
        with transaction(connection):  # another process may have done it in the meantime
            _migrate(connection, _version(connection, path, kind, may_be_empty=True), kind)
    _check_schema(connection, path, kind)


def _migrate(connection: sqlite3.Connection, version: int, kind: Kind) -> None:
    for script in kind.migrations[version:]:
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {kind.application}")
    connection.execute(f"PRAGMA user_version = {kind.version}")


def _version(connection: sqlite3.Connection, path: Path, kind: Kind, *, may_be_empty: bool = False) -> int:
    """Tables are looked for first: another process may be making them, in one step with the stamps."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        if may_be_empty:
            return 0
        raise JournalError(f"{path} is empty: nothing has been written to it yet", fix=kind.begin)
    application, version = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in _STAMPS)
    if application != kind.application or version < 1:
        raise JournalError(f"{path} is no {kind.what} of edgecell", fix=_OTHER)
    if version > kind.version:
        what = f"{path} is a {kind.what} of schema version {version}; this edgecell knows up to {kind.version}"
        raise JournalError(what, fix="use the edgecell that wrote it, or give this one a journal of its own: path in [journal]")
    return version


def _check_schema(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """The tables must be ours to the letter: a view or a trigger in their place could do anything."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        _migrate(fresh, 0, kind)
        if _schema(connection) != _schema(fresh):
            raise JournalError(f"{path} has other tables than a {kind.what}", fix=_OTHER)


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE substr(name, 1, 7) <> 'sqlite_'"
    rows = connection.execute(query).fetchall()
    return {(str(kind), str(name), "".join(str(sql).split()).lower()) for kind, name, sql in rows}
