//go:build synctests

package bubble

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	filesink "github.com/sluice-stream/sluice/sinks/file"
	kafkasink "github.com/sluice-stream/sluice/sinks/kafka"
	"github.com/sluice-stream/sluice/sources"
	kafkasource "github.com/sluice-stream/sluice/sources/kafka"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
	"github.com/sluice-stream/sluice/sql/parser"
	"github.com/twmb/franz-go/pkg/kgo"
)

// script is what all seeds run: rows as they come, a count by key that is corrected, and
// windows by event time that are final, to two topics and a folder.
const script = `
CREATE TABLE src (id BIGINT, k STRING, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
WITH ('connector'='kafka', 'bootstrap.servers'='127.0.2.1:9092', 'topic'='in', 'discovery-interval'='1h', 'request-timeout'='4s', 'max-offsets-per-trigger'='40');
CREATE TABLE copies (id BIGINT, k STRING, v BIGINT)
WITH ('connector'='kafka', 'bootstrap.servers'='127.0.2.1:9092', 'topic'='copies', 'key-columns'='k', 'request-timeout'='4s', 'transaction-timeout'='10s', 'compression'='none');
CREATE TABLE counts (k STRING, n BIGINT, total BIGINT, PRIMARY KEY (k) NOT ENFORCED)
WITH ('connector'='kafka', 'bootstrap.servers'='127.0.2.1:9092', 'topic'='counts', 'request-timeout'='4s', 'transaction-timeout'='10s', 'transactional-ids'='2', 'compression'='none');
CREATE TABLE windows (start TIMESTAMP(3), k STRING, n BIGINT, total BIGINT)
WITH ('connector'='filesystem', 'path'='out/windows', 'format'='csv', 'csv.header'='false');
INSERT INTO copies SELECT id, k, v FROM src;
INSERT INTO counts SELECT k, count(*), sum(v) FROM src GROUP BY k;
INSERT INTO windows SELECT window_start, k, count(*), sum(v) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, k;
`

// query is a planned script. It is made once and only read.
type query struct {
	*planner.Query
	targets []*sql.TableDef
	modes   []sinks.Mode
}

var plans sync.Map // *query by script

func planned(script string) (*query, error) {
	if q, ok := plans.Load(script); ok {
		return q.(*query), nil
	}
	stmts, err := parser.Parse(script, parser.Options{})
	if err != nil {
		return nil, err
	}
	cat, q := catalog{}, &query{}
	var outs []planner.Output
	for _, st := range stmts {
		switch st := st.(type) {
		case *ast.CreateTable:
			def, err := sql.BuildTable(cat, st, "", sql.Options{})
			if err != nil {
				return nil, err
			}
			def.Stream = def.Name == "src"
			cat[def.Name] = def
		case *ast.Insert:
			in, err := sql.BindInsert(cat, st, sql.Options{Definitions: true})
			if err != nil {
				return nil, err
			}
			mode := sinks.Append
			if in.Target.Name == "counts" {
				mode = sinks.Update
			}
			outs = append(outs, planner.Output{Node: in.Plan, Sink: &physical.Sink{Name: fmt.Sprintf("%s#%d", in.Target.Name, len(outs)), Table: in.Target.Name,
				Schema: in.Plan.Schema(), Mode: string(mode), Keys: in.Target.Keys}})
			q.targets, q.modes = append(q.targets, in.Target), append(q.modes, mode)
		}
	}
	count, err := functions.Aggregate("count", nil, false)
	if err != nil {
		return nil, err
	}
	q.Query, err = planner.Build(outs, planner.Options{Stream: true, CountRows: count,
		Last: func(e expr.Expr) (*expr.AggCall, error) { return functions.Aggregate("last", []expr.Expr{e}, false) }})
	if err == nil {
		plans.Store(script, q)
	}
	return q, err
}

// catalog holds tables alone.
type catalog map[string]*sql.TableDef

func (c catalog) Relation(name string) (*sql.Relation, error) {
	if t := c[strings.ToLower(name)]; t != nil {
		return &sql.Relation{Name: name, Table: t}, nil
	}
	return nil, nil
}
func (catalog) Relations() []string                                  { return nil }
func (catalog) Scalar(string, []expr.Expr) (expr.Expr, error)        { return nil, nil }
func (catalog) Aggregate(string, []expr.Expr) (*expr.AggCall, error) { return nil, nil }
func (catalog) Functions() []string                                  { return nil }

// connected are the connectors of one process for the query, with both halves of each.
type connected struct {
	source  sources.Source
	opener  sources.Opener
	sinks   map[string]sinks.Sink
	writers map[string]sinks.WriterFactory
	kept    func() // ends what the opener keeps
}

// connect opens the query's connectors in a process.
func (q *query) connect(ctx context.Context, h *host, shared vfsx.FS, driver bool) (_ *connected, err error) {
	reg := formats.NewRegistry(json.New(), csv.New())
	c := &connected{sinks: map[string]sinks.Sink{}, writers: map[string]sinks.WriterFactory{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	kafka := kafkasource.Connector(h.clock, reg, kgo.Dialer(h.dial))
	src := q.Plan.Sources[0]
	t := q.Tables[src.Name]
	spec := sources.Spec{Name: src.Name, Table: t.Name, Schema: t.Schema, Options: declaredOf(t.Options, kafka.Options), Stream: true, Zone: "UTC", Dir: "ck/sources/" + t.Name}
	if driver {
		if c.source, err = kafka.New(ctx, spec); err != nil {
			return nil, err
		}
	}
	if c.opener, err = kafka.NewOpener(spec); err != nil {
		return nil, err
	}
	c.kept = c.opener.(sources.Keeper).Keep()
	known := map[string]sinks.Connector{"kafka": kafkasink.Connector(h.clock, kgo.Dialer(h.dial)), "filesystem": filesink.Connector(h.fs(shared), reg)}
	for i, t := range q.targets {
		conn := known[t.Connector]
		s, w, err := conn.New(ctx, sinks.Spec{Name: q.Plan.Sinks[i].Name, Table: t.Name, Query: queryID, Schema: q.Outputs[i].Node.Schema(), Keys: q.Plan.Sinks[i].Keys,
			Mode: q.modes[i], Options: declaredOf(t.Options, conn.Options), Zone: "UTC"})
		if err != nil {
			return nil, err
		}
		c.sinks[q.Plan.Sinks[i].Name], c.writers[q.Plan.Sinks[i].Name] = s, w
	}
	return c, nil
}

func declaredOf(m map[string]string, declared []options.Option) options.Map {
	out := options.Map{}
	for k, v := range m {
		if k != "connector" {
			out[k] = v
		}
	}
	return out.Known(declared)
}

func (c *connected) close() error {
	var errs []error
	if c.kept != nil {
		c.kept()
	}
	if c.source != nil {
		errs = append(errs, c.source.Close())
	}
	for _, s := range c.sinks {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
