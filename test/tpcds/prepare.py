"""Writes tables, queries and DuckDB's answers below a folder: data/NAME.parquet, NN.sql and NN.json.

    prepare.py FOLDER SCALE
"""
import json
import pathlib
import re
import sys

import duckdb
import duckdb_extension_tpcds

folder, scale = pathlib.Path(sys.argv[1]), float(sys.argv[2])
(folder / "data").mkdir(parents=True, exist_ok=True)
extensions = pathlib.Path(duckdb_extension_tpcds.__file__).parent / "extensions"
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
db.execute(f"LOAD '{extensions / ('v' + duckdb.__version__) / 'tpcds.duckdb_extension'}'")
db.execute(f"CALL dsdgen(sf={scale})")
for (table,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall():
    db.execute(f"COPY {table} TO '{folder / 'data' / table}.parquet' (FORMAT parquet)")


def text(value):
    """A value as text, NULL as none."""
    return None if value is None else str(value)


for number, query in db.execute("SELECT query_nr, query FROM tpcds_queries() ORDER BY 1").fetchall():
    query = query.strip().rstrip(";")
    whole = re.sub(r"(?is)\blimit\s+100\s*$", "", query)
    for name, sql in {f"{number:02d}": query, f"{number:02d}-whole": whole}.items():
        if name.endswith("whole") and whole == query:
            continue
        (folder / f"{name}.sql").write_text(sql)
        rows = [[text(v) for v in row] for row in db.execute(sql).fetchall()]
        (folder / f"{name}.json").write_text(json.dumps(rows))
