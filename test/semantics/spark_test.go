package semantics

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
)

const sparkTables = `
CREATE TABLE ev (ts TIMESTAMP, k STRING, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='filesystem', 'path'='$DIR/ev', 'format'='csv');
CREATE TABLE l (lt TIMESTAMP, k STRING, lv BIGINT, WATERMARK FOR lt AS lt - INTERVAL '2' SECOND) WITH ('connector'='filesystem', 'path'='$DIR/l', 'format'='csv');
CREATE TABLE r (rt TIMESTAMP, k STRING, rv BIGINT, WATERMARK FOR rt AS rt - INTERVAL '4' SECOND) WITH ('connector'='filesystem', 'path'='$DIR/r', 'format'='csv')`

// sparkAnswer is what Spark put out for a query: for each round of files what each
// of its batches held, empty ones included.
type sparkAnswer struct {
	Name   string               `json:"name"`
	Mode   string               `json:"mode"`
	Tables []string             `json:"tables"`
	SQL    string               `json:"sql"`
	Rounds []map[string][][]any `json:"rounds"`
	Want   [][][]string         `json:"want"`
	Late   []int64              `json:"late"`
}

// TestSparkAnswers holds queries to what Spark 4 put out for the same files, round
// by round. testdata/spark.json was written by spark.py.
func TestSparkAnswers(t *testing.T) {
	b, err := os.ReadFile("testdata/spark.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers []sparkAnswer
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&answers); err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(a.Name+"/"+a.Mode, func(t *testing.T) {
			t.Parallel()
			for _, restart := range []bool{false, true} {
				if err := a.check(t.Context(), t.TempDir(), restart, []int{1, 3, 7}[i%3]); err != nil {
					t.Errorf("restart %t: %v", restart, err)
				}
			}
		})
	}
}

func (a *sparkAnswer) check(ctx context.Context, dir string, restart bool, parts int) (err error) {
	modes := map[string]sluice.Mode{"append": sluice.Append, "update": sluice.Update, "complete": sluice.Complete}
	r := newRun(&oneCase{sql: a.SQL, ddl: sparkTables, dir: dir, free: true}, modes[a.Mode], parts, restart)
	if err := r.open(ctx); err != nil {
		return err
	}
	defer func() {
		if serr := r.stop(ctx); err == nil {
			err = serr
		}
	}()
	if err := r.start(ctx); err != nil {
		return err
	}
	seen := int64(-1)
	for n, round := range a.Rounds {
		var feeds []feed
		for _, table := range a.Tables {
			if rows, ok := round[table]; ok {
				feeds = append(feeds, feed{table: table, rows: sparkRows(rows)})
			}
		}
		if _, err := r.batch(ctx, n, feeds); err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		got, err := r.newRows(&seen)
		if err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		if want := a.rows(n); !slices.Equal(got, want) {
			return fmt.Errorf("round %d of %s:\n got %v\nwant %v", n, a.SQL, got, want)
		}
	}
	return nil
}

// rows is what came out in a round, without the bounds of its batches: of complete
// mode the last one's.
func (a *sparkAnswer) rows(n int) []string {
	var out []string
	for _, b := range a.Want[n] {
		if a.Mode == "complete" {
			out = out[:0]
		}
		out = append(out, b...)
	}
	if !strings.Contains(a.SQL, "ORDER BY") {
		slices.Sort(out)
	}
	return out
}

// newRows is what the run has put out in batches behind one, in the same way.
func (r *run) newRows(seen *int64) ([]string, error) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	var ids []int64
	for id := range r.out.batches {
		if id > *seen {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var out []string
	for _, id := range ids {
		*seen = id
		if r.mode == sluice.Complete {
			out = out[:0]
		}
		b := r.out.batches[id]
		for i, row := range b.rows {
			if b.ops != nil && b.ops[i] != "+I" && b.ops[i] != "+U" {
				if r.mode == sluice.Append {
					return nil, fmt.Errorf("batch %d takes %s back", id, rowText(row))
				}
				continue // Spark has no word for it
			}
			out = append(out, rowText(row))
		}
	}
	if !strings.Contains(r.c.sql, "ORDER BY") {
		slices.Sort(out)
	}
	return out, nil
}

func sparkRows(rows [][]any) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		for c, v := range row {
			switch {
			case v == nil:
				out[i] = append(out[i], "")
			case c == 0:
				out[i] = append(out[i], csvValue("@"+fmt.Sprint(v)))
			default:
				out[i] = append(out[i], csvValue(fmt.Sprint(v)))
			}
		}
	}
	return out
}
