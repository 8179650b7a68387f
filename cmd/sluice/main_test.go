package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/sql/ast"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("disk"), exitQuery},
		{usageError{errors.New("flag")}, exitUsage},
		{fmt.Errorf("more: %w", usageError{errors.New("flag")}), exitUsage},
		{ast.Errorf(ast.Pos{Line: 1, Col: 2}, "column"), exitUsage},
		{errors.Join(ast.Errorf(ast.Pos{Line: 1, Col: 2}, "column"), errors.New("close")), exitUsage},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

// TestOutcome: what the user did is told, and not what followed from it.
func TestOutcome(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		once, twice     bool
		script, queries error
		want            error
	}{
		"quiet":                    {},
		"a statement fails":        {script: broken, want: broken},
		"a query fails":            {queries: broken, want: broken},
		"stopped between":          {once: true, script: errStopping},
		"stopped and fails":        {once: true, script: errStopping, queries: broken, want: broken},
		"a statement is cancelled": {once: true, script: fmt.Errorf("read: %w", context.Canceled), want: errInterrupted},
		"at once":                  {once: true, twice: true, script: context.Canceled, queries: broken, want: errAbandoned},
	} {
		r := &script{}
		r.stopped.Store(c.once)
		r.at.Store(c.twice)
		if got := r.outcome(c.script, c.queries); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestRunInProcess(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"sql", "--format", "csv"}, strings.NewReader("SELECT 1 AS a"), &out, &errs); code != exitDone || out.String() != "a\n1\n" {
		t.Errorf("exit code %d, %q, %q", code, out.String(), errs.String())
	}
	out.Reset()
	if code := run([]string{"sql", "-c", "SELEC 1"}, nil, &out, &errs); code != exitUsage || !strings.HasPrefix(errs.String(), "sluice: 1:1: ") {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}

func TestHuman(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 9999: "9999", 12345: "12k", 1234567: "1.2M", 2.5e9: "2.5G"} {
		if got := human(f); got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
}
