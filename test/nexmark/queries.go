package nexmark

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed queries.sql
var queries string

//go:embed tables.sql
var tables string

// Query is one query of the benchmark.
type Query struct {
	Name string // q0 and so on
	Mode string // the output mode it is streamed in
	SQL  string // without a semicolon
	// Partitioned says that the result goes to files in a folder for each dt and hm.
	Partitioned bool
}

// Queries returns the queries in their order.
func Queries() []Query { return parse(queries) }

func parse(script string) []Query {
	var out []Query
	for text := range strings.SplitSeq(script, ";\n") {
		head, sql, _ := strings.Cut(strings.TrimSpace(text), "\n")
		words := strings.Fields(strings.TrimPrefix(head, "--"))
		if len(words) == 0 {
			continue
		}
		q := Query{Name: words[0], SQL: sql, Mode: "append"}
		for _, w := range words[1:] {
			if q.Mode = w; w == "partitioned" {
				q.Mode, q.Partitioned = "append", true
			}
		}
		out = append(out, q)
	}
	return out
}

// Tables returns a script that creates the tables person, auction and bid over
// the generator, with its options, and the side table of q13.
func Tables(options map[string]string) string {
	list := make([]string, 0, len(options))
	for _, k := range slices.Sorted(maps.Keys(options)) {
		list = append(list, fmt.Sprintf("'%s'='%s'", k, options[k]))
	}
	return strings.ReplaceAll(tables, "$options", strings.Join(list, ", "))
}

// FilesPerBatch is how many files of each table a micro-batch reads: enough for
// any engine to use several cores.
const FilesPerBatch = 8

// FileTables returns a script that creates the same tables over Parquet files, a
// folder for each table, of which every micro-batch reads the next FilesPerBatch.
func FileTables(dir string) string {
	script := tables
	for _, table := range []string{"person", "auction", "bid"} {
		script = strings.ReplaceAll(script, fmt.Sprintf("'connector'='nexmark', 'event-type'='%s', $options", table),
			fmt.Sprintf("'connector'='filesystem', 'path'='%s/%s', 'format'='parquet', 'max-files-per-trigger'='%d'", dir, table, FilesPerBatch))
	}
	return script
}

// Sink returns a script that creates the table result, which a query's rows go
// to and nothing is kept of; those of q10 are written into dir.
func Sink(q Query, dir string) string {
	if q.Partitioned {
		return fmt.Sprintf("CREATE TABLE result (auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP, extra STRING, dt STRING, hm STRING)"+
			" PARTITIONED BY (dt, hm) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv')", dir+"/result")
	}
	return "CREATE TABLE result WITH ('connector'='blackhole')"
}
