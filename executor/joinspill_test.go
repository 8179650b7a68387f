package executor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
)

// spilledJoin runs a join with a budget and returns the bytes that it spilled.
func spilledJoin(t *testing.T, c joinCase, seed uint64, rows [2]int, domain int, budget int64) int64 {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(seed, 1))
	fields := func(p string) []arrow.Field {
		return []arrow.Field{{Name: p + "0", Type: tInt}, {Name: p + "1", Type: tString}, {Name: p + "2", Type: tInt}}
	}
	left, right := randomTable(r, alloc, rows[0], domain, fields("l")...), randomTable(r, alloc, rows[1], domain, fields("r")...)
	e := newEngine(t, alloc, c.plan(left, right), 2)
	e.spill = filepath.Join(t.TempDir(), "task")
	held := int64(0)
	e.env = func(env *Env) {
		env.Budget = budget
		env.Charge = func(n int64) error { held += n; return nil }
	}
	e.sources["l"], e.sources["r"] = left.cut(r, 0, rows[0], 2), right.cut(r, 0, rows[1], 2)
	var spilled int64
	for id := range 2 {
		got := e.run(batch.ID(id), batch.NoTime, batch.NoTime)
		sameRows(t, fmt.Sprintf("%+v rows %v budget %d", c, rows, budget), got, c.nested(left, right))
		if g := e.tasks[2].root.(*watched).op.(*hashJoin).spill; g != nil { // of the last partition
			spilled += g.bytes
		}
		if _, err := os.Stat(e.spill); !os.IsNotExist(err) {
			t.Errorf("the spill folder is left: %v", err)
		}
	}
	e.sources["l"].release()
	e.sources["r"].release()
	left.rec.Release()
	right.rec.Release()
	e.close()
	if held != 0 {
		t.Errorf("%d bytes stay charged", held)
	}
	return spilled
}

func TestASpilledJoinEqualsTheNestedLoop(t *testing.T) {
	for kind := logical.Inner; kind <= logical.Cross; kind++ {
		for flags := range 8 {
			if testing.Short() && (flags+int(kind))%3 > 0 {
				continue
			}
			c := joinCase{kind: kind, buildLeft: flags&1 > 0, nullSafe: flags&2 > 0, residual: flags&4 > 0, keys: 1 + flags&1}
			if kind == logical.Cross {
				c.keys = 0
			}
			// One byte: all is cut to the end and taken in pieces. Few keys: cutting is no use.
			for _, x := range []struct {
				budget int64
				domain int
			}{{8, 2}, {8 * 1024, 100}, {1 << 30, 2}} {
				spilled := spilledJoin(t, c, uint64(flags), [2]int{50, 60}, x.domain, x.budget)
				if want := x.budget < 1<<30; (spilled > 0) != want {
					t.Errorf("%+v with a budget of %d spilled %d bytes", c, x.budget, spilled)
				}
			}
		}
	}
	spilledJoin(t, joinCase{kind: logical.FullOuter, keys: 2}, 1, [2]int{150, 180}, 200, 8)
}

func TestSharedJoinTablesAreMadeOnceAndGo(t *testing.T) {
	for _, static := range []bool{false, true} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		r := rand.New(rand.NewPCG(3, 4))
		fields := []arrow.Field{{Name: "a", Type: tInt}, {Name: "b", Type: tString}, {Name: "c", Type: tInt}}
		left, right := randomTable(r, alloc, 300, 20, fields...), randomTable(r, alloc, 40, 20, fields...)
		c := joinCase{kind: logical.LeftOuter, keys: 2}
		plan := c.broadcastPlan(left, right)
		plan.Stages[1].Static = static
		e := newEngine(t, alloc, plan, 1)
		tables := NewTables()
		e.env = func(env *Env) { env.Tables = tables }
		e.sources["l"], e.sources["r"] = left.cut(r, 0, 300, 3), right.cut(r, 0, 40, 1)
		for id := range 2 {
			sameRows(t, fmt.Sprint("batch ", id), e.run(batch.ID(id), batch.NoTime, batch.NoTime), c.nested(left, right))
			if n := len(tables.mu.tables); (n > 0) != static {
				t.Errorf("static %v: %d tables are kept after batch %d", static, n, id)
			}
		}
		e.sources["l"].release()
		e.sources["r"].release()
		left.rec.Release()
		right.rec.Release()
		tables.Close()
		e.close()
		alloc.AssertSize(t, 0)
	}
}
