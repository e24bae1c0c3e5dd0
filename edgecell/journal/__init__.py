"""The durable record of runs: one SQLite file (WAL) a folder, with append-only, hash-chained events of any number of runs.

    events.py    what can happen, typed          store.py     the file: schema, migrations, transactions, errors
    chain.py     entries, heads, signatures      journal.py   writing: a run's windows, one transaction each
    reader.py    reading beside a writer         replay.py    counts again, from the cells
    reviews.py   what people said of cells       cells.py     a run's cells with that

Each event is an entry in the chain and its content beside it. The entry names the content by its sha256, so the content of an
erased sample can go while the chain still holds. The crops of cells lie outside, in a file of their own.
"""
