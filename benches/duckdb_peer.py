"""The questions of `questions.rs` in hand-written SQL: DuckDB over the same Parquet files, in its own process, results
fetched to Python, no HTTP. Needs `pip install duckdb pytz`. Prints one line a question: its number, the median milliseconds, the rows of the answer."""

import statistics
import sys
import time

import duckdb

store, runs = sys.argv[1], int(sys.argv[2])
db = duckdb.connect()
db.execute("SET threads = 2; SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
db.execute(f"CREATE VIEW c AS SELECT * FROM read_parquet('{store}/conversations/data/*.parquet')")

USERS = 'count(DISTINCT "user_properties_user_id")'
QUESTIONS = {
    "1": "SELECT count(*) FROM c",
    "2": "SELECT date_trunc('day', \"first_message_time\") t, count(*) FROM c GROUP BY t ORDER BY t",
    "3": "SELECT type, count(*) FROM c GROUP BY type",
    "4": "SELECT \"integration_id\", count(*) FROM c WHERE type = 'support_ticket' GROUP BY ALL",
    "5": f"SELECT date_trunc('month', \"first_message_time\") t, {USERS} FROM c GROUP BY t ORDER BY t",
    "6": f"SELECT {USERS} FROM c",
    "7": """SELECT date_trunc('week', "first_message_time") t, type, sum("user_message_count"), avg("user_message_count"),
        min("user_message_count"), max("user_message_count") FROM c
        WHERE "first_message_time" >= TIMESTAMPTZ '2026-05-20T00:00:00Z' GROUP BY ALL ORDER BY t""",
    "8": 'SELECT "properties_url" u, count(*) n FROM c GROUP BY u ORDER BY n DESC, u LIMIT 20',
    "9": """SELECT "properties_region", count(*) FROM c
        WHERE "properties_plan" = 'pro' AND "properties_score_number" > 0.8 GROUP BY ALL""",
    "10": f"""SELECT "user_properties_support_agent_name" a, count(*), {USERS} FROM c WHERE a IS NOT NULL GROUP BY a""",
    "11": 'SELECT count(*) FROM c WHERE "properties_experiment" IS NOT NULL',
    "14": """SELECT * FROM c WHERE "project_id" = 'in-app-copilot' ORDER BY "first_message_time" DESC LIMIT 50""",
}

for number, sql in QUESTIONS.items():
    times = []
    rows = len(db.execute(sql).fetchall())
    for _ in range(runs):
        started = time.perf_counter()
        db.execute(sql).fetchall()
        times.append((time.perf_counter() - started) * 1e3)
    print(number, f"{statistics.median(times):.2f}", rows, flush=True)
