package socket

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optHost    = options.Option{Key: "host", Kind: options.Text, Default: "127.0.0.1", Doc: "Host to connect to."}
	optPort    = options.Option{Key: "port", Kind: options.Int, Required: true, Doc: "TCP port to connect to."}
	optTime    = options.Option{Key: "include-timestamp", Kind: options.Boolean, Default: "false", Doc: "Add a column with the time at which each line arrived."}
	optTrigger = options.Option{Key: "max-lines-per-trigger", Kind: options.Int, Default: "100000", Doc: "Most lines in one micro-batch."}
	optBuffer  = options.Option{Key: "buffer-bytes", Kind: options.Bytes, Default: "16MiB", Doc: "Bytes taken from the connection ahead of the batches."}
	optLine    = options.Option{Key: "max-line-bytes", Kind: options.Bytes, Default: "1MiB", Doc: "Longest line."}
	optRetries = options.Option{Key: "connect-retries", Kind: options.Int, Default: "5", Doc: "How often a connection is tried again, without a line in between, before the query fails."}
	optDelay   = options.Option{Key: "retry-delay", Kind: options.Duration, Default: "1s", Doc: "Pause before a connection is tried again."}
	optClose   = options.Option{Key: "on-close", Kind: options.Enum, Default: "end", Values: []string{"end", "reconnect"}, Doc: "What follows when the sender closes the connection."}
	declared   = []options.Option{optHost, optPort, optTime, optTrigger, optBuffer, optLine, optRetries, optDelay, optClose}
)

type config struct {
	what, address          string
	trigger                int64
	bufferBytes, lineBytes int64
	retries                int64
	delay                  time.Duration
	reconnect              bool
	schema                 *arrow.Schema
}

// Connector returns the connector; c says when a line arrived.
func Connector(c clock.Clock) sources.Connector {
	return sources.Connector{
		Name:    "socket",
		Doc:     "Lines of text from a TCP connection.",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			config, err := parse(spec)
			return config.schema, err
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			return open(spec, c, vfsx.Default, dialTCP)
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			config, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, schema: config.schema}, nil
		},
		Unbounded: func(spec sources.Spec) bool { return spec.Stream },
	}
}

func parse(spec sources.Spec) (config, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declared); err != nil {
		return config{}, err
	}
	c := config{
		what: spec.String(), address: net.JoinHostPort(m.Get(optHost), strconv.FormatInt(m.Int(optPort), 10)),
		trigger: m.Int(optTrigger), bufferBytes: m.Bytes(optBuffer), lineBytes: m.Bytes(optLine),
		retries: m.Int(optRetries), delay: m.Duration(optDelay), reconnect: strings.EqualFold(m.Get(optClose), "reconnect"),
	}
	for _, f := range []struct {
		o         options.Option
		v         int64
		low, high int64
	}{
		{optPort, m.Int(optPort), 1, 65535}, {optTrigger, c.trigger, 1, math.MaxInt32}, {optRetries, c.retries, 0, 1_000_000},
		{optBuffer, c.bufferBytes, 1, blockBytes / 4}, {optLine, c.lineBytes, 1, blockBytes / 4}, {optDelay, int64(c.delay), 0, math.MaxInt64},
	} {
		if f.v < f.low || f.v > f.high {
			return c, batch.UserErrorf("%s: option '%s' = '%s': want %d to %d", spec, f.o.Key, m.Get(f.o), f.low, f.high)
		}
	}
	fields := []arrow.Field{
		{Name: "value", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	}
	if c.schema = spec.Schema; c.schema == nil {
		n := 1
		if m.Bool(optTime) {
			n = 2
		}
		c.schema = arrow.NewSchema(fields[:n], nil)
		return c, nil
	}
	n := c.schema.NumFields()
	ok := (n == 1 && !m.Bool(optTime) || n == 2) && c.schema.Field(0).Type.ID() == arrow.STRING
	if ok && n == 2 {
		ts, isTime := c.schema.Field(1).Type.(*arrow.TimestampType)
		ok = isTime && ts.Unit == arrow.Microsecond
	}
	if !ok {
		return c, batch.UserErrorf("%s: the connector 'socket' has a column of type STRING, and after it one of type TIMESTAMP if the time of arrival is wanted; declared is %v", spec, c.schema)
	}
	return c, nil
}

// source is the driver's half. An offset is a number of lines.
type source struct {
	spec     sources.Spec
	config   config
	receiver *receiver

	log struct {
		sync.Mutex
		*inputLog
	}
}

var (
	_ sources.Source   = (*source)(nil)
	_ sources.Notifier = (*source)(nil)
	_ sources.Bounded  = (*source)(nil)
)

func open(spec sources.Spec, c clock.Clock, fs vfsx.FS, dial func(context.Context, string) (net.Conn, error)) (*source, error) {
	config, err := parse(spec)
	if err != nil {
		return nil, err
	}
	l, err := openLog(fs, spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec, err)
	}
	s := &source{spec: spec, config: config, receiver: startReceiver(config, c, dial)}
	s.log.inputLog = l
	return s, nil
}

func (s *source) Schema() *arrow.Schema { return s.config.schema }

func (s *source) Changed() <-chan struct{} { return s.receiver.changed }

// Latest takes lines from the buffer and logs them. Lines that are logged behind
// from already, by a question whose answer was lost, come first.
func (s *source) Latest(ctx context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n, err := parseOffset(from)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.spec, err)
	}
	rows, bytes := s.config.trigger, int64(blockBytes/4)
	if limit.Rows > 0 {
		rows = min(rows, limit.Rows)
	}
	if limit.Bytes > 0 {
		bytes = min(bytes, limit.Bytes)
	}
	s.log.Lock()
	defer s.log.Unlock()
	if n > s.log.end {
		return "", batch.UserErrorf("%s: the query has read %d lines, its input log has %d", s.spec, n, s.log.end)
	}
	if n < s.log.end {
		return offsetOf(min(s.log.end, n+rows)), nil
	}
	lines, err := s.wait(ctx, rows, bytes)
	if err != nil || len(lines) == 0 {
		return from, err
	}
	if err := s.log.append(lines); err != nil {
		return "", batch.ExternalError(fmt.Errorf("%s: %w", s.spec, err), false)
	}
	s.receiver.took(len(lines))
	return offsetOf(s.log.end), nil
}

// wait returns the lines there are. A query that reads all there is waits until
// the sender closes the connection or as much has come as one batch may take.
func (s *source) wait(ctx context.Context, rows, bytes int64) ([]line, error) {
	for {
		lines, full, ended, err := s.receiver.peek(rows, bytes)
		if len(lines) == 0 && ended && err != nil {
			return nil, err
		}
		if s.spec.Stream || full || ended {
			return lines, nil
		}
		select {
		case <-s.receiver.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// splitBytes and splitLines bound a split, whose payload carries the lines: a
// worker needs neither the connection nor the log.
const (
	splitBytes = 1 << 20
	splitLines = 1 << 16
)

func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	from, err := parseOffset(r.Start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.spec, err)
	}
	to, err := parseOffset(r.End)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.spec, err)
	}
	s.log.Lock()
	defer s.log.Unlock()
	lines, err := s.log.slice(from, to)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", s.spec, err)
	}
	var splits []batch.Split
	for len(lines) > 0 {
		n, size := 0, 0
		for n < len(lines) && n < splitLines && size < splitBytes {
			size += len(lines[n].text)
			n++
		}
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Payload: appendLines(nil, from, lines[:n]), Rows: int64(n), Bytes: int64(size),
		})
		from, lines = from+int64(n), lines[n:]
	}
	return splits, nil
}

func (s *source) Release(_ context.Context, to batch.Offset) error {
	n, err := parseOffset(to)
	if err != nil {
		return fmt.Errorf("%s: %w", s.spec, err)
	}
	s.log.Lock()
	defer s.log.Unlock()
	if err := s.log.release(n); err != nil {
		return batch.ExternalError(fmt.Errorf("%s: %w", s.spec, err), true)
	}
	return nil
}

func (s *source) Ended(at batch.Offset) bool {
	n, err := parseOffset(at)
	lines, _, ended, fault := s.receiver.peek(1, 1)
	s.log.Lock()
	defer s.log.Unlock()
	return err == nil && ended && fault == nil && len(lines) == 0 && n == s.log.end
}

// Close ends the connection and waits for the goroutine that reads it.
func (s *source) Close() error {
	s.receiver.close()
	s.log.Lock()
	defer s.log.Unlock()
	if err := s.log.close(); err != nil {
		return fmt.Errorf("close the input log of %s: %w", s.spec, err)
	}
	return nil
}

func offsetOf(n int64) batch.Offset { return batch.Offset(strconv.FormatInt(n, 10)) }

func parseOffset(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(o), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no offset of the connector 'socket'", o)
	}
	return n, nil
}
