#!/usr/bin/env python3
"""Runs the queries of spark.sql in Spark, as streams: spark.py --files DIR [--only q0,q1] [--reps N] [--cores N].

DIR holds what `bench/nexmark -write` has written. Trigger, sink and batches are those of bench/nexmark: all that is
there, nothing kept of the output, so many files of each table with each batch. A line of JSON for each run on standard
output; a query that Spark refuses has its reason instead of figures.
"""
import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
FILES_PER_BATCH = 8  # as FilesPerBatch in test/nexmark
# A short query is run again until its runs have taken so long, so that the JVM has compiled what it runs.
WARM_SECONDS, MOST_REPS = 20, 8


def main():
    args = arguments()
    spark = session(args)
    for name, mode, sql in queries(HERE / "spark.sql"):
        if args.only and name not in args.only.split(","):
            continue
        rep, spent = 0, 0.0
        while rep < args.reps or spent < WARM_SECONDS and rep < MOST_REPS:
            line = {"engine": "spark", "query": name, "rep": rep, "store": args.store}
            try:
                line |= run(spark, mode, sql, args)
            except Exception as error:  # what an engine cannot run is a result, too
                reason = re.sub(r"\s+", " ", str(error)).removeprefix("[STREAM_FAILED] ")
                print(json.dumps(line | {"error": reason[:240]}), flush=True)
                break
            print(json.dumps(line), flush=True)
            rep, spent = rep + 1, spent + line["seconds"]
    spark.stop()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--reps", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--heap", default="6g")
    parser.add_argument("--store", choices=["rocksdb", "memory"], default="rocksdb")
    return parser.parse_args()


def session(args):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("nexmark").master(f"local[{args.cores}]")
    settings = {
        "spark.driver.memory": args.heap,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(args.cores),
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if args.store == "rocksdb":
        settings["spark.sql.streaming.stateStore.providerClass"] = ROCKSDB
        settings["spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled"] = "true"
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    for table in ["person", "auction", "bid"]:
        path = str(Path(args.files) / table)
        rows = spark.readStream.schema(spark.read.parquet(path).schema).option("maxFilesPerTrigger", FILES_PER_BATCH).parquet(path)
        rows.withWatermark("dateTime", "4 seconds").createOrReplaceTempView(table)
    spark.range(10000).selectExpr("id AS key", "CAST(id AS STRING) AS value").createOrReplaceTempView("side_input")
    return spark


def queries(file):
    for part in re.split(r"(?m)^-- ", file.read_text())[1:]:
        head, _, sql = part.partition("\n")
        name, mode = head.split()[0], head.split()[1:]
        yield name, mode, sql.strip().rstrip(";")


def run(spark, mode, sql, args):
    work = Path(tempfile.mkdtemp(prefix="spark-nexmark"))
    pid = spark._jvm.java.lang.ProcessHandle.current().pid()
    before, start = cpu_seconds(pid), time.time()
    try:
        writer = spark.sql(sql).writeStream.option("checkpointLocation", str(work / "checkpoint")).trigger(availableNow=True)
        if "partitioned" in mode:
            writer = writer.format("csv").partitionBy("dt", "hm").option("path", str(work / "out"))
        else:
            writer = writer.format("noop")
        query = writer.outputMode(mode[0]).start()
        query.awaitTermination()
        seconds = time.time() - start
    finally:
        shutil.rmtree(work, ignore_errors=True)
    batches = query.recentProgress
    return {
        "rows": sum(batch["numInputRows"] for batch in batches),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds(pid) - before, 2),
        "batches": len(batches),
        "out": sum(batch["sink"]["numOutputRows"] for batch in batches),
    }


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


sys.exit(main())
