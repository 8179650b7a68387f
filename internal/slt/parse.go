package slt

import (
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// File is a parsed test file.
type File struct {
	Path    string
	Modes   []Mode
	Oracles []string
	Records []Record

	lines []string // the text, for -rewrite
}

// Record is one step of a file: a statement, a query, a feed or a setting.
type Record struct {
	Line, End int      // first line and the line after the last, counted from 1
	Skip      []string // engines or modes that leave it out
	Only      []string // if any, the engines or modes that alone run it
	Step      Step
}

// Step is what a record does.
type Step interface{ step() }

// Statement is SQL without a result.
type Statement struct {
	SQL   string
	Error *regexp.Regexp // nil: it must succeed
}

// adds reports whether the statement adds rows to a table, and so is input as a
// feed is.
func (s *Statement) adds() bool {
	words := strings.Fields(strings.ToUpper(s.SQL))
	if s.Error != nil || len(words) == 0 || words[0] != "INSERT" && words[0] != "WITH" {
		return false
	}
	i := slices.Index(words, "INSERT")
	return i >= 0 && i+1 < len(words) && words[i+1] == "INTO"
}

// Query is SQL with a result.
type Query struct {
	SQL       string
	Error     *regexp.Regexp // not nil: it must fail
	Types     string
	Sort      SortMode
	Label     string
	Expected  []string // the lines below ----
	First     int      // the line of the first of them
	HasResult bool     // whether there is a ---- at all
}

// Threshold sets the number of values above which results are hashed.
type Threshold struct{ Values int }

// Halt ends the file.
type Halt struct{}

func (*Statement) step() {}
func (*Query) step()     {}
func (*Feed) step()      {}
func (*Threshold) step() {}
func (*Halt) step()      {}

// SortMode says how a result is ordered before it is compared.
type SortMode string

// The sort modes.
const (
	NoSort    SortMode = "nosort"
	RowSort   SortMode = "rowsort"
	ValueSort SortMode = "valuesort"
)

// Parse reads a test file.
func Parse(path, text string) (*File, error) {
	p := &parser{file: &File{Path: path, lines: strings.Split(text, "\n")}}
	if err := p.header(); err != nil {
		return nil, err
	}
	for p.next < len(p.file.lines) {
		if err := p.record(); err != nil {
			return nil, err
		}
	}
	if len(p.skip)+len(p.only) > 0 {
		return nil, p.errorf("skipif or onlyif without a record below it")
	}
	return p.file, nil
}

// parser walks over the lines; next is the index of the line to read.
type parser struct {
	file       *File
	next       int
	skip, only []string
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.file.Path, p.next, fmt.Sprintf(format, args...))
}

// header reads the settings among the comments at the top.
func (p *parser) header() error {
	for i, line := range p.file.lines {
		rest, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		key, value, _ := strings.Cut(strings.TrimSpace(rest), ":")
		switch key {
		case "modes":
			for _, m := range strings.Fields(value) {
				if m := Mode(m); m != Batch && m != Stream && m != Restart {
					p.next = i + 1
					return p.errorf("unknown mode %q, want batch, stream or restart", m)
				}
				p.file.Modes = append(p.file.Modes, Mode(m))
			}
		case "oracle":
			p.file.Oracles = append(p.file.Oracles, strings.Fields(value)...)
		}
	}
	if len(p.file.Modes) == 0 {
		p.file.Modes = []Mode{Batch}
	}
	return nil
}

// record reads one record, or steps over a comment or a blank line.
func (p *parser) record() error {
	line := p.file.lines[p.next]
	p.next++
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	first := p.next
	var step Step
	var err error
	switch words[0] {
	case "skipif", "onlyif":
		if len(words) < 2 {
			return p.errorf("%s needs the name of an engine or a mode", words[0])
		}
		if words[0] == "skipif" {
			p.skip = append(p.skip, words[1])
		} else {
			p.only = append(p.only, words[1])
		}
		return nil
	case "statement":
		step, err = p.statement(line, words)
	case "query":
		step, err = p.query(line, words)
	case "feed":
		step, err = p.feed(words)
	case "hash-threshold":
		n := -1
		if len(words) == 2 {
			n, err = strconv.Atoi(words[1])
		}
		if err != nil || n < 0 {
			return p.errorf("hash-threshold needs a number")
		}
		step = &Threshold{n}
	case "halt":
		step = &Halt{}
	default:
		return p.errorf("unknown record %q", words[0])
	}
	if err != nil {
		return err
	}
	p.file.Records = append(p.file.Records, Record{Line: first, End: p.next + 1, Skip: p.skip, Only: p.only, Step: step})
	p.skip, p.only = nil, nil
	return nil
}

func (p *parser) statement(line string, words []string) (Step, error) {
	if len(words) < 2 || words[1] != "ok" && words[1] != "error" {
		return nil, p.errorf("statement needs ok or error")
	}
	s := &Statement{}
	if words[1] == "error" {
		re, err := p.errorPattern(line)
		if err != nil {
			return nil, err
		}
		s.Error = re
	}
	var end bool
	s.SQL, end = p.sql()
	if end {
		return nil, p.errorf("a statement has no result: ---- is for queries")
	}
	return s, p.wantSQL(s.SQL)
}

func (p *parser) query(line string, words []string) (Step, error) {
	q := &Query{Sort: NoSort}
	if len(words) >= 2 && words[1] == "error" {
		re, err := p.errorPattern(line)
		if err != nil {
			return nil, err
		}
		q.Error = re
		q.SQL, _ = p.sql()
		return q, p.wantSQL(q.SQL)
	}
	if len(words) < 2 {
		return nil, p.errorf("query needs the types of its columns, such as query IT")
	}
	q.Types = words[1]
	if i := strings.IndexFunc(q.Types, func(r rune) bool { return !strings.ContainsRune("TIRB?", r) }); i >= 0 {
		return nil, p.errorf("unknown column type %q, want T, I, R, B or ?", q.Types[i:i+1])
	}
	rest := words[2:]
	if len(rest) > 0 {
		switch m := SortMode(rest[0]); m {
		case NoSort, RowSort, ValueSort:
			q.Sort, rest = m, rest[1:]
		}
	}
	if len(rest) > 1 {
		return nil, p.errorf("query has a sort mode and a label; %q is too much", rest[1])
	}
	if len(rest) == 1 {
		q.Label = rest[0]
	}
	q.SQL, q.HasResult = p.sql()
	q.First = p.next + 1
	for q.HasResult && p.next < len(p.file.lines) && p.file.lines[p.next] != "" {
		q.Expected = append(q.Expected, p.file.lines[p.next])
		p.next++
	}
	return q, p.wantSQL(q.SQL)
}

// feed reads CSV up to a blank line.
func (p *parser) feed(words []string) (Step, error) {
	if len(words) != 2 {
		return nil, p.errorf("feed needs the name of a source")
	}
	f := &Feed{Source: words[1]}
	start := p.next
	for p.next < len(p.file.lines) && strings.TrimSpace(p.file.lines[p.next]) != "" {
		p.next++
	}
	r := csv.NewReader(strings.NewReader(strings.Join(p.file.lines[start:p.next], "\n")))
	r.FieldsPerRecord = 0
	r.TrimLeadingSpace = true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, p.errorf("feed %s: %v", f.Source, err)
	}
	f.Rows = rows
	return f, nil
}

// sql reads lines up to a blank one or ----, and tells which it was.
func (p *parser) sql() (text string, result bool) {
	var lines []string
	for p.next < len(p.file.lines) {
		line := p.file.lines[p.next]
		if strings.TrimSpace(line) == "" {
			break
		}
		p.next++
		if line == "----" {
			return strings.Join(lines, "\n"), true
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), false
}

func (p *parser) wantSQL(sql string) error {
	if strings.TrimSpace(sql) == "" {
		return p.errorf("there is no SQL")
	}
	return nil
}

// errorPattern compiles what follows the word error; nothing matches anything.
func (p *parser) errorPattern(line string) (*regexp.Regexp, error) {
	_, pattern, _ := strings.Cut(line, "error")
	re, err := regexp.Compile(strings.TrimSpace(pattern))
	if err != nil {
		return nil, p.errorf("%v", err)
	}
	return re, nil
}
