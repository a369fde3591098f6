"""Answers questions in SQL over the Delta tables of a store by deltalake, polars and DuckDB; may try to change the tables.

    python tests/foreign_questions.py STORE_FOLDER [--change] < QUESTIONS

QUESTIONS is JSON: [{"table": name, "sql": "select … from t …"}, …]; {2026-03-01T00:00:00Z} in it is that time. Prints
{"answers": {engine: [[[value, ...], ...], ...]}, "refused": {table: {change: message or null}}}. Needs what
tests/foreign_engines.py does, DuckDB included.
"""

import argparse
import json
import pathlib
import re
import sys

import deltalake
import polars

from foreign_engines import CHANGES, duckdb_connection, refusal


def with_times(sql, literal):
    return re.sub(r"\{(.*?)\}", literal, sql)


def ask_deltalake(folder, sql):
    builder = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(folder))
    return polars.DataFrame(builder.execute(with_times(sql, r"timestamp '\1'")).read_all()).rows()


def ask_polars(folder, sql):
    context = polars.SQLContext(t=polars.scan_delta(folder))
    return context.execute(with_times(sql, r"strptime('\1', '%+')")).collect().rows()


def ask_duckdb(folder, sql):
    sql = with_times(sql, r"timestamptz '\1'").replace(" from t", f" from delta_scan('{folder}')")
    return duckdb_connection().execute(sql).fetchall()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--change", action="store_true")
    arguments = parser.parse_args()
    questions = json.load(sys.stdin)
    tables = sorted({question["table"] for question in questions})
    answer = {"answers": {}, "refused": {}}
    for table in tables if arguments.change else []:
        folder = str(arguments.store / table)
        answer["refused"][table] = {name: refusal(change, folder) for name, change in CHANGES.items()}
    for engine, ask in {"deltalake": ask_deltalake, "polars": ask_polars, "duckdb": ask_duckdb}.items():
        asked = [ask(str(arguments.store / question["table"]), question["sql"]) for question in questions]
        answer["answers"][engine] = asked
    json.dump(answer, sys.stdout, ensure_ascii=False, default=float)
    print()


if __name__ == "__main__":
    main()
