"""Asks Spark what streaming queries put out, batch by batch, over random rows.

    python3 -m pip install pyspark==4.1.0    # any 4.x with a JVM of 17 or newer
    python3 test/semantics/spark.py OUT.json [NAME|TABLES]..

Each query runs on files that come one round after the other; what it has put out
when there is nothing left to do, empty batches included, is what OUT.json says of
the round. TestSparkAnswers holds the engine to it.
"""
import datetime, decimal, json, os, random, shutil, sys, tempfile, zlib
from concurrent.futures import ThreadPoolExecutor
from pyspark.sql import SparkSession

TABLES = {
    "ev": ("ts TIMESTAMP, k STRING, v BIGINT", "ts", 5),
    "l": ("lt TIMESTAMP, k STRING, lv BIGINT", "lt", 2),
    "r": ("rt TIMESTAMP, k STRING, rv BIGINT", "rt", 4),
}

# name, output modes, tables, query
QUERIES = [
    ("tumble", "append update", "ev", "SELECT window.start AS s, window.end AS e, count(*) AS n, sum(v) AS t FROM ev GROUP BY window(ts, '10 seconds')"),
    ("tumble-by-key", "append update complete", "ev", "SELECT window.start AS s, k, count(v) AS n, min(v) AS lo, max(v) AS hi FROM ev GROUP BY window(ts, '10 seconds'), k"),
    ("tumble-avg", "append update", "ev", "SELECT window.start AS s, avg(v) AS a, approx_count_distinct(k) AS d FROM ev GROUP BY window(ts, '7 seconds')"),
    ("hop", "append update", "ev", "SELECT window.start AS s, k, count(*) AS n FROM ev GROUP BY window(ts, '10 seconds', '4 seconds'), k"),
    ("hop-offset", "append update", "ev", "SELECT window.start AS s, window.end AS e, count(*) AS n FROM ev GROUP BY window(ts, '6 seconds', '3 seconds', '1 second')"),
    ("gaps-between-hops", "append", "ev", "SELECT window.start AS s, window.end AS e, count(*) AS n FROM ev GROUP BY window(ts, '10 seconds', '10 seconds', '2 seconds')"),
    ("having", "append update", "ev", "SELECT window.start AS s, k, sum(v) AS t FROM ev GROUP BY window(ts, '10 seconds'), k HAVING sum(v) > 3"),
    ("filtered", "append update", "ev", "SELECT window.start AS s, count(*) AS n FROM ev WHERE v % 3 <> 0 AND k IS NOT NULL GROUP BY window(ts, '10 seconds')"),
    ("session", "append complete", "ev", "SELECT session_window.start AS s, session_window.end AS e, k, count(*) AS n FROM ev GROUP BY session_window(ts, '5 seconds'), k"),
    ("session-dynamic", "append", "ev", "SELECT session_window.start AS s, session_window.end AS e, k, sum(v) AS t FROM ev GROUP BY session_window(ts, CASE WHEN k = 'a' THEN '3 seconds' WHEN v < 3 THEN '0 seconds' ELSE '8 seconds' END), k"),
    ("count", "update complete", "ev", "SELECT k, count(*) AS n, sum(v) AS t, max(ts) AS m FROM ev GROUP BY k"),
    ("count-all", "update complete", "ev", "SELECT count(*) AS n, max(v) AS m FROM ev"),
    ("by-time", "append update", "ev", "SELECT ts, count(*) AS n, sum(v) AS t FROM ev GROUP BY ts"),
    ("ordered", "complete", "ev", "SELECT k, count(*) AS n FROM ev GROUP BY k ORDER BY n DESC, k NULLS LAST LIMIT 2"),
    ("distinct", "append update", "ev", "SELECT DISTINCT k, ts FROM ev"),
    ("distinct-no-time", "update", "ev", "SELECT DISTINCT k FROM ev"),
    ("project", "append update", "ev", "SELECT upper(k) AS k, v * 2 AS w FROM ev WHERE v > 2"),
    ("union", "append update", "l r", "SELECT window.start AS s, count(*) AS n, sum(v) AS t FROM (SELECT lt AS ts, lv AS v FROM l UNION ALL SELECT rt, rv FROM r) GROUP BY window(ts, '10 seconds')"),
    ("inner", "append update", "l r", "SELECT lt, rt, l.k, lv, rv FROM l JOIN r ON l.k = r.k AND rt BETWEEN lt AND lt + INTERVAL 5 SECONDS"),
    ("inner-both", "append", "l r", "SELECT lt, rt, lv, rv FROM l JOIN r ON l.k = r.k AND rt >= lt - INTERVAL 3 SECONDS AND rt < lt + INTERVAL 4 SECONDS AND lv <= rv"),
    ("inner-unbounded", "append", "l r", "SELECT lt, rt, lv, rv FROM l JOIN r ON l.k = r.k"),
    ("inner-equal-time", "append", "l r", "SELECT lt, l.k, lv, rv FROM l JOIN r ON l.k = r.k AND lt = rt"),
    ("left", "append", "l r", "SELECT lt, l.k, lv, rt, rv FROM l LEFT JOIN r ON l.k = r.k AND rt BETWEEN lt AND lt + INTERVAL 5 SECONDS"),
    ("left-filter", "append", "l r", "SELECT lt, l.k, lv, rt, rv FROM l LEFT JOIN r ON l.k = r.k AND rt BETWEEN lt - INTERVAL 2 SECONDS AND lt + INTERVAL 5 SECONDS AND lv > 3 AND rv > 3"),
    ("right", "append", "l r", "SELECT lt, r.k, lv, rt, rv FROM l RIGHT JOIN r ON l.k = r.k AND rt > lt AND rt <= lt + INTERVAL 6 SECONDS"),
    ("full", "append", "l r", "SELECT lt, l.k AS lk, r.k AS rk, lv, rt, rv FROM l FULL JOIN r ON l.k = r.k AND rt BETWEEN lt - INTERVAL 3 SECONDS AND lt + INTERVAL 5 SECONDS"),
    ("semi", "append", "l r", "SELECT lt, k, lv FROM l LEFT SEMI JOIN r ON l.k = r.k AND rt BETWEEN lt AND lt + INTERVAL 5 SECONDS"),
    ("join-windows", "append", "l r", "SELECT a.w.start AS s, a.k, lv, rv FROM (SELECT window(lt, '5 seconds') AS w, k, lv FROM l) a JOIN (SELECT window(rt, '5 seconds') AS w, k, rv FROM r) b ON a.w = b.w AND a.k = b.k"),
    ("left-join-windows", "append", "l r", "SELECT a.w.start AS s, a.k, lv, rv FROM (SELECT window(lt, '5 seconds') AS w, k, lv FROM l) a LEFT JOIN (SELECT window(rt, '5 seconds') AS w, k, rv FROM r) b ON a.w = b.w AND a.k = b.k"),
    ("window-over-window", "append", "ev", "SELECT window.start AS s, count(*) AS windows, sum(n) AS n FROM (SELECT window_time(w) AS wt, n FROM (SELECT window AS w, k, count(*) AS n FROM ev GROUP BY window(ts, '5 seconds'), k)) GROUP BY window(wt, '10 seconds')"),
    ("window-of-window", "append", "ev", "SELECT window.start AS s, count(*) AS windows, sum(n) AS n FROM (SELECT window AS w, k, count(*) AS n FROM ev GROUP BY window(ts, '5 seconds'), k) GROUP BY window(w, '15 seconds')"),
    ("window-over-join", "append", "l r", "SELECT window.start AS s, count(*) AS n FROM (SELECT rt, lv FROM l JOIN r ON l.k = r.k AND rt BETWEEN lt AND lt + INTERVAL 5 SECONDS) GROUP BY window(rt, '10 seconds')"),
    ("window-over-left", "append", "l r", "SELECT window.start AS s, count(*) AS n, count(rv) AS m FROM (SELECT lt, rv FROM l LEFT JOIN r ON l.k = r.k AND rt BETWEEN lt AND lt + INTERVAL 5 SECONDS) GROUP BY window(lt, '10 seconds')"),
    ("join-of-aggregates", "append", "l r", "SELECT a.w.start AS s, a.n, b.m FROM (SELECT window AS w, count(*) AS n FROM l GROUP BY window(lt, '10 seconds')) a JOIN (SELECT window AS w, count(*) AS m FROM r GROUP BY window(rt, '10 seconds')) b ON a.w = b.w"),
    ("aggregate-of-distinct", "append", "ev", "SELECT window.start AS s, count(*) AS n FROM (SELECT DISTINCT ts, k FROM ev) GROUP BY window(ts, '10 seconds')"),
    ("collect", "append", "ev", "SELECT window.start AS s, array_join(sort_array(collect_list(k)), '') AS ks, size(collect_set(v)) AS vs FROM ev GROUP BY window(ts, '10 seconds')"),
]


# Answers that are left out, and why the engine's are others on purpose
# (docs/ARCHITECTURE.md, "Where results differ from Spark's").
NULL_TIME = "a row without an event time is put out, or counted, at once; Spark keeps it for ever"
FILTERED = "Spark moves a filter below the watermark: rows that it drops do not move the watermark"
LEFT_OUT = {
    "full/2 append": NULL_TIME,
    "right/1 append": NULL_TIME,
    "left/2 append": NULL_TIME,
    "by-time/1 append": NULL_TIME,
    "filtered/1 append": FILTERED,
    "left-filter/1 append": FILTERED,
    "left-filter/2 append": FILTERED,
    "distinct/1 append": "a row is put out when it is first seen, not when its time has passed",
    "distinct-no-time/1 update": "a row that is there already is not put out again",
    "count-all/1 update": "a batch without rows puts the result out again",
    "inner-unbounded/1 append": "nothing bounds the join's state, so no row is late for it",
    "inner-unbounded/2 append": "nothing bounds the join's state, so no row is late for it",
    "window-over-join/1 append": "a window over a join closes by the column that it is of, not by the slower one of both",
    "window-over-join/2 append": "a window over a join closes by the column that it is of, not by the slower one of both",
}


def feeds(name, tables, seed):
    """Rows for each round: times go on, some come late, some far too late; some rounds leave tables out."""
    rnd = random.Random(seed * 1000003 + zlib.crc32(name.encode()))
    clock = {t: rnd.randint(20, 26) for t in tables}  # Spark's first watermark is 0, and a row of that time is late
    out = []
    for _ in range(8):
        now = {}
        for t in tables:
            if len(tables) > 1 and rnd.random() < 0.25:
                continue
            rows = []
            for _ in range(rnd.randint(1, 5)):
                clock[t] += rnd.choice([0, 0, 1, 1, 2, 3, 9 if rnd.random() < 0.3 else 1])
                at = clock[t]
                if rnd.random() < 0.3:
                    at = max(1, at - rnd.choice([1, 2, 4, 5, 6, 9, 15]))
                if rnd.random() < 0.15:
                    at += 0.5
                rows.append([None if rnd.random() < 0.03 else at, None if rnd.random() < 0.06 else rnd.choice("abc"), None if rnd.random() < 0.05 else rnd.randint(0, 9)])
            now[t] = rows
        if not now:
            now[tables[0]] = [[clock[tables[0]], "a", 1]]
        out.append(now)
    return out


def number(x):
    return ("%f" % x).rstrip("0").rstrip(".")


def text(v):
    if v is None:
        return "NULL"
    if isinstance(v, datetime.datetime):
        return "@" + number((v - datetime.datetime(1970, 1, 1)).total_seconds())
    if isinstance(v, float):
        return repr(int(v)) + ".0" if v == int(v) else repr(v)
    return str(v)


def line(row):
    return "(" + " ".join(text(v) for v in row) + ")"


def csv_time(at):
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=at)).strftime("%Y-%m-%d %H:%M:%S.%f")


def put(base, n, rounds):
    staged = []
    for table, rows in rounds.items():
        path = os.path.join(base, table, ".%05d" % n)
        with open(path, "w") as f:
            for at, k, v in rows:
                f.write("%s,%s,%s\n" % ("" if at is None else csv_time(at), "" if k is None else k, "" if v is None else v))
        staged.append((path, os.path.join(base, table, "part-%05d.csv" % n)))
    for a, b in staged:
        os.rename(a, b)


def ask(spark, name, mode, tables, sql, rounds):
    base = tempfile.mkdtemp()
    spark = spark.newSession()
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.csv.filterPushdown.enabled", "false")  # or rows are not counted
    for t in tables.split():
        os.mkdir(os.path.join(base, t))
        schema, col, delay = TABLES[t]
        spark.readStream.schema(schema).csv(os.path.join(base, t)).withWatermark(col, "%d seconds" % delay).createOrReplaceTempView(t)
    got = []

    def take(df, n):
        got.append((n, [line(r) for r in df.collect()]))

    # Several tables get their files between two triggers, so that one batch sees all.
    every = "4 seconds" if " " in tables else "0 seconds"
    q = spark.sql(sql).writeStream.trigger(processingTime=every).outputMode(mode).option("checkpointLocation", os.path.join(base, "ck")).foreachBatch(take).start()
    want, late = [], []
    try:
        for n, now in enumerate(rounds):
            before = len(got)
            put(base, n, now)
            q.processAllAvailable()
            batches = sorted(got[before:])
            progress = {p["batchId"]: p for p in (json.loads(p.json) if hasattr(p, "json") else p for p in q.recentProgress)}
            first = progress.get(batches[0][0]) if batches else None
            if first is None or first["numInputRows"] != sum(len(r) for r in now.values()):
                return None  # the round was cut into two batches
            want.append([sorted(rows) if "ORDER" not in sql else rows for _, rows in batches])
            late.append(sum(s.get("numRowsDroppedByWatermark", 0) for b, _ in batches for s in progress[b]["stateOperators"]) if all(b in progress for b, _ in batches) else -1)
    finally:
        q.stop()
        shutil.rmtree(base, ignore_errors=True)
    return {"name": name, "mode": mode, "tables": tables.split(), "sql": sql, "rounds": rounds, "want": want, "late": late}


def main():
    only = sys.argv[2:]
    spark = (SparkSession.builder.master("local[3]").config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").config("spark.sql.streaming.metricsEnabled", "false")
             .config("spark.sql.streaming.numRecentProgressUpdates", "200").getOrCreate())
    spark.sparkContext.setLogLevel("OFF")
    work = [(n, m, t, s, seed) for n, ms, t, s in QUERIES if not only or n in only or t in only for m in ms.split() for seed in ((1, 2) if t != "ev" or "session" in n else (1,))]

    def one(w):
        name, mode, tables, sql, seed = w
        for _ in range(3):
            try:
                if (r := ask(spark, "%s/%d" % (name, seed), mode, tables, sql, feeds(name, tables.split(), seed))) is not None:
                    return r
            except Exception as e:
                print(name, mode, str(e).split("\n")[0][:200], flush=True)
                return None
        print(name, mode, "was cut", flush=True)

    out = []
    with ThreadPoolExecutor(12) as pool:
        for r in pool.map(one, work):
            if r and r["name"] + " " + r["mode"] not in LEFT_OUT:
                out.append(r)
            with open(sys.argv[1], "w") as f:
                f.write("[\n" + ",\n".join(json.dumps(r) for r in out) + "\n]\n")
    print(len(out), "answers of", len(work))


main()
