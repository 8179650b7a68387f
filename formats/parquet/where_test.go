package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// matching is a condition: the printed cells of its columns fulfil ok.
type matching struct {
	cols  []int
	total bool
	ok    func(cells []string) bool
	skips func(rows int64, of func(int) (batch.ColumnStats, bool)) bool
	point []any
	asked int
	fail  string // an error for rows of this text
}

func (m *matching) Columns() []int { return m.cols }
func (m *matching) Total() bool    { return m.total }
func (m *matching) Points() []any  { return m.point }
func (m *matching) Skips(rows int64, of func(int) (batch.ColumnStats, bool)) bool {
	return m.skips != nil && m.skips(rows, of)
}

func (m *matching) Select(cols []arrow.Array, n int, dst []int32) ([]int32, error) {
	m.asked += n
	cells := make([]string, len(cols))
	for i := range n {
		for k, c := range cols {
			if c.Len() != n {
				return nil, fmt.Errorf("%d rows, want %d", c.Len(), n)
			}
			cells[k] = cell(c, i)
		}
		if m.fail != "" && cells[0] == m.fail {
			return nil, errors.New("asked of a row that another condition excludes")
		}
		if m.ok(cells) {
			dst = append(dst, int32(i))
		}
	}
	return dst, nil
}

// joined is a filter that keeps what a condition is true of.
type joined struct {
	*matching
	lo, hi  int64
	bounded bool
}

func (j *joined) Active() bool                    { return true }
func (j *joined) Bounds() (lo, hi int64, ok bool) { return j.lo, j.hi, j.bounded }
func (j *joined) Keep(cols []arrow.Array, n int, dst []int32) []int32 {
	dst, _ = j.Select(cols, n, dst)
	return dst
}

// sift reads a file with conditions and prints its rows.
func sift(t *testing.T, b []byte, rows int, conds []formats.Condition, filters []formats.RowFilter) ([]string, batch.ScanCounts) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	fl, err := Open(memFile("sifted", b))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var counts batch.ScanCounts
	for _, p := range fl.Pieces() {
		r, err := fl.NewReader(p, formats.ReadSpec{Schema: fl.Schema(), Alloc: alloc, MaxRows: rows})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Where(conds) {
			t.Fatal("the reader does not apply the conditions")
		}
		r.Filter(filters)
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if rec.NumRows() == 0 {
				t.Error("a batch without rows")
			}
			for i := range int(rec.NumRows()) {
				cells := make([]string, rec.NumCols())
				for c := range cells {
					cells[c] = cell(rec.Column(c), i)
				}
				out = append(out, strings.Join(cells, "|"))
			}
			rec.Release()
		}
		counts.Add(r.Counts())
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out, counts
}

// randomCondition keeps some share of the values of one or two columns.
func randomCondition(r *rand.Rand, columns int) *matching {
	seed, share := r.Uint32(), uint32(r.IntN(11))
	m := &matching{cols: []int{r.IntN(columns)}, total: r.IntN(3) > 0}
	if r.IntN(3) == 0 {
		if c := r.IntN(columns); c > m.cols[0] {
			m.cols = append(m.cols, c)
		}
	}
	m.ok = func(cells []string) bool {
		h := seed
		for _, c := range strings.Join(cells, "|") {
			h = h*16777619 ^ uint32(c)
		}
		return h>>16%10 < share
	}
	return m
}

// TestSiftEqualsFilter compares readers that leave rows out with all rows and a filter behind.
func TestSiftEqualsFilter(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := arrowFile(t, seed)
		all, _ := sift(t, b, 0, nil, nil)
		var conds []formats.Condition
		var filters []formats.RowFilter
		var every []*matching
		for range 1 + r.IntN(4) {
			m := randomCondition(r, plainSchema.NumFields())
			every = append(every, m)
			if r.IntN(3) == 0 {
				filters = append(filters, &joined{matching: m})
			} else {
				conds = append(conds, m)
			}
		}
		var want []string
	rows:
		for _, row := range all {
			cells := strings.Split(row, "|")
			for _, m := range every {
				var mine []string
				for _, c := range m.cols {
					mine = append(mine, cells[c])
				}
				if !m.ok(mine) {
					continue rows
				}
			}
			want = append(want, row)
		}
		got, counts := sift(t, b, 1+r.IntN(2000), conds, filters)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("seed %d: %d rows, want %d of %d", seed, len(got), len(want), len(all))
		}
		if counts.Rows != int64(len(all)) || counts.Rows-counts.RowsPruned-counts.RowsSifted != int64(len(got)) {
			t.Errorf("seed %d: %+v for %d of %d rows", seed, counts, len(got), len(all))
		}
	}
}

// TestFirmConditionsFirst: a condition that can fail sees only rows that the others let pass.
func TestFirmConditionsFirst(t *testing.T) {
	b := sequence(t, 1000, 1000)
	bad := &matching{cols: []int{0}, fail: "7", ok: func([]string) bool { return true }}
	guard := &matching{cols: []int{0}, total: true, ok: func(c []string) bool { return c[0] != "7" }}
	if got, _ := sift(t, b, 0, []formats.Condition{bad, guard}, nil); len(got) != 999 {
		t.Errorf("%d rows", len(got))
	}
}

// sequence is a file of rows 0, 1, .., with text behind.
func sequence(t testing.TB, rows, group int) []byte {
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer rb.Release()
	for i := range rows {
		rb.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%10 == 3 {
			rb.Field(1).AppendNull()
		} else {
			rb.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %06d", i))
		}
	}
	rec := rb.NewRecordBatch()
	defer rec.Release()
	return write(t, []arrow.RecordBatch{rec}, map[string]string{"parquet.row-group-rows": fmt.Sprint(group)})
}

// TestPrunesByBounds reads only the row groups whose bounds may hold what is wanted.
func TestPrunesByBounds(t *testing.T) {
	b := sequence(t, 10000, 1000)
	below := func(limit int64) *matching {
		return &matching{cols: []int{0}, total: true, ok: func(c []string) bool { var v int64; fmt.Sscan(c[0], &v); return v < limit },
			skips: func(_ int64, of func(int) (batch.ColumnStats, bool)) bool {
				st, ok := of(0)
				lo, isInt := st.Min.(int64)
				return ok && isInt && lo >= limit
			}}
	}
	got, counts := sift(t, b, 0, []formats.Condition{below(1500)}, nil)
	if len(got) != 1500 || counts.GroupsPruned != 8 || counts.RowsPruned != 8000 || counts.RowsSifted != 500 {
		t.Errorf("%d rows, %+v", len(got), counts)
	}
	keys := &joined{matching: &matching{cols: []int{0}, ok: func(c []string) bool { return c[0] == "4321" }}, lo: 4321, hi: 4321, bounded: true}
	got, counts = sift(t, b, 0, nil, []formats.RowFilter{keys})
	if len(got) != 1 || counts.GroupsPruned != 9 {
		t.Errorf("by a join: %d rows, %+v", len(got), counts)
	}
}
