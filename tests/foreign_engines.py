"""What other engines do with a Delta table: deltalake, polars and DuckDB read it, and deltalake tries to change it.

    python tests/foreign_engines.py TABLE_FOLDER --columns id,plan [--where "plan = 'pro'"] [--change]

Prints {engine: [[value, ...], ...]}, rows sorted; with --change also {"refused": {change: message or null}}. Needs: pip
install deltalake polars pyarrow duckdb==1.5.5 duckdb-extension-delta==1.5.5. DuckDB is left out where it is not there.
"""

import argparse
import json
import pathlib
import sys

import deltalake
import polars


def quoted(columns):
    return ", ".join('"' + column.replace('"', '""') + '"' for column in columns)


def read_deltalake(folder, columns, where):
    table = deltalake.DeltaTable(folder)
    query = f"select {quoted(columns)} from t where {where}"
    return polars.DataFrame(deltalake.QueryBuilder().register("t", table).execute(query).read_all()).rows()


def read_polars(folder, columns, where):
    return polars.scan_delta(folder).filter(polars.sql_expr(where)).select(columns).collect().rows()


def duckdb_connection():
    """None where DuckDB or its Delta extension is not installed. PyPI ships the extension's binary."""
    try:
        import duckdb
        import duckdb_extension_delta
    except ImportError:
        return None
    found = list(pathlib.Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension*"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute(f"load '{found[0]}'")
    return connection


def read_duckdb(folder, columns, where):
    connection = duckdb_connection()
    return connection.execute(f"select {quoted(columns)} from delta_scan('{folder}') where {where}").fetchall()


def append(folder):
    deltalake.write_deltalake(folder, polars.DataFrame({"id": ["foreign"]}), mode="append", schema_mode="merge")


CHANGES = {
    "append": append,
    "compact": lambda folder: deltalake.DeltaTable(folder).optimize.compact(),
    "delete": lambda folder: deltalake.DeltaTable(folder).delete("id is not null"),
    "vacuum": lambda folder: deltalake.DeltaTable(folder).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False, full=True
    ),
}


def refusal(change, folder):
    try:
        change(folder)
    except Exception as error:
        return str(error)
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--columns", required=True)
    parser.add_argument("--where", default="true")
    parser.add_argument("--change", action="store_true")
    arguments = parser.parse_args()
    folder, columns = str(arguments.table), arguments.columns.split(",")
    engines = {"deltalake": read_deltalake, "polars": read_polars}
    if duckdb_connection() is not None:
        engines["duckdb"] = read_duckdb
    answer = {}
    if arguments.change:
        answer["refused"] = {name: refusal(change, folder) for name, change in CHANGES.items()}
    for engine, read in engines.items():
        answer[engine] = sorted(list(row) for row in read(folder, columns, arguments.where))
    json.dump(answer, sys.stdout, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
