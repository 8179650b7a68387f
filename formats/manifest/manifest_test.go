package manifest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// TestFoldAgrees: the files that a fold stands for are those of its parts, however they are cut.
func TestFoldAgrees(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		var ms []Manifest
		live := map[string]bool{}
		for i := range batch.ID(20) {
			m := Manifest{From: i, To: i, Files: []File{{Name: fmt.Sprint("f", i)}}}
			if r.IntN(8) == 0 {
				m.Replaces = true
				clear(live)
			} else {
				for n := range live {
					if r.IntN(4) == 0 {
						m.Removed = append(m.Removed, n)
					}
				}
				for _, n := range m.Removed {
					delete(live, n)
				}
			}
			live[m.Files[0].Name] = true
			ms = append(ms, m)
		}
		from := r.IntN(18)
		to := from + 2 + r.IntN(19-from)
		cut := slices.Concat(ms[:from], []Manifest{Fold(ms[from:min(to, 20)])}, ms[min(to, 20):])
		for _, list := range [][]Manifest{ms, cut} {
			got := Fold(list).Files
			if len(got) != len(live) {
				t.Fatalf("seed %d: %d files, want %d", seed, len(got), len(live))
			}
			for _, f := range got {
				if !live[f.Name] {
					t.Fatalf("seed %d: %s is gone", seed, f.Name)
				}
			}
		}
	}
}

// TestListCovers leaves out what a fold stands for, whatever a crash has left of it.
func TestListCovers(t *testing.T) {
	fs := vfsx.NewMem()
	if err := fs.MkdirAll("m", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, m := range []Manifest{{From: 0, To: 9}, {From: 3, To: 3}, {From: 9, To: 9}, {From: 9, To: 9, Seq: 1}, {From: 10, To: 10}, {From: 12, To: 12}, {From: 12, To: 12, Seq: 1}} {
		if m.To == 9 && m.From == 0 {
			m.Seq = 1
		}
		f, err := fs.Create(fs.PathJoin("m", NameOf(m)), vfsx.Unspecified)
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	live, covered, err := List(fs, "m")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range live {
		got = append(got, fmt.Sprintf("%d-%d.%d", e.From, e.To, e.Seq))
	}
	if want := "[0-9.1 10-10.0 12-12.0 12-12.1]"; fmt.Sprint(got) != want || len(covered) != 3 {
		t.Errorf("got %v and %v, want %s", got, covered, want)
	}
}

// TestVersion1 decodes bytes that version 1 has written. They are never written again.
func TestVersion1(t *testing.T) {
	b, err := os.ReadFile("testdata/manifest-1")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(b)
	want := Manifest{Query: "q-1", From: 7, To: 7, Seq: 1, Term: 3, Rows: 12, Digest: batch.Digest{Hi: 1, Lo: 2}, Replaces: true, Removed: []string{"old.csv"},
		Files: []File{{Name: "p=1/new.csv", Size: 99, Rows: 12, Staged: "x.staged"}}, Compacts: true}
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Fatalf("%+v %v", m, err)
	}
	if again, err := Encode(want); err != nil || !bytes.Equal(again, b) {
		t.Errorf("version 1 is written as %q", again)
	}
	if _, err := Decode([]byte("sluice-manifest 3 x")); err == nil || !strings.Contains(err.Error(), "version 3, and this program knows version 2") {
		t.Error(err)
	}
}

// TestVersion2 pins the bytes of an overwrite's manifest.
func TestVersion2(t *testing.T) {
	want := Manifest{Query: "q", From: 2, To: 2, Term: 1, Files: []File{{Name: "new.csv", Size: 9, Rows: 1}}, Overwrites: []string{"old.csv", "x/y.csv"}}
	b, err := os.ReadFile("testdata/v2.manifest")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := Decode(b); err != nil || !reflect.DeepEqual(m, want) {
		t.Fatalf("%+v %v", m, err)
	}
	if again, err := Encode(want); err != nil || !bytes.Equal(again, b) {
		t.Errorf("version 2 is written as %q", again)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(Manifest{Query: "q", Files: []File{{Name: "x"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = Decode(b) })
}

// TestUnderAnotherName: a whole manifest in another's place is damage.
func TestUnderAnotherName(t *testing.T) {
	fs := vfsx.NewMem()
	b, err := Encode(Manifest{Query: "q", From: 3, To: 3})
	if err != nil {
		t.Fatal(err)
	}
	name := NameOf(Manifest{From: 4, To: 4})
	if err := vfsx.WriteFileAtomic(fs, name, b); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(fs, "", name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("read as %v", err)
	}
}

// TestMissingManifest: a reader refuses a directory that has lost a manifest,
// also when those around it were folded.
func TestMissingManifest(t *testing.T) {
	for lost := range batch.ID(6) {
		fs := vfsx.NewMem()
		dir := fs.PathJoin("out", Root, "q", Manifests)
		if err := vfsx.MkdirAll(fs, dir, 0o777); err != nil {
			t.Fatal(err)
		}
		var all []Manifest
		for i := range batch.ID(6) {
			m := Manifest{From: 2 * i, To: 2 * i}
			if i > 0 {
				m.After = NameOf(all[i-1])
			}
			all = append(all, m)
		}
		put := append([]Manifest{all[0], Fold(all[1:3])}, all[3:]...)
		for _, m := range put {
			b, err := Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if m.From == 2*lost {
				continue
			}
			if err := vfsx.WriteFileAtomic(fs, fs.PathJoin(dir, NameOf(m)), b); err != nil {
				t.Fatal(err)
			}
		}
		// The end of the chain is known to its writer alone; 2 lies within the fold.
		_, err := Committed(fs, "out")
		if whole := lost == 5 || lost == 2; whole != (err == nil) || err != nil && !strings.Contains(err.Error(), "is missing") {
			t.Errorf("without batch %d: %v", 2*lost, err)
		}
	}
}
