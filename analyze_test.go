package sluice

import (
	"context"
	"strings"
	"testing"
)

func TestExplainAnalyzeCountsRows(t *testing.T) {
	s, err := NewSession(Options{Settings: map[string]string{"parallelism": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var plan string
	err = s.Run(context.Background(), `EXPLAIN ANALYZE
		SELECT x % 2, count(*) FROM (VALUES (1), (2), (3), (4), (5)) t(x) WHERE x > 1 GROUP BY x % 2`, func(r *Result) error {
		plan = r.Plan
		return r.Rows.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 rows in ", "Stage 0: 1 tasks", "Filter (col1#0 > 1)  rows=4 ", "Values 5 rows  rows=5 "} {
		if !strings.Contains(plan, want) {
			t.Errorf("there is no %q in\n%s", want, plan)
		}
	}
	if s.analyses.running.Load() != 0 {
		t.Error("the analysis is still running")
	}
	err = s.Exec(context.Background(), "EXPLAIN ANALYZE INSERT INTO t SELECT 1")
	if err == nil || !IsSyntaxOrPlanError(err) {
		t.Errorf("an INSERT was analysed: %v", err)
	}
}
