package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-stream/sluice"
)

func main() {
	dir := flag.String("dir", ".", "folder of in, out and checkpoint")
	parallelism := flag.Int("parallelism", 0, "number of partitions; 0 for one a processor")
	flag.Parse()
	if err := run(context.Background(), *dir, *parallelism); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const tables = `
CREATE TABLE clicks (user STRING, page STRING, at TIMESTAMP_NTZ, WATERMARK FOR at AS at - INTERVAL '1' MINUTE)
WITH ('connector'='filesystem', 'path'='$DIR/in', 'format'='csv', 'max-files-per-trigger'='2');
CREATE TABLE visits (user STRING, began TIMESTAMP_NTZ, ended TIMESTAMP_NTZ, clicks BIGINT, pages BIGINT)
WITH ('connector'='filesystem', 'path'='$DIR/out', 'format'='parquet');
`

func run(ctx context.Context, dir string, parallelism int) (err error) {
	s, err := sluice.NewSession(sluice.Options{
		CheckpointDir: filepath.Join(dir, "checkpoint"), Logger: slog.New(slog.DiscardHandler),
		Settings: map[string]string{"parallelism": strconv.Itoa(parallelism)},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Exec(ctx, strings.ReplaceAll(tables, "$DIR", dir)); err != nil {
		return err
	}
	q, err := s.Table("clicks").
		KeyBy("user").
		Process("visits", func() sluice.Processor { return &visits{} },
			"began TIMESTAMP_NTZ, ended TIMESTAMP_NTZ, clicks BIGINT, pages BIGINT", sluice.InOrderOf("at")).
		WriteTo("visits").Name("visits").Trigger(sluice.AvailableNow()).
		Start(ctx)
	if err != nil {
		return err
	}
	return q.Await(ctx)
}

// gap ends a visit.
const gap = 10 * time.Minute

// click is a row of the input.
type click struct {
	Page string
	At   time.Time
}

// visit is what is known of a visit that goes on.
type visit struct {
	Began, Last time.Time
	Clicks      int64
}

// visits is the processor: the visit that goes on, and how often it saw each page.
type visits struct {
	sluice.ProcessorBase
	current *sluice.ValueState[visit]
	pages   *sluice.MapState[string, int64]
}

func (p *visits) Open(c *sluice.ProcessorContext) error {
	p.current = sluice.NewValueState[visit](c, "current")
	p.pages = sluice.NewMapState[string, int64](c, "pages")
	return nil
}

func (p *visits) Process(c *sluice.ProcessorContext, _ sluice.Row, rows *sluice.Rows) error {
	clicks, err := sluice.RowsAs[click](rows)
	if err != nil {
		return err
	}
	for _, k := range clicks {
		if err := p.click(c, k); err != nil {
			return err
		}
	}
	return nil
}

func (p *visits) click(c *sluice.ProcessorContext, k click) error {
	v, going, err := p.current.Get()
	if err != nil {
		return err
	}
	if going && k.At.Sub(v.Last) >= gap {
		if err := p.end(c, v); err != nil {
			return err
		}
		going = false
	}
	if going {
		err = c.DeleteEventTimer(v.Last.Add(gap))
	} else {
		v = visit{Began: k.At}
	}
	v.Last, v.Clicks = k.At, v.Clicks+1
	n, _, perr := p.pages.Get(k.Page)
	if err := errors.Join(err, perr, p.pages.Put(k.Page, n+1), c.SetEventTimer(v.Last.Add(gap))); err != nil {
		return err
	}
	if k.Page == "logout" {
		return p.end(c, v)
	}
	return p.current.Update(v)
}

// OnTimer ends a visit in which nothing has happened for long.
func (p *visits) OnTimer(c *sluice.ProcessorContext, _ sluice.Row, _ sluice.Timer) error {
	v, _, err := p.current.Get()
	if err != nil {
		return err
	}
	return p.end(c, v)
}

func (p *visits) end(c *sluice.ProcessorContext, v visit) error {
	pages, err := p.pages.Len()
	if err != nil {
		return err
	}
	return errors.Join(c.Emit(v.Began, v.Last, v.Clicks, pages),
		c.DeleteEventTimer(v.Last.Add(gap)), p.current.Clear(), p.pages.Clear())
}
