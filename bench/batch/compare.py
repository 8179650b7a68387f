#!/usr/bin/env python3
"""Runs engines on the same queries, cores and files, turn about, and writes down the ratios. Started by bench/compare."""
import argparse
import csv
import json
import math
import os
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    args = arguments()
    reports = {engine: [] for engine in args.engines.split(",")}
    for run in range(args.runs):
        for engine in reports:
            reports[engine].append(measure(engine, args, run))
    wrong = compare(args) if args.check else []
    text = table(reports, args)
    print(text)
    if wrong:
        print("\n".join(wrong))
    if args.record:
        record(args, text, wrong)
    return 1 if wrong else 0


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--binary", required=True, help="the Go command of this folder, built")
    parser.add_argument("--tables", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--work", required=True, help="folder for results")
    parser.add_argument("--engines", default="sluice,datafusion,duckdb")
    parser.add_argument("--against", default="datafusion", help="the engine that ratios are taken to")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--reps", type=int, default=3, help="repetitions in a process; the best counts")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--set", action="append", default=[], help="a setting of Sluice, key=value")
    parser.add_argument("--check", action="store_true", help="compare Sluice's rows with DuckDB's")
    parser.add_argument("--record", default="", help="file under bench/results that gets the table on top")
    return parser.parse_args()


def measure(engine, args, run):
    """One process, held to the first cores of the machine."""
    out = str(Path(args.work) / "rows" / engine) if run == 0 else ""
    common = ["--tables", args.tables, "--queries", args.queries, "--reps", str(args.reps), "--only", args.only, "--out", out]
    if engine == "sluice":
        command = [args.binary, *common]
        for setting in args.set:
            command += ["--set", setting]
    else:
        command = [sys.executable, str(HERE / "peer.py"), engine, "--cores", str(args.cores), *common]
    cores = sorted(os.sched_getaffinity(0))[: args.cores]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if engine != "sluice" else None,
        env={**os.environ, "GOMAXPROCS": str(args.cores)},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        check=True,
    )
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def table(reports, args):
    """A row for each query: the median over the runs of each engine's best time, and the ratio to --against."""
    median = {
        engine: {q: statistics.median(r["best"].get(q, math.nan) for r in runs) for q in runs[0]["best"]}
        for engine, runs in reports.items()
    }
    names = list(next(iter(median.values())))
    others = [e for e in reports if e != "sluice"]
    lines = ["| query | " + " | ".join(f"{e} s" for e in reports) + " | " + " | ".join(f"sluice / {e}" for e in others) + " |"]
    lines.append("|---" * (1 + len(reports) + len(others)) + "|")
    for name in names:
        cells = [f"{median[e].get(name, math.nan):.3f}" for e in reports]
        ratios = [f"{ratio(median, e, name):.2f}" for e in others]
        lines.append("| " + " | ".join([name, *cells, *ratios]) + " |")
    totals = {e: sum(median[e].values()) for e in reports}
    cells = [f"{totals[e]:.3f}" for e in reports]
    ratios = [f"{totals.get('sluice', math.nan) / totals[e]:.2f}" for e in others]
    lines.append("| **total** | " + " | ".join(cells + ratios) + " |")
    lines.append("")
    for engine, runs in reports.items():
        sums = [sum(r["best"].values()) for r in runs]
        lines.append(
            f"- {engine}: total {min(sums):.2f} to {max(sums):.2f} s over {len(runs)} runs, peak {max(r['peak_mb'] for r in runs)} MB"
            + (f", failed: {sorted(runs[0]['failed'])}" if runs[0]["failed"] else "")
        )
    if args.against in median and "sluice" in median:
        worst = max(names, key=lambda name: ratio(median, args.against, name))
        lines.append(f"- worst against {args.against}: {worst}, {ratio(median, args.against, worst):.2f}")
    return "\n".join(lines)


def ratio(median, engine, name):
    return median.get("sluice", {}).get(name, math.nan) / median[engine].get(name, math.nan)


def compare(args):
    """The queries whose rows differ between Sluice and DuckDB, each with the first difference."""
    wrong = []
    rows = Path(args.work) / "rows"
    for file in sorted((rows / "duckdb").glob("*.csv")):
        ours = rows / "sluice" / file.name
        if not ours.exists():
            wrong.append(f"{file.stem}: no rows of sluice")
            continue
        want, got = read(file), read(ours)
        if len(want) != len(got):
            wrong.append(f"{file.stem}: {len(got)} rows, DuckDB has {len(want)}")
            continue
        # Sorted where the query leaves the order of equal rows open.
        for w, g in zip(want, got) if equal_rows(want, got) else zip(sorted(want), sorted(got)):
            if not equal(w, g):
                wrong.append(f"{file.stem}: {g}, DuckDB has {w}")
                break
    return wrong


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def equal_rows(want, got):
    return all(equal(w, g) for w, g in zip(want, got))


def equal(want, got):
    return len(want) == len(got) and all(same(w, g) for w, g in zip(want, got))


def same(want, got):
    if want == got:
        return True
    try:
        w, g = Decimal(want), Decimal(got)
    except InvalidOperation:
        return want.removesuffix(" 00:00:00") == got.removesuffix(" 00:00:00") or want.removesuffix("+00:00") == got
    # A fraction is a decimal in Sluice and a double in DuckDB: equal in all digits that Sluice prints.
    return w == g or math.isclose(w, g, rel_tol=1e-9) or abs(w - g) <= Decimal(1).scaleb(g.as_tuple().exponent) / 2


def record(args, text, wrong):
    root = HERE.parent.parent
    path = root / "bench" / "results" / args.record
    commit = subprocess.check_output(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, text=True).strip()
    if subprocess.check_output(["git", "status", "--porcelain", "--untracked-files=no"], cwd=root, text=True).strip():
        commit += " with uncommitted changes"
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    old = path.read_text().partition("\n")[2] if path.exists() else "\n"
    settings = f", settings {' '.join(args.set)}" if args.set else ""
    checked = ["- rows equal DuckDB's: " + ("; ".join(wrong) or "all")] if args.check else []
    head = [
        f"# {args.name}",
        "",
        f"## {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit}",
        "",
        f"- Machine: {model}, {os.cpu_count()} cores of which {args.cores} used, {os.uname().sysname} {os.uname().machine}; "
        f"load before the end: {os.getloadavg()[0]:.2f}",
        f"- Command: `bench/compare {args.name}`; median of {args.runs} runs turn about, in each the best of {args.reps}{settings}",
        *checked,
        "",
        text,
    ]
    path.write_text("\n".join(head) + "\n" + old)


sys.exit(main())
