package duckdb

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/slt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValuesAreTheTextThatSluicePrints(t *testing.T) {
	db := Start(t)
	for sql, want := range map[string]string{
		"1::BIGINT":                            "1",
		"NULL":                                 "NULL",
		"true":                                 "true",
		"''":                                   "",
		"1.5::DOUBLE":                          "1.5",
		"100::DOUBLE":                          "100.0",
		"1e10::DOUBLE":                         "1.0E10",
		"9999999::DOUBLE":                      "9999999.0",
		"10000000::DOUBLE":                     "1.0E7",
		"0.001::DOUBLE":                        "0.001",
		"-1.25e-5::DOUBLE":                     "-1.25E-5",
		"0.1::FLOAT":                           "0.1",
		"16777216::FLOAT":                      "1.6777216E7",
		"'nan'::DOUBLE":                        "NaN",
		"'-inf'::DOUBLE":                       "-Infinity",
		"12.50::DECIMAL(9,2)":                  "12.50",
		"DATE '2024-02-29'":                    "2024-02-29",
		"TIMESTAMP '2024-01-02 03:04:05.600'":  "2024-01-02 03:04:05.6",
		"TIMESTAMP '0900-01-02 03:04:05'":      "0900-01-02 03:04:05",
		"TIMESTAMPTZ '2024-01-02 03:04:05+02'": "2024-01-02 01:04:05",
		"'\\x01\\xFF'::BLOB":                   "[01 FF]",
		"[1, NULL]":                            "[1, NULL]",
		"{'a': 1, 'b': 'x'}":                   "{1, x}",
		"MAP {'k': 1.0::DOUBLE}":               "{k -> 1.0}",
		"'a\tb' || chr(10) || 'c \"quoted\" \\ ü'": "a\tb\nc \"quoted\" \\ ü",
	} {
		_, rows, err := db.Query(t.Context(), "SELECT "+sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if len(rows) != 1 || rows[0][0] != want {
			t.Errorf("%s printed as %q, want %q", sql, rows, want)
		}
	}
	cols, _, err := db.Query(t.Context(), "SELECT 1 AS i, 2.0::DOUBLE AS r, 'x' AS t, true AS b, 1.5::DECIMAL(4,2) AS d")
	if err != nil {
		t.Fatal(err)
	}
	want := []slt.Column{{Name: "i", Type: "I"}, {Name: "r", Type: "R"}, {Name: "t", Type: "T"}, {Name: "b", Type: "B"}, {Name: "d", Type: "R"}}
	if !slices.Equal(cols, want) {
		t.Fatalf("columns %v, want %v", cols, want)
	}
}

func TestAnErrorLeavesTheEngineUsable(t *testing.T) {
	db := Start(t)
	if err := db.Exec(t.Context(), "SELECT * FROM missing"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Fatalf("got %v", err)
	}
	if _, rows, err := db.Query(t.Context(), "SELECT 42"); err != nil || rows[0][0] != "42" {
		t.Fatalf("got %v, %v", rows, err)
	}
}

func TestACancelledRequestEndsTheEngine(t *testing.T) {
	db := Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := db.Query(ctx, "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range % 7 = b.range % 5"); err == nil {
		t.Fatal("answered")
	}
	if _, _, err := db.Query(t.Context(), "SELECT 1"); err == nil {
		t.Fatal("D1: a broken engine answered")
	}
}

func TestAMissingInterpreterIsAnError(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "python")); err == nil {
		t.Fatal("started")
	}
}

func TestAsAnOracleOfLogicTests(t *testing.T) {
	Python(t)
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.slt", `# modes: batch stream
# oracle: duckdb

statement ok
CREATE TABLE bids (auction BIGINT, who STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH ('connector'='memory')

feed bids
1,it's me,2024-01-01 00:00:00
2,NULL,2024-01-01 00:00:01

query ITT rowsort
SELECT * FROM bids
----
1	it's me	2024-01-01 00:00:00
2	NULL	2024-01-01 00:00:01

skipif duckdb
query T
SELECT only_sluice()
----
x
`)
	write("b.slt", "query I\nSELECT 1\n----\n2\n")
	slt.RunOracle(t, dir, "duckdb", New)
}

func TestTranslate(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT BINARY 'x' WITH (a)":                                                                           "SELECT BINARY 'x' WITH (a)",
		"create table t (a BIGINT) with ('x'='(y)')":                                                           "create table t (a BIGINT)",
		"CREATE TABLE t (a INT, WATERMARK FOR ts AS date_add(ts, 'a,)', 1), b BINARY)":                         "CREATE TABLE t (a INT, b BLOB)",
		"CREATE TABLE t (ts TIMESTAMP(3), u TIMESTAMP_LTZ(6), v TIMESTAMP_NTZ, PRIMARY KEY (ts) NOT ENFORCED)": "CREATE TABLE t (ts TIMESTAMP, u TIMESTAMPTZ, v TIMESTAMP, PRIMARY KEY (ts))",
	} {
		if got := Translate(in); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", in, got, want)
		}
	}
}
