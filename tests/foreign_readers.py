"""Reads the Delta tables of a store with PyPI's deltalake and polars, and prints what they see as JSON.

    python tests/foreign_readers.py STORE_FOLDER [--tables conversations,messages] [--columns id,createdAt,...]

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
    "conversations": ["organizationId", "projectId", "id", "title", "state", "createdAt", "messageCount", "tags", "properties"],
    "messages": ["organizationId", "projectId", "conversationId", "position", "id", "role", "content"],
    "events": """organizationId projectId integrationId id type eventType messageId conversationId searchQuery
        createdAt""".split(),
    "feedback": """organizationId projectId integrationId id type messageId conversationId details createdAt updatedAt
        reasons sources properties userProperties""".split(),
    "semantic_threads": """organizationId projectId integrationId id messagesCount conversationIds
        questionLength isOnTopic isClear isDocumented isFeatureSupported isAnswerConfident gapSummary subject
        category languages firstPartyEntities thirdPartyEntities emotion sentiment questionType firstMessageTime
        lastMessageTime lastUpdated areAIAnnotationsVerified isInitialQuestionAnswer firstMessagePosition""".split(),
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
