package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// Rows of state come in batches of a bounded size, whole and once, however they are asked for.
func TestStateIsReadInPieces(t *testing.T) {
	store, err := mem.Open(mem.Options{FS: vfsx.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	shard := batch.Shard{Operator: "o", EndGroup: batch.KeyGroups}
	txn, err := store.Begin(t.Context(), shard, batch.None)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	value := func(k string) []byte { return bytes.Repeat([]byte(k), 400_000/len(k)) }
	for i := range 10 {
		for _, k := range []string{fmt.Sprintf("%da", i), fmt.Sprintf("%da\x00", i), fmt.Sprintf("%db", i)} {
			all = append(all, k)
			if err := txn.Put([]byte(k), value(k)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := txn.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	many := [][]byte{[]byte("none")}
	for range 2 * keysMax {
		many = append(many, []byte("no such key"))
	}
	for name, c := range map[string]struct {
		ask  transport.ReadState
		want []string
	}{
		"all":          {transport.ReadState{}, all},
		"no key":       {transport.ReadState{Keys: [][]byte{}}, nil},
		"keys":         {transport.ReadState{Keys: append(slices.Clone(many), []byte("3a\x00"), []byte("7b"))}, []string{"3a\x00", "7b"}},
		"ranges":       {transport.ReadState{Keys: [][]byte{[]byte("2"), []byte("55"), []byte("8a")}, Ends: [][]byte{[]byte("4"), []byte("56"), []byte("8b")}}, []string{"2a", "2a\x00", "2b", "3a", "3a\x00", "3b", "8a", "8a\x00"}},
		"range to end": {transport.ReadState{Keys: [][]byte{[]byte("9a")}, Ends: [][]byte{{}}}, []string{"9a", "9a\x00", "9b"}},
	} {
		t.Run(name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			txn, err := store.Begin(t.Context(), shard, 0)
			if err != nil {
				t.Fatal(err)
			}
			let := 0
			r := &stateReader{ask: c.ask, txn: txn, alloc: alloc, done: func() { let++ }}
			var got []string
			for {
				rec, err := r.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				keys, values := rec.Column(0).(*array.Binary), rec.Column(1).(*array.Binary)
				if rec.NumRows() > 3 {
					t.Errorf("a batch has %d rows of 400 kB", rec.NumRows())
				}
				for i := range keys.Len() {
					k := string(keys.Value(i))
					if got = append(got, k); !bytes.Equal(values.Value(i), value(k)) {
						t.Errorf("key %q has another value", k)
					}
				}
				rec.Release()
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("read are %q, want %q", got, c.want)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if cancel(); !r.over {
				t.Error("there is more")
			}
			r.over = false
			if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("after its end: %v", err)
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil || let != 1 {
				t.Errorf("closed: %v, let go of %d times", err, let)
			}
			if _, err := r.Next(t.Context()); err == nil {
				t.Error("a closed reader reads")
			}
		})
	}
}
