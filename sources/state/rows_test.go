package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// versions drives a store through random changes and returns a manifest and the rows
// of each version, from a map.
func versions(t *testing.T, rng *rand.Rand, fs vfsx.FS, n int) (ms []statestore.Manifest, models []map[string]string) {
	t.Helper()
	store, err := mem.Open(mem.Options{FS: fs, Dir: "state", ChangesMax: 5})
	if err != nil {
		t.Fatal(err)
	}
	shard := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	rows := map[string]string{}
	for v := range batch.ID(n) {
		txn, err := store.Begin(t.Context(), shard, v-1)
		if err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(40) {
			key := fmt.Sprintf("%c%02d", byte(rng.IntN(5)*50), rng.IntN(30))
			if rng.IntN(3) == 0 {
				delete(rows, key)
				err = txn.Delete([]byte(key))
			} else {
				rows[key] = fmt.Sprint(v, rng.IntN(2))
				err = txn.Put([]byte(key), []byte(rows[key]))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := txn.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		m, err := store.Checkpoint(t.Context(), shard, v)
		if err != nil {
			t.Fatal(err)
		}
		ms, models = append(ms, m), append(models, maps.Clone(rows))
	}
	return ms, models
}

// TestRowsOfVersions reads every version as it lies, whole and in part, and tells
// how one came to be another, against maps.
func TestRowsOfVersions(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfsx.NewMem()
		ms, models := versions(t, rng, fs, 12)
		read := func(v, first, end int) map[string]string {
			got, last := map[string]string{}, ""
			for row, err := range versionRows(t.Context(), fs, "state", ms[v:v+1], first, end) {
				if err != nil {
					t.Fatal(err)
				}
				if key := string(row.key); key <= last {
					t.Fatalf("%q after %q", key, last)
				} else {
					last = key
				}
				got[string(row.key)] = string(row.value)
			}
			return got
		}
		for v, model := range models {
			if got := read(v, 0, batch.KeyGroups); !maps.Equal(got, model) {
				t.Fatalf("seed %d, version %d: %v, want %v", seed, v, got, model)
			}
			part := maps.Clone(model)
			maps.DeleteFunc(part, func(k, _ string) bool { return k[0] < 50 || k[0] >= 150 })
			if got := read(v, 50, 150); !maps.Equal(got, part) {
				t.Fatalf("seed %d, groups 50 to 150 of version %d: %v, want %v", seed, v, got, part)
			}
		}
		a, b := rng.IntN(len(ms)), rng.IntN(len(ms))
		old, now := models[a], models[b]
		at := maps.Clone(old)
		for c, err := range compare(versionRows(t.Context(), fs, "state", ms[a:a+1], 0, 256), versionRows(t.Context(), fs, "state", ms[b:b+1], 0, 256)) {
			if err != nil {
				t.Fatal(err)
			}
			k, v := string(c.row.key), string(c.row.value)
			switch had, ok := at[k]; {
			case c.kind == "-U" || c.kind == "-D":
				if had != v {
					t.Fatalf("%s of %s = %s, it was %s", c.kind, k, v, had)
				}
				delete(at, k)
			case ok:
				t.Fatalf("%s of %s, which is there", c.kind, k)
			default:
				at[k] = v
			}
		}
		if !maps.Equal(at, now) {
			t.Fatalf("seed %d: changes from %d to %d give %v, want %v", seed, a, b, at, now)
		}
	}
}

// A flipped bit in any file is an error, and never a row.
func TestDamagedRowsAreRefused(t *testing.T) {
	fs := vfsx.NewMem()
	ms, models := versions(t, rand.New(rand.NewPCG(3, 3)), fs, 4)
	m, model := ms[3], models[3]
	for _, p := range m.Parts {
		name := "state/" + p.Name
		good, err := vfsx.ReadFile(fs, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for at := range good {
			bad := slices.Clone(good)
			bad[at] ^= 4
			if err := vfsx.WriteFileAtomic(fs, name, bad); err != nil {
				t.Fatal(err)
			}
			var failed error
			for row, err := range versionRows(context.Background(), fs, "state", []statestore.Manifest{m}, 0, 256) {
				if failed = err; err == nil && model[string(row.key)] == "" {
					failed = nil
				}
			}
			if !errors.Is(failed, checkpoint.ErrDamaged) {
				t.Fatalf("%s, byte %d: %v", name, at, failed)
			}
		}
		if err := vfsx.WriteFileAtomic(fs, name, good); err != nil {
			t.Fatal(err)
		}
	}
}

// A description comes back as it was, and no damaged one is taken for one.
func TestPlanInfo(t *testing.T) {
	form := physical.StateForm{Operator: "a", Kind: physical.RowState, Line: "Recompute a", Detail: "closes by key 0",
		Keys: []arrow.Field{{Name: "k", Type: arrow.BinaryTypes.String, Nullable: true}},
		Values: [][]arrow.Field{{{Name: "x", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}, Nullable: true}},
			{{Name: "y", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}, {Name: "z", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true}}}}
	p := PlanInfo{Hash: "h", Engine: "e", SQL: "s", Operators: []OperatorInfo{InfoOf(form)}, Sources: []SourceInfo{{Name: "t#0", Table: "t", Stream: true}}}
	data, err := EncodePlan(p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePlan(data)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Fatalf("got %+v, %v", got, err)
	}
	back, err := got.Operators[0].Form()
	if err != nil || Difference(form, back) != "" || Columns(back, true).String() != Columns(form, true).String() {
		t.Errorf("form %+v, %v: %s", back, err, Difference(form, back))
	}
	for at := range data {
		bad := slices.Clone(data)
		bad[at] ^= 2
		if _, err := DecodePlan(bad); err == nil {
			t.Fatalf("byte %d is flipped, and the description is read", at)
		}
	}
	for n := range p.Operators[0].Keys {
		if _, err := DecodeSchema(p.Operators[0].Keys[:n]); err == nil && n < len(p.Operators[0].Keys)-8 {
			t.Fatalf("a schema cut to %d bytes is read", n)
		}
	}
	other := form
	other.Values = [][]arrow.Field{form.Values[0], {{Name: "q", Type: arrow.PrimitiveTypes.Int64}}}
	if d := Difference(form, other); d != "column q was TIMESTAMP and is BIGINT, column z ARRAY<INT> is gone" {
		t.Errorf("difference: %s", d)
	}
}
