#!/usr/bin/env python3
"""Writes formats/avro/testdata: values that fastavro encodes, and the rows they are.

    python3 -m venv v && v/bin/pip install -r test/foreign/requirements.txt
    v/bin/python test/foreign/avro_golden.py formats/avro/testdata

A case has the writer's schema, columns as SQL types, perhaps a reader's schema, and for
each message its bytes in hexadecimal and the row as JSON. The tests need no Python.
"""
import datetime
import decimal
import io
import json
import sys
import uuid

import fastavro

UTC = datetime.timezone.utc
D = decimal.Decimal


def encode(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema)), named_schemas={}), value)
    return out.getvalue().hex()


def record(*fields, name="r"):
    return {"type": "record", "name": name, "fields": [f if isinstance(f, dict) else {"name": f[0], "type": f[1]} for f in fields]}


def logical(base, kind, **more):
    return {"type": base, "logicalType": kind, **more}


CASES = []


def case(name, schema, columns, rows, reader=None, error=None):
    """rows are pairs of the value that is written and the row that is read."""
    CASES.append({
        "name": name, "schema": schema, "columns": columns, "reader": reader, "error": error,
        "messages": [{"hex": encode(schema, value), "row": row} for value, row in rows],
    })


def main(out):
    case("primitives", record(("b", "boolean"), ("i", "int"), ("l", "long"), ("f", "float"), ("d", "double"), ("s", "string"), ("y", "bytes")),
         ["b BOOLEAN", "i INT", "l BIGINT", "f FLOAT", "d DOUBLE", "s STRING", "y BINARY"], [
        ({"b": True, "i": -2147483648, "l": -9223372036854775808, "f": 1.5, "d": -0.1, "s": "naïve ☃", "y": b"\x00\xff"},
         {"b": True, "i": -2147483648, "l": -9223372036854775808, "f": 1.5, "d": -0.1, "s": "naïve ☃", "y": "AP8="}),
        ({"b": False, "i": 2147483647, "l": 9223372036854775807, "f": 0, "d": 1e300, "s": "", "y": b""},
         {"b": False, "i": 2147483647, "l": 9223372036854775807, "f": 0, "d": 1e300, "s": "", "y": ""}),
    ])
    case("fields that nobody wants", record(
        ("skip1", {"type": "array", "items": record(("x", "string"), ("y", ["null", "long"]), name="e")}), ("a", "int"), ("skip2", {"type": "map", "values": "bytes"}),
        ("skip3", "double"), ("skip4", {"type": "fixed", "name": "f", "size": 3}), ("skip5", ["int", "string"]), ("skip6", {"type": "enum", "name": "n", "symbols": ["A", "B"]}),
        ("b", "string"), ("skip7", "boolean")), ["b STRING", "a INT"], [
        ({"skip1": [{"x": "1", "y": None}, {"x": "2", "y": 5}], "a": 7, "skip2": {"k": b"v", "l": b""}, "skip3": 2.0, "skip4": b"abc", "skip5": "text", "skip6": "B", "b": "yes", "skip7": True},
         {"b": "yes", "a": 7}),
        ({"skip1": [], "a": 8, "skip2": {}, "skip3": 2.0, "skip4": b"abc", "skip5": 4, "skip6": "A", "b": "no", "skip7": False}, {"b": "no", "a": 8}),
    ])
    at = datetime.datetime(2026, 1, 31, 23, 59, 59, 123456, UTC)
    local = at.replace(tzinfo=None)
    case("logical types", record(
        ("date", logical("int", "date")), ("tms", logical("int", "time-millis")), ("tus", logical("long", "time-micros")),
        ("ms", logical("long", "timestamp-millis")), ("us", logical("long", "timestamp-micros")), ("lms", logical("long", "local-timestamp-millis")),
        ("lus", logical("long", "local-timestamp-micros")), ("dec", logical("bytes", "decimal", precision=20, scale=4)),
        ("fix", logical("fixed", "decimal", name="f9", size=9, precision=20, scale=4)),
        ("id", logical("string", "uuid"))),
        ["date DATE", "tms TIME", "tus TIME", "ms TIMESTAMP", "us TIMESTAMP", "lms TIMESTAMP_NTZ", "lus TIMESTAMP_NTZ", "dec DECIMAL(20,4)", "fix DECIMAL(22,5)", "id STRING"], [
        ({"date": datetime.date(1969, 12, 31), "tms": datetime.time(1, 2, 3, 4000), "tus": datetime.time(23, 59, 59, 999999), "ms": at, "us": at, "lms": local, "lus": local,
          "dec": D("-12345.6789"), "fix": D("-0.0001"), "id": uuid.UUID(int=7)},
         {"date": "1969-12-31", "tms": "01:02:03.004", "tus": "23:59:59.999999", "ms": "2026-01-31T23:59:59.123Z", "us": "2026-01-31T23:59:59.123456Z",
          "lms": "2026-01-31T23:59:59.123", "lus": "2026-01-31T23:59:59.123456", "dec": "-12345.6789", "fix": "-0.00010", "id": "00000000-0000-0000-0000-000000000007"}),
        ({"date": datetime.date(2026, 3, 1), "tms": datetime.time(0), "tus": datetime.time(0), "ms": datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC), "us": at, "lms": local, "lus": local,
          "dec": D("9999999999999999.9999"), "fix": D("12"), "id": uuid.UUID(int=2**128 - 1)},
         {"date": "2026-03-01", "tms": "00:00:00", "tus": "00:00:00", "ms": "1969-12-31T23:59:59.999Z", "us": "2026-01-31T23:59:59.123456Z",
          "lms": "2026-01-31T23:59:59.123", "lus": "2026-01-31T23:59:59.123456", "dec": "9999999999999999.9999", "fix": "12.00000", "id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}),
    ])
    address = record(("city", "string"), ("zip", ["null", "string"]), name="address")
    case("nested", record(("home", ["null", address]), ("all", {"type": "array", "items": "address"}), ("tags", {"type": "map", "values": ["null", "int"]}), ("m", {"type": "array", "items": {"type": "array", "items": "int"}})),
         ["home STRUCT<city: STRING, zip: STRING>", "all ARRAY<STRUCT<zip: STRING>>", "tags MAP<STRING, BIGINT>", "m ARRAY<ARRAY<INT>>"], [
        ({"home": {"city": "Ulm", "zip": None}, "all": [{"city": "A", "zip": "1"}, {"city": "B", "zip": None}], "tags": {"x": 1, "y": None}, "m": [[1, 2], [], [3]]},
         {"home": {"city": "Ulm", "zip": None}, "all": [{"zip": "1"}, {"zip": None}], "tags": {"x": 1, "y": None}, "m": [[1, 2], [], [3]]}),
        ({"home": None, "all": [], "tags": {}, "m": []}, {"home": None, "all": [], "tags": {}, "m": []}),
    ])
    case("unions", record(("a", ["int", "null", "long"]), ("b", ["null", "float", "double"]), ("c", ["string", "int", "null"]), ("d", ["null", "string"])),
         ["a BIGINT", "b DOUBLE", "c STRUCT<member0: STRING, member1: INT>", "d STRING"], [
        ({"a": 5, "b": 1.5, "c": "x", "d": "y"}, {"a": 5, "b": 1.5, "c": {"member0": "x", "member1": None}, "d": "y"}),
        ({"a": 5000000000, "b": None, "c": 9, "d": None}, {"a": 5000000000, "b": None, "c": {"member0": None, "member1": 9}, "d": None}),
        ({"a": None, "b": None, "c": None, "d": None}, {"a": None, "b": None, "c": None, "d": None}),
    ])
    old = record(("id", "int"), ("name", "string"), ("gone", "long"))
    case("a newer table reads older values", old, ["id BIGINT", "title STRING", "price DECIMAL(10,2)", "tags ARRAY<STRING>", "kind STRING", "note STRING"], [
        ({"id": 1, "name": "one", "gone": 5}, {"id": 1, "title": "one", "price": "1.50", "tags": ["a", "b"], "kind": "B", "note": None}),
    ], reader=record(("id", "long"), {"name": "title", "type": "string", "aliases": ["name"]}, {"name": "price", "type": logical("bytes", "decimal", precision=10, scale=2), "default": "\u0000\u0096"},
                     {"name": "tags", "type": {"type": "array", "items": "string"}, "default": ["a", "b"]},
                     {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["A", "B"]}, "default": "B"}, {"name": "note", "type": ["null", "string"], "default": None}))
    case("an older table reads newer values", record(("id", "int"), ("more", {"type": "array", "items": "string"}), ("name", "string")), ["name STRING", "ID BIGINT"], [
        ({"id": 1, "more": ["x"], "name": "one"}, {"name": "one", "ID": 1}),
    ])
    case("promotions", record(("a", "int"), ("b", "int"), ("c", "int"), ("d", "long"), ("e", "float"), ("f", "string"), ("g", "bytes"), ("h", "int"), ("i", "long"), ("j", logical("long", "timestamp-millis"))),
         ["a BIGINT", "b FLOAT", "c DOUBLE", "d DOUBLE", "e DOUBLE", "f BINARY", "g STRING", "h TINYINT", "i DECIMAL(22,2)", "j BIGINT"], [
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 0.5, "f": "x", "g": b"y", "h": -128, "i": 2**62, "j": at},
         {"a": 1, "b": 2, "c": 3, "d": 4, "e": 0.5, "f": "eA==", "g": "y", "h": -128, "i": "4611686018427387904.00", "j": 1769903999123}),
    ])
    case("incompatible", record(("a", "string")), ["a INT"], [({"a": "x"}, None)], error='field "a" is written as string, which cannot be read as int32')
    case("incompatible inside", record(("a", {"type": "array", "items": address})), ["a ARRAY<STRUCT<city: INT>>"], [({"a": []}, None)], error='field "a[].city" is written as string')
    with open(f"{out}/values.json", "w") as f:
        json.dump(CASES, f, indent=1, ensure_ascii=False)
        f.write("\n")
    files(out)


def files(out):
    schema = fastavro.parse_schema({"type": "record", "name": "row", "namespace": "test", "fields": [
        {"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}, {"name": "price", "type": logical("bytes", "decimal", precision=10, scale=2)},
        {"name": "at", "type": logical("long", "timestamp-micros")}, {"name": "tags", "type": {"type": "array", "items": "string"}}]})
    base = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    rows = [{"id": i, "name": None if i % 7 == 0 else f"name {i}", "price": D(i) / 4 if i % 4 == 0 else D(i), "at": base + datetime.timedelta(seconds=i), "tags": [str(i % 3)] * (i % 4)} for i in range(1000)]
    for codec in ["null", "deflate", "snappy", "zstandard", "bzip2"]:
        with open(f"{out}/{codec}.avro", "wb") as f:
            fastavro.writer(f, schema, rows, codec=codec, sync_interval=2000, sync_marker=b"0123456789abcdef")


if __name__ == "__main__":
    main(sys.argv[1])
