"""Reads the Delta tables of a store with PyPI's deltalake and polars, and prints what they see as JSON.

    python tests/foreign_readers.py STORE_FOLDER [--tables conversations,messages] [--columns id,created_at,...]

Prints {table: {engine: {"rows": count, "data": [{column: value}, ...]}}}, sorted by the columns' values. Times are
printed as ISO texts with milliseconds. Needs: pip install deltalake polars.
"""

import argparse
import datetime
import json
import pathlib
import sys

import deltalake
import polars

DEFAULT_COLUMNS = {
    "conversations": ["organization_id", "project_id", "id", "title", "state", "created_at", "message_count", "tags", "properties"],
    "messages": ["organization_id", "project_id", "conversation_id", "position", "id", "role", "content"],
    "events": """organization_id project_id integration_id id type event_type message_id conversation_id search_query
        created_at""".split(),
    "feedback": """organization_id project_id integration_id id type message_id conversation_id details created_at updated_at
        reasons sources properties user_properties""".split(),
    "semantic_threads": """organization_id project_id integration_id id messages_count conversation_ids
        question_length is_on_topic is_clear is_documented is_feature_supported is_answer_confident gap_summary subject
        category languages first_party_entities third_party_entities emotion sentiment question_type first_message_time
        last_message_time last_updated are_ai_annotations_verified is_initial_question_answer first_message_position""".split(),
}


def plain(value):
    if isinstance(value, datetime.datetime):
        if value.utcoffset() != datetime.timedelta(0):
            sys.exit(f"{value!r} is not in UTC")
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value


def read_deltalake(folder, columns):
    names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
    table = deltalake.DeltaTable(str(folder))
    batches = deltalake.QueryBuilder().register("t", table).execute(f"select {names} from t").read_all()
    return polars.DataFrame(batches)


def read_polars(folder, columns):
    return polars.scan_delta(str(folder)).select(columns).collect()


def summary(frame):
    rows = [{column: plain(value) for column, value in row.items()} for row in frame.to_dicts()]
    rows.sort(key=lambda row: json.dumps(list(row.values()), ensure_ascii=False))
    return {"rows": frame.height, "data": rows}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--tables", help="comma-separated; all by default")
    parser.add_argument("--columns", help="comma-separated; of every table")
    arguments = parser.parse_args()
    logs = sorted(arguments.store.glob("*/_delta_log"))
    tables = arguments.tables.split(",") if arguments.tables else [log.parent.name for log in logs]
    answer = {}
    for table in tables:
        folder = arguments.store / table
        columns = arguments.columns.split(",") if arguments.columns else DEFAULT_COLUMNS.get(table, ["id"])
        engines = {"deltalake": read_deltalake, "polars": read_polars}
        answer[table] = {engine: summary(read(folder, columns)) for engine, read in engines.items()}
    json.dump(answer, sys.stdout, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
