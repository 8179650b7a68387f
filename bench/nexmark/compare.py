#!/usr/bin/env python3
"""Prints a table of what bench/nexmark/compare has measured: compare.py EVENTS SPARK FILES GENERATED, files of JSON lines."""
import json
import sys
from datetime import datetime, timezone
from pathlib import Path


def main():
    events = int(sys.argv[1])
    spark, files, made = (best(path) for path in sys.argv[2:5])
    print(f"## {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, beside Spark, {events} events\n")
    print("Best of the runs; the ratios are Spark's seconds through Sluice's. 'made' is with the generator in the process.\n")
    print("| query | Spark s | CPU s | Sluice s, files | CPU s | ratio | CPU ratio | Sluice s, made | CPU s | ratio | CPU ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for query in sorted(made, key=lambda name: int(name[1:])):
        cells = [f"{spark[query]['seconds']:.2f}", f"{spark[query]['cpu_seconds']:.2f}"] if ran(spark, query) else ["", ""]
        for ours in (files, made):
            cells += [f"{ours[query]['seconds']:.2f}", f"{ours[query]['cpu_seconds']:.2f}"]
            cells += [ratio(spark, ours, query, "seconds"), ratio(spark, ours, query, "cpu_seconds")]
        print(f"| {query} | " + " | ".join(cells) + " |")
    print()
    for query, line in spark.items():
        if not ran(spark, query):
            print(f"- Spark refuses {query}: {line['error'][:160]}")
    missing = [query for query in made if query not in spark]
    if missing:
        print(f"- Spark has no form of {', '.join(missing)}: aggregates with DISTINCT and ROW_NUMBER are not for its streams")


def best(path):
    """The quickest run of each query; why it was refused, if it never ran."""
    found = {}
    for text in Path(path).read_text().splitlines():
        line = json.loads(text)
        old = found.get(line["query"])
        if old is None or "error" in old or "error" not in line and line["seconds"] < old["seconds"]:
            found[line["query"]] = line
    return found


def ran(lines, query):
    return query in lines and "error" not in lines[query]


def ratio(spark, ours, query, what):
    return f"{spark[query][what] / max(ours[query][what], 0.001):.1f}" if ran(spark, query) else ""


main()
