"""The pages of `search.rs` in hand-written SQL: DuckDB over the same Parquet files, in its own process, results fetched
to Python, no HTTP: the newest 50 conversations with all their messages, then those with a message that has the term.
Needs `pip install duckdb pytz`. Prints the median milliseconds of three runs, one line each."""

import statistics
import sys
import time

import duckdb

store, terms = sys.argv[1], sys.argv[2:]
db = duckdb.connect()
db.execute("SET threads = 2; SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
for name in ("conversations", "messages"):
    db.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{store}/{name}/data/*.parquet')")

PAGE = """WITH page AS (SELECT id, "lastMessageTime" AS latest FROM conversations {} ORDER BY latest DESC, id DESC LIMIT 50)
    SELECT p.id, list(m ORDER BY m.position) FROM page p JOIN messages m ON m."conversationId" = p.id GROUP BY ALL"""
HAS = 'WHERE id IN (SELECT "conversationId" FROM messages WHERE contains(lower(content), lower($term)))'

for term in [None, *terms]:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        if term is None:
            db.execute(PAGE.format("")).fetchall()
        else:
            db.execute(PAGE.format(HAS), {"term": term}).fetchall()
        times.append((time.perf_counter() - started) * 1e3)
    print(f"{statistics.median(times):.0f}", flush=True)
