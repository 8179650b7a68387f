//go:build linux

package partition

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// copies are the rows that the query without state has written, read as they come by who
// knows nothing of the engine.
type copies struct {
	dir   string
	files map[string]bool
	rows  int
	seqs  [keys]map[int]bool
	// last is of each key the batch of its newest row and that row, and batches are those
	// that the files of the input have come in.
	last    [keys]struct{ batch, v int }
	batches map[int]int
}

// listing is how long the engine may take to list the input.
const listing = 5 * time.Second

// ofBatch finds the batch in the name of an output's file.
var ofBatch = regexp.MustCompile(`^[a-z]+-(\d+)-`)

// read reads the files that have come since: rows that were given, each once, and of each
// key in the order of batches.
func (c *copies) read(g *given) error {
	found, err := filepath.Glob(filepath.Join(c.dir, "*.csv"))
	if err != nil {
		return err
	}
	type file struct {
		name  string
		batch int
	}
	var fresh []file
	for _, name := range found {
		if c.files[name] {
			continue
		}
		m := ofBatch.FindStringSubmatch(filepath.Base(name))
		if m == nil {
			return fmt.Errorf("the name of file %s has no batch", name)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return err
		}
		fresh = append(fresh, file{name, n})
	}
	slices.SortFunc(fresh, func(a, b file) int { return a.batch - b.batch })
	for _, f := range fresh {
		c.files[f.name] = true
		if err := c.readFile(g, f.name, f.batch); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(f.name), err)
		}
	}
	return nil
}

func (c *copies) readFile(g *given, name string, batch int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil {
		return err
	}
	for _, r := range rows {
		var k, seq, v int
		if n, err := fmt.Sscanf(strings.Join(r, " "), "%d %d %d", &k, &seq, &v); n != 3 || err != nil || k < 0 || k >= keys {
			return fmt.Errorf("row %q: %v", r, err)
		}
		if seq >= g.seqs[k] || v*31%keys != k || v/keys != seq {
			return fmt.Errorf("row %q was never given", r)
		}
		if c.seqs[k] == nil {
			c.seqs[k] = map[int]bool{}
		}
		if c.seqs[k][seq] {
			return fmt.Errorf("row %q is there twice", r)
		}
		// A folder that is listed while files come to it may show a file and not yet one that
		// came a moment before: such files may be taken the other way round.
		if last := &c.last[k]; batch != last.batch && v < last.v && g.times[last.v/rowsPerFile].Sub(g.times[v/rowsPerFile]) > listing {
			return fmt.Errorf("of key %d, row %d of batch %d comes behind %d of batch %d", k, v, batch, last.v, last.batch)
		} else if v >= last.v {
			last.batch, last.v = batch, v
		}
		if was, ok := c.batches[v/rowsPerFile]; ok && was != batch {
			return fmt.Errorf("of file %d there are rows in batch %d and in batch %d", v/rowsPerFile, was, batch)
		}
		c.batches[v/rowsPerFile] = batch
		c.seqs[k][seq] = true
		c.rows++
	}
	return nil
}

// all waits until everything that was given is in the copies, and tells how long that took.
// What the other queries show is compared at the end.
func (s *scene) all(when string) time.Duration {
	s.t.Helper()
	begun := time.Now()
	s.until("all rows are copied "+when, func() (bool, string) {
		s.failed(when)
		if err := s.copies.read(&s.given); err != nil {
			s.t.Fatalf("%s: %v", when, err)
		}
		return s.copies.rows >= s.given.rows, fmt.Sprintf("%d of %d rows are copied; %s", s.copies.rows, s.given.rows, s.states())
	})
	return time.Since(begun)
}

// states is what the drivers say of their queries.
func (s *scene) states() string {
	var out []string
	for _, d := range s.drivers {
		list, err := s.queries(d)
		if errors.Is(err, errElsewhere) {
			continue
		}
		if err != nil {
			out = append(out, err.Error())
		} else {
			out = append(out, fmt.Sprint(d.id, list))
		}
	}
	return strings.Join(out, "; ")
}

// state is what a driver says of a query.
type state struct{ Name, Status, Error string }

func (s *scene) queries(d *node) (list []state, err error) {
	err = s.ask(d, "/api/queries", &list)
	return list, err
}

// failed fails the test when a query has given up. One that a full disk has ended is paused,
// and goes on by itself.
func (s *scene) failed(when string) {
	s.t.Helper()
	for _, d := range s.drivers {
		list, _ := s.queries(d) // of one that is away nobody knows
		for _, q := range list {
			if q.Status == "failed" && time.Since(s.mended) > noticed {
				s.t.Fatalf("%s: query %s gives up: %s", when, q.Name, q.Error)
			}
		}
	}
}

// noticed is how long a driver may take to notice that what has ended a query passes.
const noticed = 5 * time.Second
