package damage

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// kind is a kind of durable file: which one is damaged, and which of the same
// kind lends its bytes.
type kind struct {
	name  string
	files func(w *world) (victim, other string)
	// unread input changes the right answer: it is the batch answer over what is there now.
	unread bool
	// input files have a time of change by which a change is seen.
	input bool
	// repeats has the query started again and again although it was refused.
	repeats bool
	// folder is put back from a copy as a whole.
	folder bool
	only   string // the pipelines that it is done with, if not all
}

// pick returns two files of a pattern: the last and the one before, by version
// or by name.
func pick(w *world, pattern string, fromEnd int) (victim, other string) {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.dir, pattern))
	w.check(err)
	if len(found) <= fromEnd {
		return "", ""
	}
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(byVersion(a), byVersion(b)) })
	at := len(found) - 1 - fromEnd
	victim = found[at]
	if at > 0 {
		other = found[at-1]
	} else if len(found) > 1 {
		other = found[at+1]
	}
	return victim, other
}

// byVersion puts the state version of a checkpoint file in front.
func byVersion(path string) string {
	f := strings.Split(filepath.Base(path), ".")
	if len(f) == 5 {
		return f[2] + f[1] + f[3]
	}
	return filepath.Base(path)
}

func glob(pattern string, fromEnd int) func(*world) (string, string) {
	return func(w *world) (string, string) { return pick(w, pattern, fromEnd) }
}

func inputFile(i int) func(*world) (string, string) {
	return func(w *world) (string, string) {
		return filepath.Join(w.dir, w.input(i)), filepath.Join(w.dir, w.input(i-1))
	}
}

var kinds = []kind{
	{name: "batch log", repeats: true, files: func(w *world) (string, string) {
		log, _ := pick(w, "ck/q/log/*.log", 0)
		return log, filepath.Join(w.dir, "ck/q/sources/events#0/files.log")
	}},
	{name: "metadata", only: "windows", files: func(w *world) (string, string) {
		log, _ := pick(w, "ck/q/log/*.log", 0)
		return filepath.Join(w.dir, "ck/q/checkpoint.meta"), log
	}},
	{name: "file log", only: "windows joined", files: func(w *world) (string, string) {
		log, _ := pick(w, "ck/q/log/*.log", 0)
		return filepath.Join(w.dir, "ck/q/sources/events#0/files.log"), log
	}},
	{name: "run", files: glob("ck/q/state/*.run", 0)},
	{name: "another run", files: glob("ck/q/state/*.run", 1)},
	{name: "all state", files: func(*world) (string, string) { return "", "" }, only: "totals"},
	{name: "newest manifest", files: glob("out/_sluice/*/manifests/*", 0)},
	{name: "older manifest", files: glob("out/_sluice/*/manifests/*", 2), only: "windows totals"},
	{name: "whole checkpoint", files: func(w *world) (string, string) { return filepath.Join(w.dir, "ck"), "" }, folder: true, repeats: true},
	{name: "whole output", files: func(w *world) (string, string) { return filepath.Join(w.dir, "out"), "" }, folder: true, repeats: true},
	{name: "input, done", files: inputFile(1), input: true},
	{name: "input, to replay", files: inputFile(phases*filesPerPhase - 1), input: true},
	{name: "input, unread", files: inputFile(phases * filesPerPhase), input: true, unread: true},
	{name: "table", files: func(w *world) (string, string) {
		return filepath.Join(w.dir, "dim.csv"), filepath.Join(w.dir, w.input(0))
	}, input: true, only: "joined"},
}

// damage changes a file's bytes; nil bytes mean that it is removed.
type damage struct {
	name string
	do   func(w *world, path, other string, b []byte) (out []byte, ok bool)
	// quiet damage of an input keeps its time of change, as a failing disk does.
	quiet bool
}

func simple(f func(b []byte) []byte) func(*world, string, string, []byte) ([]byte, bool) {
	return func(_ *world, _, _ string, b []byte) ([]byte, bool) {
		if len(b) == 0 {
			return nil, false
		}
		return f(b), true
	}
}

func flip(at func(n int) int) func(*world, string, string, []byte) ([]byte, bool) {
	return simple(func(b []byte) []byte { b[at(len(b))] ^= 0x10; return b })
}

var damages = []damage{
	{name: "empty", do: simple(func(b []byte) []byte { return []byte{} })},
	{name: "half", do: simple(func(b []byte) []byte { return b[:len(b)/2] })},
	{name: "one byte short", do: simple(func(b []byte) []byte { return b[:len(b)-1] })},
	{name: "flip in head", do: flip(func(n int) int { return min(9, n-1) })},
	{name: "flip in body", do: flip(func(n int) int { return n / 2 })},
	{name: "flip in tail", do: flip(func(n int) int { return n - 2 })},
	{name: "quiet flip", do: flip(func(n int) int { return n / 2 }), quiet: true},
	{name: "zeroed page", do: simple(func(b []byte) []byte {
		from := len(b) / 2 &^ 4095
		clear(b[from:min(from+4096, len(b))])
		return b
	})},
	{name: "zeroed end", do: simple(func(b []byte) []byte { clear(b[len(b)*3/4:]); return b })},
	{name: "older version", do: func(w *world, path, _ string, b []byte) ([]byte, bool) {
		rel, err := filepath.Rel(w.dir, path)
		w.check(err)
		old, err := os.ReadFile(filepath.Join(w.past[0], rel))
		if err != nil || bytes.Equal(old, b) {
			return nil, false // it was not there, or has never changed
		}
		return old, true
	}},
	{name: "last version", do: func(w *world, path, _ string, b []byte) ([]byte, bool) {
		rel, err := filepath.Rel(w.dir, path)
		w.check(err)
		old, err := os.ReadFile(filepath.Join(w.past[phases-2], rel))
		if err != nil || bytes.Equal(old, b) {
			return nil, false
		}
		return old, true
	}},
	{name: "another's bytes", do: func(w *world, _, other string, b []byte) ([]byte, bool) {
		if other == "" {
			return nil, false
		}
		o, err := os.ReadFile(other)
		w.check(err)
		return o, !bytes.Equal(o, b)
	}},
	{name: "missing", do: func(*world, string, string, []byte) ([]byte, bool) { return nil, true }},
	{name: "extra tail", do: simple(func(b []byte) []byte { return append(b, "\x07\x00\x00\x00garbage behind the end"...) })},
	{name: "doubled tail", do: simple(func(b []byte) []byte { return append(b, b[len(b)*2/3:]...) })},
	{name: "doubled", do: simple(func(b []byte) []byte { return append(b, b...) })},
}

// putBack replaces a folder by a copy of it.
func (w *world) putBack(dir string, d damage) bool {
	w.t.Helper()
	var from string
	switch d.name {
	case "older version":
		from = w.past[0]
	case "last version":
		from = w.past[phases-2]
	default:
		return false
	}
	w.check(os.RemoveAll(dir))
	w.copyTree(filepath.Join(from, filepath.Base(dir)), dir)
	return true
}

// apply damages one file.
func (d *damage) apply(w *world, path, other string) bool {
	w.t.Helper()
	b, err := os.ReadFile(path)
	w.check(err)
	info, err := os.Stat(path)
	w.check(err)
	out, ok := d.do(w, path, other, bytes.Clone(b))
	if !ok || out != nil && bytes.Equal(out, b) {
		return false
	}
	if out == nil {
		w.check(os.Remove(path))
		return true
	}
	w.check(os.WriteFile(path, out, 0o644))
	at := info.ModTime()
	if !d.quiet {
		at = at.Add(time.Second)
	}
	w.check(os.Chtimes(path, at, at))
	return true
}
