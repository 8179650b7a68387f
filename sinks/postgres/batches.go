package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/pgclient"
)

// held is what the database says of the last batch that it holds.
type held struct {
	batch  batch.ID
	digest batch.Digest
	term   batch.Term
}

// batchesDDL makes the table of batches (`docs/formats/postgres-batches.md`).
func (t *target) batchesDDL() string {
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (query text NOT NULL, sink text NOT NULL, table_name text NOT NULL, batch bigint NOT NULL, "+
		"digest text NOT NULL, term bigint NOT NULL, rows bigint NOT NULL, committed_at timestamptz NOT NULL, PRIMARY KEY (query, sink))", t.meta.Quoted())
}

// literal quotes a text for a statement (standard_conforming_strings is on).
func literal(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''") + "'"
}

// own is the condition for the row of this query and sink.
func (t *target) own() string {
	return fmt.Sprintf("query = %s AND sink = %s", literal(string(t.spec.Query)), literal(t.spec.Name))
}

func (t *target) selectHeld() string {
	return fmt.Sprintf("SELECT batch, digest, term FROM %s WHERE %s", t.meta.Quoted(), t.own())
}

// makeBatches makes the table of batches and the row of this query.
func (t *target) makeBatches(ctx context.Context, conn *pgx.Conn) error {
	row := fmt.Sprintf("INSERT INTO %s VALUES (%s, %s, %s, %d, '%s', 0, 0, now()) ON CONFLICT DO NOTHING",
		t.meta.Quoted(), literal(string(t.spec.Query)), literal(t.spec.Name), literal(t.config.Table.String()), batch.None, batch.Digest{})
	_, err := conn.Exec(ctx, row)
	if pgclient.Is(err, pgclient.UndefinedTable) {
		_, err = conn.Exec(ctx, t.batchesDDL())
		if pgclient.Is(err, pgclient.NoPrivilege) {
			return t.userError("make the table of batches %s: %v: let somebody run\n  %s", t.meta, err, t.batchesDDL())
		}
		if err == nil || pgclient.MadeByOther(err) {
			_, err = conn.Exec(ctx, row)
		}
	}
	if err != nil {
		return fmt.Errorf("note the query in the table of batches %s: %w", t.meta, err)
	}
	return nil
}

// holds reads what the database holds, without waiting for anybody.
func (t *target) holds(ctx context.Context, conn *pgx.Conn) (held, error) {
	rows, err := query(ctx, conn, t.selectHeld())
	if pgclient.Is(err, pgclient.UndefinedTable) || err == nil && len(rows) == 0 {
		return held{batch: batch.None}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("read the table of batches %s: %w", t.meta, err)
	}
	return t.parseHeld(rows[0])
}

func (t *target) parseHeld(row []string) (held, error) {
	bad := func() (held, error) {
		return held{}, t.userError("the row of the query in the table of batches %s is not what Sluice wrote: %q", t.meta, row)
	}
	if len(row) != 3 || len(row[1]) != 32 {
		return bad()
	}
	id, err1 := strconv.ParseInt(row[0], 10, 64)
	hi, err2 := strconv.ParseUint(row[1][:16], 16, 64)
	lo, err3 := strconv.ParseUint(row[1][16:], 16, 64)
	term, err4 := strconv.ParseUint(row[2], 10, 63)
	if errors.Join(err1, err2, err3, err4) != nil {
		return bad()
	}
	return held{batch.ID(id), batch.Digest{Hi: hi, Lo: lo}, batch.Term(term)}, nil
}

// note is the statement that notes a batch.
func (t *target) note(h held, rows int64) string {
	return fmt.Sprintf("UPDATE %s SET batch = %d, digest = '%s', term = %d, rows = %d, table_name = %s, committed_at = clock_timestamp() WHERE %s",
		t.meta.Quoted(), h.batch, h.digest, h.term, rows, literal(t.config.Table.String()), t.own())
}

// query runs statements in one round trip and returns the rows of all of them as text.
func query(ctx context.Context, conn *pgx.Conn, statements ...string) ([][]string, error) {
	results, err := conn.PgConn().Exec(ctx, strings.Join(statements, ";\n")).ReadAll()
	var rows [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			texts := make([]string, len(row))
			for i, v := range row {
				texts[i] = string(v)
			}
			rows = append(rows, texts)
		}
	}
	return rows, err
}

// copyIn runs COPY .. FROM STDIN over the rows of attempts.
func copyIn(ctx context.Context, conn *pgx.Conn, statement string, all []*prepared) (pgconn.CommandTag, error) {
	readers := make([]io.Reader, len(all))
	for i, p := range all {
		readers[i] = p.text()
	}
	return conn.PgConn().CopyFrom(ctx, io.MultiReader(readers...), statement)
}

// session is the start of the names under which connections of this query's sink,
// under any term, are known to the database. Names are cut at 63 bytes.
func (t *target) session() string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s", t.spec.Query, t.spec.Name, t.meta)
	return fmt.Sprintf("sluice %016x term ", h.Sum64())
}

// endOlder ends the sessions of older terms.
func (t *target) endOlder(ctx context.Context, conn *pgx.Conn, term batch.Term) error {
	name := t.session()
	_, err := query(ctx, conn, fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() "+
		"AND left(application_name, %d) = %s AND substr(application_name, %d) ~ '^[0-9]{1,18}$' AND CASE WHEN substr(application_name, %d) ~ '^[0-9]{1,18}$' THEN substr(application_name, %d)::bigint < %d END",
		len(name), literal(name), len(name)+1, len(name)+1, len(name)+1, term))
	if err != nil {
		return fmt.Errorf("end the sessions of older terms: %w", err)
	}
	return nil
}
