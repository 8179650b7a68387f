package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/sluice-stream/sluice"
)

func session(limit, dir, interval string) (*sluice.Session, error) {
	return sluice.NewSession(sluice.Options{
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Settings: map[string]string{"memory_limit": limit, "spill.dir": dir, "checkpoint.interval": interval},
	})
}

// countPerKey counts rows per random key in large batches.
func countPerKey(ctx context.Context, o options, keys int64, dir string) (*measured, error) {
	rows := o.rows
	if rows == 0 {
		rows = 2 * keys
	}
	s, err := session(o.limit, dir, "10s")
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	err = s.Exec(ctx, fmt.Sprintf(`
CREATE TABLE events (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='%d', 'max-rows-per-trigger'='%d',
  'fields.k.min'='0', 'fields.k.max'='%d');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT '%s' AS
  INSERT INTO counts SELECT k, count(*) FROM events GROUP BY k;`, rows, o.batch, keys-1, filepath.Join(dir, "ck")))
	q, ok := s.Query("q")
	if ok && err == nil {
		err = q.Await(ctx)
	}
	took := time.Since(begin)
	if err == nil && q.Totals().RowsIn != rows {
		err = fmt.Errorf("the query read %d rows of %d", q.Totals().RowsIn, rows)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	return &measured{Keys: keys, Rows: rows, Limit: o.limit, Seconds: took.Seconds(), PerSec: float64(rows) / took.Seconds(), Files: size(dir) >> 20}, nil
}
