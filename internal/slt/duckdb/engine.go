package duckdb

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/internal/slt"
)

// PythonVariable names the environment variable that holds the path of a
// Python with DuckDB.
const PythonVariable = "SLUICE_DUCKDB_PYTHON"

//go:embed server.py
var server string

// Engine is a DuckDB of its own, empty at first. Its methods may be called from
// several goroutines, one request at a time.
type Engine struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr bytes.Buffer // written by cmd until Wait returns

	mu struct {
		sync.Mutex
		out    *bufio.Reader
		broken error // why no request can be answered any more (D1)
	}
}

var (
	_ slt.Engine = (*Engine)(nil)
	_ slt.Feeder = (*Engine)(nil)
)

// Start runs a DuckDB until the test is over, and skips the test where there
// is none.
func Start(t testing.TB) *Engine {
	t.Helper()
	python := Python(t)
	e, err := Open(python)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close DuckDB: %v", err)
		}
	})
	return e
}

// Python returns the interpreter, and skips the test where there is none.
func Python(t testing.TB) string {
	t.Helper()
	python := os.Getenv(PythonVariable)
	if python == "" {
		t.Skipf("no DuckDB: %s is not set (make unit sets it)", PythonVariable)
	}
	return python
}

// New is an slt.Factory: it makes engines for slt.RunOracle.
func New(t *testing.T, _ slt.Mode) slt.Engine { return Start(t) }

// Open starts a DuckDB. The caller closes it.
func Open(python string) (*Engine, error) {
	e := &Engine{cmd: exec.Command(python, "-c", server)}
	e.cmd.Stderr = &e.stderr
	in, err := e.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start DuckDB with %s: %w", python, err)
	}
	e.in = in
	e.mu.out = bufio.NewReader(out)
	return e, nil
}

// Close ends the process and waits for it (D2).
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.mu.broken, errClosed) {
		return nil
	}
	failed := e.mu.broken
	e.mu.broken = errClosed
	err := e.in.Close()
	if failed != nil {
		// Whoever broke it has been told; now it only has to be gone.
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		return nil
	}
	if werr := e.cmd.Wait(); werr != nil {
		return fmt.Errorf("DuckDB: %w: %s", werr, e.stderr.String())
	}
	return err
}

var errClosed = errors.New("DuckDB is closed")

// Exec runs a statement. A CREATE TABLE in Sluice's dialect loses what only a
// stream needs.
func (e *Engine) Exec(ctx context.Context, sql string) error {
	_, _, err := e.ask(ctx, Translate(sql))
	return err
}

// Query runs a query.
func (e *Engine) Query(ctx context.Context, sql string) ([]slt.Column, [][]string, error) {
	return e.ask(ctx, sql)
}

// Feed inserts rows as text, which DuckDB casts to the types of the columns.
func (e *Engine) Feed(ctx context.Context, f slt.Feed) error {
	if len(f.Rows) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s VALUES ", f.Source)
	for i, row := range f.Rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		for j, v := range row {
			if j > 0 {
				b.WriteString(", ")
			}
			if v == "NULL" {
				b.WriteString(v)
			} else {
				b.WriteString("'" + strings.ReplaceAll(v, "'", "''") + "'")
			}
		}
		b.WriteByte(')')
	}
	_, _, err := e.ask(ctx, b.String())
	return err
}

type reply struct {
	Cols []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"cols"`
	Rows  [][]string `json:"rows"`
	Error string     `json:"error"`
}

// ask sends one request and reads its answer. When ctx ends first the process
// is killed, for there is no way to take a request back.
func (e *Engine) ask(ctx context.Context, sql string) ([]slt.Column, [][]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.broken != nil {
		return nil, nil, e.mu.broken
	}
	stop := context.AfterFunc(ctx, func() { _ = e.cmd.Process.Kill() })
	defer stop()
	line, err := e.exchange(sql)
	if err != nil {
		e.mu.broken = fmt.Errorf("ask DuckDB: %w", errors.Join(ctx.Err(), err))
		return nil, nil, e.mu.broken
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		e.mu.broken = fmt.Errorf("read DuckDB's answer %q: %w", line, err)
		return nil, nil, e.mu.broken
	}
	if r.Error != "" {
		return nil, nil, errors.New(r.Error)
	}
	cols := make([]slt.Column, len(r.Cols))
	for i, c := range r.Cols {
		cols[i] = slt.Column{Name: c.Name, Type: c.Type}
	}
	return cols, r.Rows, nil
}

func (e *Engine) exchange(sql string) ([]byte, error) {
	request, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return nil, err
	}
	if _, err := e.in.Write(append(request, '\n')); err != nil {
		return nil, err
	}
	return e.mu.out.ReadBytes('\n')
}
