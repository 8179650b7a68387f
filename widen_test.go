package sluice

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// typedBed is a stream of files whose table is declared with other types from one
// session to the next.
type typedBed struct {
	*stateBed
	files int
}

func (b *typedBed) more(wide bool) {
	b.t.Helper()
	var s strings.Builder
	s.WriteString("k,f,d,v\n")
	for i := range 40 {
		n := 40*b.files + i
		big := 0
		if wide && i%4 == 0 {
			big = 5_000_000_000
		}
		fmt.Fprintf(&s, "%d,%d.5,%d.25,%d\n", n%9-3+big, n%5, n%4, n+big)
	}
	name := filepath.Join(b.dir, "in", fmt.Sprintf("t%03d.csv", b.files))
	if err := os.WriteFile(name, []byte(s.String()), 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.files++
}

func (b *typedBed) open(parts int, types [4]string, settings ...string) *Session {
	b.t.Helper()
	s := b.session(append(settings, fmt.Sprintf("parallelism=%d", parts), "checkpoint.interval=1ms")...)
	b.exec(s, fmt.Sprintf(`CREATE TABLE t (k %s, f %s, d %s, v %s) WITH ('connector'='filesystem','path'='%s/in','format'='csv','max-files-per-trigger'='1')`,
		types[0], types[1], types[2], types[3], b.dir))
	return s
}

var (
	narrowTypes = [4]string{"INT", "FLOAT", "DECIMAL(8,2)", "INT"}
	widerTypes  = [4]string{"BIGINT", "DOUBLE", "DECIMAL(14,4)", "BIGINT"}
)

// TestWidenedTypesAreConverted: keys and values of the state of each kind are those of
// the wider types afterwards: the result is the batch answer over all input, and keys
// from before and after the change meet.
func TestWidenedTypesAreConverted(t *testing.T) {
	for name, query := range map[string]string{
		"groups": "SELECT k, f, d, count(*) AS n, max(v) AS m, min(d) AS l FROM t GROUP BY k, f, d",
		"rows":   "SELECT k, f, d, sum(v) AS n, max(v) AS m, min(d) AS l FROM (SELECT k, f, d, v, dense_rank() OVER (PARTITION BY k, f, d ORDER BY v) AS r FROM t) GROUP BY k, f, d",
		"join":   "SELECT a.k, a.f, a.d, b.n, a.v AS m, a.d AS l FROM t a LEFT JOIN (SELECT k AS k2, count(*) AS n FROM t GROUP BY k) b ON a.k = b.k2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &typedBed{stateBed: newStateBed(t)}
			types := narrowTypes
			for n, parts := range []int{2, 3, 1} {
				s := b.open(parts, types)
				// The output has the types of the input: a cast to others would be part of what
				// the operators compute.
				b.exec(s, fmt.Sprintf(`CREATE TABLE o (k %[1]s, f %[2]s, d %[3]s, n BIGINT, m %[4]s, l %[3]s) WITH ('connector'='memory')`, types[0], types[1], types[2], types[3]))
				b.more(n > 0)
				b.more(n > 0)
				b.exec(s, "CREATE STREAMING QUERY q OUTPUT MODE complete AS INSERT INTO o "+query)
				b.drained(s, "q")
				b.same(fmt.Sprintf("start %d", n), b.rows(s, "SELECT * FROM o"), b.rows(s, query))
				if q, _ := s.Query("q"); n > 0 && q.Progress().BatchID < int64(2*n) {
					t.Errorf("start %d began anew", n)
				}
				b.close(s)
				types = widerTypes
			}
		})
	}
}

// TestNarrowedTypesAreRefused by column and both types.
func TestNarrowedTypesAreRefused(t *testing.T) {
	b := &typedBed{stateBed: newStateBed(t)}
	run := func(types [4]string) error {
		s := b.open(2, types)
		b.exec(s, `CREATE TABLE o (k STRING, n BIGINT) WITH ('connector'='memory')`)
		err := s.Exec(t.Context(), "CREATE STREAMING QUERY q OUTPUT MODE complete AS INSERT INTO o SELECT CAST(k AS STRING), count(*) FROM t GROUP BY k")
		if err == nil {
			b.drained(s, "q")
		}
		b.close(s)
		return err
	}
	b.more(false)
	if err := run(widerTypes); err != nil {
		t.Fatal(err)
	}
	if err := run(narrowTypes); err == nil || !strings.Contains(err.Error(), "column k of source t#0 was BIGINT and is INT, which does not hold all values of the former") {
		t.Errorf("%v", err)
	}
	if err := run([4]string{"STRING", "DOUBLE", "DECIMAL(14,4)", "BIGINT"}); err == nil || !strings.Contains(err.Error(), "column k of source t#0 was BIGINT and is STRING") {
		t.Errorf("%v", err)
	}
}
