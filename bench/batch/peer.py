#!/usr/bin/env python3
"""Times queries in another engine: peer.py ENGINE --tables DIR --queries FILE [--reps N] [--cores N] [--out DIR].

ENGINE is duckdb, datafusion or spark. Arguments, files and the JSON line on standard output are those of the Go
command beside this file, so that compare.py treats all engines alike.
"""
import argparse
import csv
import json
import re
import resource
import sys
import time
from pathlib import Path


def main():
    args = arguments()
    execute = {"duckdb": duckdb, "datafusion": datafusion, "spark": spark}[args.engine](tables(args.tables), args)
    report = {"engine": args.engine, "best": {}, "first": {}, "rows": {}, "failed": {}}
    for name, sql in queries(args.queries):
        if args.only and name not in args.only.split(","):
            continue
        try:
            times = []
            for _ in range(args.reps):
                start = time.time()
                rows = execute(sql)
                times.append(time.time() - start)
        except Exception as error:  # what an engine cannot run is a result, too
            report["failed"][name] = str(error)[:200]
            continue
        report["best"][name], report["first"][name], report["rows"][name] = min(times), times[0], len(rows)
        if args.out:
            write(Path(args.out) / f"{name}.csv", rows)
    report["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report), flush=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["duckdb", "datafusion", "spark"])
    parser.add_argument("--tables", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default="")
    return parser.parse_args()


def tables(folder):
    """Name -> path of a file, or of a folder of files."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.is_dir():
            found[path.name] = path
        elif path.suffix == ".parquet":
            found[path.stem] = path
    return found


def queries(file):
    for part in re.split(r"(?m)^-- ", Path(file).read_text())[1:]:
        name, _, sql = part.partition("\n")
        yield name.strip(), sql.strip().rstrip(";")


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        csv.writer(out).writerows(rows)


def duckdb(paths, args):
    import duckdb as engine

    connection = engine.connect()
    connection.execute(f"SET threads = {args.cores}")
    connection.execute("SET TimeZone = 'UTC'")
    for name, path in paths.items():
        files = f"{path}/*.parquet" if path.is_dir() else str(path)
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}')")
    return lambda sql: connection.execute(sql).fetchall()


def datafusion(paths, args):
    import datafusion as engine

    context = engine.SessionContext(engine.SessionConfig().with_target_partitions(args.cores))
    for name, path in paths.items():
        context.register_parquet(name, f"{path}/" if path.is_dir() else str(path))
    return lambda sql: [tuple(row.values()) for batch in context.sql(sql).collect() for row in batch.to_pylist()]


def spark(paths, args):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("batch").master(f"local[{args.cores}]")
    for key, value in {
        "spark.driver.memory": "6g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(args.cores),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for name, path in paths.items():
        session.read.parquet(str(path)).createOrReplaceTempView(name)
    return lambda sql: [tuple(row) for row in session.sql(sql).collect()]


sys.exit(main())
