package functions

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
)

// A kernel that takes columns gives each row what a function of the row gives, for
// columns of ASCII and others, with NULLs, cut anywhere.
func TestColumnsOfTextAreTheirRows(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(8, 1))
	never := expr.Kernel(func(*expr.KernelContext, []expr.Vec, int) (arrow.Array, error) { return nil, nil })
	whole := 0
	for range 3000 {
		letters := []rune("aZzA@[`{/ /.\x00\x7f")
		if r.IntN(4) == 0 {
			letters = append(letters, 'é', 'İ')
		}
		b := array.NewStringBuilder(alloc)
		var rows []string
		for range 1 + r.IntN(30) {
			var s strings.Builder
			for range r.IntN(20) {
				s.WriteRune(letters[r.IntN(len(letters))])
			}
			rows = append(rows, s.String())
			if b.Append(s.String()); r.IntN(12) == 0 {
				b.AppendNull()
				rows = append(rows, "(null)")
			}
		}
		arr := b.NewArray()
		from := r.IntN(len(rows))
		to := from + 1 + r.IntN(len(rows)-from)
		cut, rows := array.NewSlice(arr, int64(from), int64(to)), rows[from:to]
		d, part := string(letters[r.IntN(14)]), int32(1+r.IntN(6))
		delimiters, parts := array.NewStringBuilder(alloc), array.NewInt32Builder(alloc)
		delimiters.Append(d)
		parts.Append(part)
		delimiter, number := delimiters.NewArray(), parts.NewArray()
		delimiters.Append("")
		empty := delimiters.NewArray()
		for name, c := range map[string]struct {
			k      expr.Kernel
			result arrow.DataType
			args   []expr.Vec
			row    func(s string) string
		}{
			"without": {withoutColumn(never), arrow.BinaryTypes.String, []expr.Vec{{Arr: delimiter, Const: true}, {Arr: empty, Const: true}}, func(s string) string {
				return strings.ReplaceAll(s, d, "")
			}},
			"length": {lengthColumn(never), arrow.PrimitiveTypes.Int32, nil, func(s string) string { return string(rune('0' + utf8.RuneCountInString(s))) }},
			"lower":  {caseColumn('A', 'Z', never), arrow.BinaryTypes.String, nil, func(s string) string { return strings.Map(unicode.ToLower, s) }},
			"upper":  {caseColumn('a', 'z', never), arrow.BinaryTypes.String, nil, func(s string) string { return strings.Map(unicode.ToUpper, s) }},
			"split": {splitColumn(never), arrow.BinaryTypes.String, []expr.Vec{{Arr: delimiter, Const: true}, {Arr: number, Const: true}}, func(s string) string {
				p, _ := splitPart(s, d, part)
				return p
			}},
		} {
			kc := &expr.KernelContext{Alloc: alloc, Result: c.result}
			got, err := c.k(kc, append([]expr.Vec{{Arr: cut}}, c.args...), cut.Len())
			if err != nil {
				t.Fatal(err)
			}
			if got == nil {
				if name == "split" || name == "without" || strings.IndexFunc(strings.Join(rows, ""), func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
					t.Fatalf("%s leaves %q to rows", name, rows)
				}
				continue
			}
			whole++
			for i, s := range rows {
				want := c.row(s)
				if cut.IsNull(i) {
					want = "(null)"
				}
				have := got.ValueStr(i)
				if n, ok := got.(*array.Int32); ok && n.IsValid(i) {
					have = string(rune('0' + n.Value(i)))
				}
				if have != want {
					t.Fatalf("%s of %q ('%s', %d): %q, want %q", name, s, d, part, have, want)
				}
			}
			got.Release()
		}
		for _, a := range []interface{ Release() }{arr, cut, b, delimiters, parts, delimiter, number, empty} {
			a.Release()
		}
	}
	if whole < 6000 {
		t.Errorf("%d columns were taken whole", whole)
	}
}
