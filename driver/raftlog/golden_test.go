package raftlog

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

var rewrite = flag.Bool("rewrite", false, "write the golden bytes anew: only for a format that was never released")

// testdata holds what versions wrote, in hexadecimal. It must be readable for ever; a
// new version gets files of its own.
func TestGolden(t *testing.T) {
	fs := vfsx.NewMem()
	must(t, fs.MkdirAll(logs, 0o700))
	must(t, fs.MkdirAll("node/snapshots", 0o700))
	st := newState()
	send(t, st, 2, setCluster{"c-1"})
	send(t, st, 2, setDriver{Driver{ID: "d1", Disk: "disk-1", Address: "h:1", Client: "h:2", Engine: "0.1"}})
	send(t, st, 2, createQuery{sampleQuery("q-1", "hot")})
	send(t, st, 2, beginLife{"q-1"})
	send(t, st, 2, assign{"q-1", 2, Assignment{Life: 1, Workers: []WorkerEpoch{{"w1", 4}}, Partitions: []int{0, 0}}})
	send(t, st, 2, appendRecords{"q-1", 2, group(planned(2, 0), committed(2, 0))})
	first := st.clone() // what version 1 of the image knew
	send(t, st, 2, setPipeline{Pipeline{Name: "p", SQL: "CREATE TABLE t ..", Created: time.UnixMicro(1_700_000_000_000_000).UTC()}})
	files := map[string][]byte{"v1.meta": identity{"d1", "disk-1"}.encode()}

	s, err := openStore(fs, logs, "disk-1", 1<<20, func(error) {}, nil)
	must(t, err)
	cmd, err := encodeCommand(appendRecords{"q-1", 2, group(planned(2, 1))})
	must(t, err)
	ls := entries(2, 1, 2)
	ls[1].Data = cmd
	must(t, s.StoreLogs(ls))
	must(t, s.SetUint64([]byte(keyTerm), 2))
	must(t, s.DeleteRange(2, 2))
	must(t, s.DeleteRange(1, 1))
	must(t, s.StoreLogs(entries(3, 2, 3)))
	was := contents(s)
	must(t, s.Close())
	files["v1.log"], err = vfsx.ReadFile(fs, logs+"/"+segmentFiles.Name(1), 1<<20)
	must(t, err)

	snaps, err := openSnapshots(fs, "node/snapshots", func(error) {}, nil)
	must(t, err)
	sink, err := snaps.Create(1, 7, 2, raft.Configuration{Servers: []raft.Server{{ID: "d1", Address: "h:1/disk-1"}}}, 1, nil)
	must(t, err)
	must(t, picture{st}.Persist(sink))
	name := sink.ID()
	files["v2.snap"], err = vfsx.ReadFile(fs, "node/snapshots/"+name, 1<<20)
	must(t, err)

	for file, got := range files {
		path := "testdata/" + file + ".hex"
		if *rewrite {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644))
		}
		text, err := os.ReadFile(path)
		must(t, err)
		old, err := hex.DecodeString(strings.TrimSpace(string(text)))
		must(t, err)
		if !bytes.Equal(got, old) {
			t.Errorf("the bytes of %s have changed; they are now\n%x", file, got)
		}
		files[file] = old
	}
	must(t, vfsx.WriteFileAtomic(fs, logs+"/"+segmentFiles.Name(1), files["v1.log"]))
	was1, err := os.ReadFile("testdata/v1.snap.hex")
	must(t, err)
	files["v1.snap"], err = hex.DecodeString(strings.TrimSpace(string(was1)))
	must(t, err)
	if s, err = openTestStore(fs); err != nil || contents(s) != was {
		t.Fatalf("the golden segment: %v", err)
	}
	must(t, s.Close())
	for file, want := range map[string]*state{"v1.snap": first, "v2.snap": st} {
		must(t, vfsx.WriteFileAtomic(fs, "node/snapshots/"+name, files[file]))
		if snaps, err = openSnapshots(fs, "node/snapshots", func(error) {}, nil); err != nil || len(snaps.mu.kept) != 1 {
			t.Fatalf("the golden snapshot %s: %v, %v", file, err, snaps.mu.broken)
		}
		meta, r, err := snaps.Open(name)
		must(t, err)
		back, err := readImage(r)
		must(t, err)
		must(t, r.Close())
		if !bytes.Equal(image(t, back), image(t, want)) || meta.Index != 7 || meta.Term != 2 || meta.Configuration.Servers[0].ID != "d1" {
			t.Errorf("the golden snapshot %s reads as %+v", file, meta)
		}
	}
	if who, err := decodeIdentity(files["v1.meta"]); err != nil || who != (identity{"d1", "disk-1"}) {
		t.Errorf("the golden identity reads as %+v, %v", who, err)
	}
}
