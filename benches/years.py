#!/usr/bin/env python3
"""What a store costs over its years, in little time: re-logs, a soak, many small flushes, a full tail.

    CONVOLAKE_BINARY=target/release/convolake python3 benches/years.py relogs|soak|flushes|tail

`relogs`: CONVOLAKE_BENCH_ROWS (1,000,000) conversations, each imported CONVOLAKE_BENCH_VERSIONS (5) times more in random
order, then merged and collected: bytes of the files against one import of the last versions.
`soak`: CONVOLAKE_BENCH_SECONDS (1,800) of posts, a third of them re-logs, flushed every two seconds: bytes written per byte
flushed, and files at the end. `flushes`: CONVOLAKE_BENCH_FLUSHES (2,000) of 200 documents against one import of the same.
`tail`: a tail of CONVOLAKE_BENCH_TAIL (400) MB of the log, killed: ready after. Nothing but Python's own library."""

import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BINARY = os.environ.get("CONVOLAKE_BINARY", "target/release/convolake")


def number(name, default):
    return int(os.environ.get("CONVOLAKE_BENCH_" + name, default))


def run(*arguments):
    return subprocess.run([BINARY, *arguments], check=True, capture_output=True, text=True).stdout


def status(store):
    return json.loads(run("status", "--json", "--store", store))


def file_bytes(store):
    return sum(table["bytes"] for table in status(store)["tables"].values())


def file_count(store):
    return sum(table["files"] for table in status(store)["tables"].values())


def levels(store):
    return {name: {level: of["files"] for level, of in table["levels"].items()} for name, table in status(store)["tables"].items()}


class Server:
    def __init__(self, store, *arguments):
        begun = time.monotonic()
        command = [BINARY, "serve", "--store", store, "--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = self.process.stdout.readline().split("http://")[1].strip()
        self.ready_seconds = time.monotonic() - begun

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()


class Client:
    def __init__(self, server, key):
        self.connection = http.client.HTTPConnection(server.address, timeout=120)
        self.headers = {"authorization": "Bearer " + key, "content-type": "application/json"}

    def send(self, method, path, body=None):
        begun = time.monotonic()
        self.connection.request(method, path, body=body, headers=self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, text, (time.monotonic() - begun) * 1_000


def key_of(store):
    return run("keys", "create", "--store", store, "--kind", "org", "--organization", "default").strip()


def sample(rows):
    return [json.loads(line) for line in run("sample", "--rows", str(rows)).splitlines()]


def write(path, documents):
    with open(path, "w") as out:
        for document in documents:
            out.write(json.dumps(document, separators=(",", ":")) + "\n")


def post_all(server, key, bodies, connections):
    """Milliseconds of each."""
    bodies, lock, times = iter(bodies), threading.Lock(), []

    def work():
        client = Client(server, key)
        while True:
            with lock:
                body = next(bodies, None)
            if body is None:
                return
            code, text, millis = client.send("POST", "/conversations", body)
            while code == 429:
                time.sleep(0.05)
                code, text, millis = client.send("POST", "/conversations", body)
            if code != 200:
                raise SystemExit(f"{code} {text}")
            times.append(millis)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return times


def at(times, part):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * part))]


QUESTIONS = {
    "aggregation": ("POST", "/query/conversations", json.dumps({
        "select": [{"type": "aggregation", "aggregation": "count"},
                   {"type": "aggregation", "aggregation": "avg", "field": "properties", "path": ["latencyMs"]}],
        "groupBy": [{"field": "properties", "path": ["plan"]}]})),
    "list": ("GET", "/conversations?limit=100", None),
}


def ask(server, key, rounds=15):
    client = Client(server, key)
    medians = {}
    for name, (method, path, body) in QUESTIONS.items():
        times = [client.send(method, path, body)[2] for _ in range(rounds)]
        medians[name] = statistics.median(times)
    return medians


def relogs(folder):
    rows, versions = number("ROWS", 1_000_000), number("VERSIONS", 5)
    store, fresh = folder + "/again", folder + "/fresh"
    lines = run("sample", "--rows", str(rows)).splitlines()

    def version(of):
        # The document as it is, with a property that tells the version.
        return [line.replace('"properties":{', '"properties":{"version":%d,' % of, 1) for line in lines]

    for of in range(versions + 1):
        texts = version(of)
        if of > 0:
            random.Random(of).shuffle(texts)
        with open(folder + "/input.ndjson", "w") as out:
            out.write("\n".join(texts) + "\n")
        print(f"version {of}: {run('import', '--store', store, folder + '/input.ndjson').strip()}", flush=True)
    with open(folder + "/input.ndjson", "w") as out:
        out.write("\n".join(version(versions)) + "\n")
    run("import", "--store", fresh, folder + "/input.ndjson")
    for one in [store, fresh]:
        print(run("compact", "--store", one).strip(), flush=True)
        run("gc", "--store", one, "--gc-grace-seconds", "1", "--yes")
    ratio = file_bytes(store) / file_bytes(fresh)
    print(f"{rows} conversations, {versions} re-logs each: {file_bytes(store)} bytes in {file_count(store)} files, fresh "
          f"{file_bytes(fresh)} in {file_count(fresh)}: {ratio:.3f} times")


def soak(folder):
    store, seconds = folder + "/store", number("SECONDS", 1_800)
    key = key_of(store)
    server = Server(store, "--flush-seconds", "2")
    stop = time.monotonic() + seconds
    documents = sample(20_000)
    posted = [0] * 8

    def work(number):
        client, mine, choice = Client(server, key), 0, random.Random(number)
        while time.monotonic() < stop:
            document = dict(documents[choice.randrange(len(documents))])
            again = mine > 100 and choice.random() < 0.33
            one = choice.randrange(mine) if again else mine
            mine += 0 if again else 1
            document["id"], document["externalId"] = f"s-{number}-{one}", f"x-{number}-{one}"
            code, text, _ = client.send("POST", "/conversations", json.dumps(document))
            if code == 200:
                posted[number] += 1
            elif code != 429:
                raise SystemExit(f"{code} {text}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(posted))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    client = Client(server, key)
    work_done = json.loads(client.send("GET", "/status")[1])["work"]
    print(f"{seconds} s, {sum(posted)} posts: {json.dumps(work_done)}")
    flushed = max(1, work_done["flushedBytes"])
    print(f"merged per byte flushed: {work_done['mergedBytes'] / flushed:.2f}; rewritten for deletions: "
          f"{work_done['rewrittenBytes'] / flushed:.2f}")
    server.stop()
    print(f"files by merges: {json.dumps(levels(store))}")


def flushes(folder):
    count = number("FLUSHES", 2_000)
    store, fresh = folder + "/flushed", folder + "/imported"
    documents = []
    for start in range(0, count * 200, 50_000):
        for document in sample(min(50_000, count * 200 - start)):
            document["id"] = f"f-{start}-{document['id']}"
            document["externalId"] = f"f-{start}-{document['externalId']}"
            documents.append(document)
    write(folder + "/input.ndjson", documents)
    bodies = [json.dumps(document) for document in documents]
    key = key_of(store)
    server = Server(store, "--flush-rows", "200", "--flush-seconds", "3600")
    begun = time.monotonic()
    post_all(server, key, bodies, 64)
    seconds = time.monotonic() - begun
    most = file_count(store)
    server.stop()
    print(f"{len(bodies)} posts in {seconds:.0f} s, {json.loads(json.dumps(status(store)['commit']))} commits; {most} files "
          f"right after, all tables together: {json.dumps(levels(store))}")
    run("import", "--store", fresh, folder + "/input.ndjson")
    fresh_key = key_of(fresh)
    figures = {}
    for name, one, of in [("flushed", store, key), ("imported", fresh, fresh_key)]:
        readies = []
        for _ in range(5):
            server = Server(one)
            readies.append(server.ready_seconds)
            server.stop(signal.SIGKILL)
        server = Server(one)
        ask(server, of, 3)
        asked = [ask(server, of, 5) for _ in range(3)]
        asked = {name: statistics.median(part[name] for part in asked) for name in QUESTIONS}
        posts = post_all(server, of, [json.dumps({**document, "id": "p-" + document["id"], "externalId": None})
                                      for document in documents[:4_000]], 16)
        server.stop()
        figures[name] = (statistics.median(readies), asked["aggregation"], asked["list"], at(posts, 0.95))
    for name, (ready, aggregation, listed, post) in figures.items():
        print(f"{name}: ready {ready:.3f} s, aggregation {aggregation:.1f} ms, list {listed:.1f} ms, post p95 {post:.1f} ms")
    ratios = [a / b for a, b in zip(figures["flushed"], figures["imported"])]
    print("times: ready %.2f, aggregation %.2f, list %.2f, post p95 %.2f" % tuple(ratios))


def tail(folder):
    store, wanted = folder + "/store", number("TAIL", 400) << 20
    key = key_of(store)
    server = Server(store, "--flush-rows", "100000000", "--flush-seconds", "36000", "--tail-bytes", str(4 << 30))
    documents, written = sample(20_000), 0
    while True:
        bodies = []
        for document in documents:
            document["id"], document["externalId"] = f"t-{written}", None
            written += 1
            bodies.append(json.dumps(document))
        post_all(server, key, bodies, 128)
        held = json.loads(Client(server, key).send("GET", "/status")[1])["tail"]["bytes"]
        if held >= wanted:
            break
    server.stop(signal.SIGKILL)
    readies = []
    for _ in range(3):
        server = Server(store, "--flush-rows", "100000000", "--flush-seconds", "36000", "--tail-bytes", str(4 << 30))
        readies.append(server.ready_seconds)
        server.stop(signal.SIGKILL)
    print(f"{written} documents, {held >> 20} MiB in memory: ready after {statistics.median(readies):.2f} s")


if __name__ == "__main__":
    what = {"relogs": relogs, "soak": soak, "flushes": flushes, "tail": tail}[sys.argv[1]]
    place = tempfile.mkdtemp(prefix="convolake-years-")
    try:
        what(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
