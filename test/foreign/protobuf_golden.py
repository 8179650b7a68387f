#!/usr/bin/env python3
"""Writes formats/protobuf/testdata: messages that Google's Python library encodes, and the rows they are.

    python3 -m venv v && v/bin/pip install -r test/foreign/requirements.txt
    v/bin/python test/foreign/protobuf_golden.py formats/protobuf/testdata

values.json has the messages with Confluent's head (ID 1 and the place of the type) in
hexadecimal and the rows as JSON; shop.proto and address.proto are their schema, shop.set
the descriptor set that protoc makes of them. The tests need no Python.
"""
import json
import pathlib
import struct
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
import grpc_tools

SHOP = '''syntax = "proto3";
package shop;
import "shared/address.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
message Other { int32 x = 1; }
message Order {
  enum State { NEW = 0; PAID = 1; LOST = -1; }
  message Line { string item = 1; uint32 n = 2; repeated sint32 marks = 3; }
  int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
  fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float fl = 11; double db = 12;
  bool ok = 13; string name = 14; bytes raw = 15; State state = 16;
  optional int32 maybe = 17; optional string text = 18;
  repeated int64 packed = 19; repeated string names = 20; repeated Line lines = 21; repeated int32 loose = 22 [packed = false];
  map<string, double> attrs = 23; map<int32, Line> by_number = 24;
  shared.Address home = 25; google.protobuf.Timestamp at = 26; google.protobuf.Duration took = 27;
  google.protobuf.Int64Value wrapped = 28;
  oneof pay { string card = 29; int32 cash = 30; }
  Order again = 2000;
}
'''
ADDRESS = '''syntax = "proto2";
package shared;
message Address { optional string city = 1; required int32 zip = 2; optional group Extra = 3 { optional string note = 1; } }
'''

ZERO = {"i32": 0, "i64": 0, "u32": 0, "u64": 0, "s32": 0, "s64": 0, "f32": 0, "f64": 0, "sf32": 0, "sf64": 0, "fl": 0, "db": 0, "ok": False, "name": "", "raw": "", "state": "NEW",
        "maybe": None, "text": None, "packed": [], "names": [], "lines": [], "loose": [], "attrs": {}, "by_number": [], "home": None, "at": None, "took": None, "wrapped": None,
        "card": None, "cash": None}


def varint(n):  # zigzag, as the head has it
    n = (n << 1) ^ (n >> 63)
    out = b""
    while True:
        b = n & 0x7F
        n >>= 7
        out += bytes([b | (0x80 if n else 0)])
        if not n:
            return out


def head(place):
    at = b"\0" if place == [0] else varint(len(place)) + b"".join(varint(i) for i in place)
    return b"\0" + struct.pack(">I", 1) + at


def main(out):
    out = pathlib.Path(out)
    (out / "shared").mkdir(parents=True, exist_ok=True)
    (out / "shop.proto").write_text(SHOP)
    (out / "shared/address.proto").write_text(ADDRESS)
    include = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{out}", f"-I{include}", "--include_imports", f"--descriptor_set_out={out}/shop.set", str(out / "shop.proto")]):
        sys.exit("protoc failed")
    files = descriptor_pb2.FileDescriptorSet.FromString((out / "shop.set").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for f in files.file:
        pool.Add(f)
    Order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    Line = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order.Line"))

    full = Order(i32=-2147483648, i64=-9223372036854775808, u32=4294967295, u64=18446744073709551615, s32=-2147483648, s64=-9223372036854775808, f32=4294967295, f64=18446744073709551615,
                 sf32=-1, sf64=-2, fl=1.5, db=-0.1, ok=True, name="naïve ☃", raw=b"\x00\xff", state=1, maybe=0, text="", packed=[1, -1, 2**40], names=["a", ""],
                 lines=[Line(item="x", n=3, marks=[-1, 1]), Line()], loose=[1, 2], attrs={"k": 0.5}, wrapped={"value": 0}, card="4111")
    full.by_number[-7].item = "seven"
    full.home.city, full.home.zip = "Ulm", 89073
    full.home.extra.note = "a group"
    full.at.FromJsonString("1969-12-31T23:59:59.999999Z")
    full.took.FromJsonString("-1.5s")
    full.again.i32 = 5
    row = {"i32": -2147483648, "i64": -9223372036854775808, "u32": 4294967295, "u64": 18446744073709551615, "s32": -2147483648, "s64": -9223372036854775808, "f32": 4294967295,
           "f64": 18446744073709551615, "sf32": -1, "sf64": -2, "fl": 1.5, "db": -0.1, "ok": True, "name": "naïve ☃", "raw": "AP8=", "state": "PAID", "maybe": 0, "text": "",
           "packed": [1, -1, 2**40], "names": ["a", ""], "lines": [{"item": "x", "n": 3, "marks": [-1, 1]}, {"item": "", "n": 0, "marks": []}], "loose": [1, 2], "attrs": {"k": 0.5},
           "by_number": {"-7": {"item": "seven", "n": 0, "marks": []}}, "home": {"city": "Ulm", "zip": 89073, "extra": {"note": "a group"}}, "at": "1969-12-31T23:59:59.999999Z",
           "took": -1500000, "wrapped": 0, "card": "4111", "cash": None}
    zero = dict(ZERO, by_number={})
    # Parts of a message, one behind the other, are one message; the last of a scalar counts.
    a, b = Order(i32=1, names=["a"], cash=3), Order(i32=2, names=["b"])
    a.home.city, a.home.zip, b.home.zip = "A", 1, 2
    b.attrs["x"] = 1
    a.attrs["x"] = 2
    parts = dict(zero, i32=2, names=["a", "b"], cash=3, home={"city": "A", "zip": 2, "extra": None}, attrs={"x": 1})
    # What the schema does not know, and a packed field that comes loose.
    strange = bytes.fromhex("f0ff0105") + b"\x98\x01\x05" + b"\xb2\x01\x02\x01\x02" + b"\x80\x01\x63"
    messages = [("full", full.SerializeToString(), row), ("empty", b"", zero), ("parts", a.SerializeToString() + b.SerializeToString(), parts),
                ("strange", strange, dict(zero, packed=[5], loose=[1, 2], state="99"))]
    place = [m.name for m in files.file[-1].message_type].index("Order")
    cases = [{"name": n, "hex": (head([place]) + m).hex(), "row": r} for n, m, r in messages]
    cases.append({"name": "nested type", "hex": (head([place, 0]) + Line(item="l").SerializeToString()).hex(), "row": {"item": "l", "n": 0, "marks": []}})
    (out / "values.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
