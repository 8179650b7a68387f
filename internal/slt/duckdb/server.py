"""Answers SQL on standard input with rows on standard output, a JSON value a line."""

import datetime
import decimal
import json
import struct
import sys

import duckdb


def shortest(v, single):
    """The fewest digits that read back as the same number, as [digits, exponent]."""
    if not single:
        text = "%r" % v
        return decimal.Decimal(text)
    for digits in range(1, 10):
        text = "%.*g" % (digits, v)
        if struct.pack("f", float(text)) == struct.pack("f", v):
            break
    return decimal.Decimal(text)


def number(v, single=False):
    """A float as Java and Spark print it."""
    if v != v:
        return "NaN"
    if v in (float("inf"), float("-inf")):
        return "Infinity" if v > 0 else "-Infinity"
    if v == 0:
        return str(v)
    d = shortest(v, single)
    if 1e-3 <= abs(v) < 1e7:
        text = format(d, "f")
        return text if "." in text else text + ".0"
    sign, digits, exponent = d.normalize().as_tuple()
    digits = "".join(map(str, digits))
    exponent += len(digits) - 1
    return "%s%s.%sE%d" % ("-" if sign else "", digits[0], digits[1:] or "0", exponent)


def clock(v):
    """A fraction of a second without trailing zeros."""
    text = v.strftime("%H:%M:%S")
    if v.microsecond:
        text += (".%06d" % v.microsecond).rstrip("0")
    return text


def text(v, kind=""):
    if v is None:
        return "NULL"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, float):
        return number(v, kind == "FLOAT")
    if isinstance(v, decimal.Decimal):
        return format(v, "f")
    if isinstance(v, datetime.datetime):
        if v.tzinfo is not None:
            v = v.astimezone(datetime.timezone.utc)
        return "%04d-%02d-%02d %s" % (v.year, v.month, v.day, clock(v))
    if isinstance(v, datetime.date):
        return v.isoformat()
    if isinstance(v, datetime.time):
        return clock(v)
    if isinstance(v, (bytes, bytearray)):
        return "[%s]" % " ".join("%02X" % b for b in v)
    if isinstance(v, (list, tuple)):
        return "[%s]" % ", ".join(text(e, kind.removesuffix("[]")) for e in v)
    if isinstance(v, dict):
        if kind.startswith("MAP"):
            return "{%s}" % ", ".join("%s -> %s" % (text(k), text(e)) for k, e in v.items())
        return "{%s}" % ", ".join(text(e) for e in v.values())
    return str(v)


def letter(kind):
    if kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"):
        return "I"
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return "R"
    if kind == "BOOLEAN":
        return "B"
    return "T"


def answer(con, sql):
    result = con.execute(sql)
    if result.description is None:
        return {"cols": [], "rows": []}
    kinds = [str(d[1]) for d in result.description]
    cols = [{"name": d[0], "type": letter(k)} for d, k in zip(result.description, kinds)]
    rows = [[text(v, k) for v, k in zip(row, kinds)] for row in result.fetchall()]
    return {"cols": cols, "rows": rows}


def main():
    con = duckdb.connect()
    con.execute("SET enable_progress_bar = false")  # it would be printed among the answers
    con.execute("SET TimeZone = 'UTC'")
    for line in sys.stdin:
        try:
            reply = answer(con, json.loads(line)["sql"])
        except duckdb.Error as err:
            reply = {"error": str(err)}
        print(json.dumps(reply), flush=True)


main()
