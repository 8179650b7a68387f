package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
)

// receiver reads lines from a connection into a bounded buffer. One goroutine
// runs it; close stops it and waits.
type receiver struct {
	config  config
	clock   clock.Clock
	dial    func(ctx context.Context, address string) (net.Conn, error)
	changed chan struct{} // lines came, or the end
	room    chan struct{} // lines were taken
	cancel  context.CancelFunc
	done    chan struct{}

	state struct {
		sync.Mutex
		lines []line
		bytes int64
		ended bool
		err   error // why it ended, nil if the sender closed
	}
}

func startReceiver(c config, clk clock.Clock, dial func(context.Context, string) (net.Conn, error)) *receiver {
	ctx, cancel := context.WithCancel(context.Background())
	r := &receiver{
		config: c, clock: clk, dial: dial, cancel: cancel,
		changed: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		err := r.run(ctx)
		r.state.Lock()
		r.state.ended, r.state.err = true, err
		r.state.Unlock()
		poke(r.changed)
	}()
	return r
}

func (r *receiver) close() {
	r.cancel()
	<-r.done
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run connects again and again until the sender is done or the retries are used up.
func (r *receiver) run(ctx context.Context) error {
	failures := int64(0)
	for {
		got, err := r.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && !r.config.reconnect {
			return nil
		}
		if got {
			failures = 0
		}
		if failures++; failures > r.config.retries {
			if err == nil {
				err = errors.New("the sender closed the connection")
			}
			return batch.ExternalError(fmt.Errorf("%s: receive from %s, %d attempts: %w", r.config.what, r.config.address, failures, err), false)
		}
		if err := clock.Wait(ctx, r.clock, r.config.delay); err != nil {
			return err
		}
	}
}

// session reads one connection to its end; got says whether a line came.
func (r *receiver) session(ctx context.Context) (got bool, err error) {
	conn, err := r.dial(ctx, r.config.address)
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends a blocked read
	defer func() {
		stop()
		_ = conn.Close() // only ever read from
	}()
	in := bufio.NewReaderSize(conn, 1<<16)
	for {
		text, err := r.readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return got, err
		}
		if len(text) > 0 || err == nil {
			got = true
			s := strings.ToValidUTF8(strings.TrimSuffix(string(text), "\r"), "\uFFFD")
			if err := r.push(ctx, line{s, r.clock.Now().UnixMicro()}); err != nil {
				return got, err
			}
		}
		if err != nil {
			return got, nil
		}
	}
}

// readLine returns a line without its end, and io.EOF with or after the last.
func (r *receiver) readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		piece, err := in.ReadSlice('\n')
		if int64(len(text)+len(piece)) > r.config.lineBytes {
			return nil, fmt.Errorf("a line has more than %d bytes ('%s')", r.config.lineBytes, optLine.Key)
		}
		text = append(text, piece...)
		switch {
		case err == nil:
			return text[:len(text)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return text, err
		}
	}
}

// push waits for room.
func (r *receiver) push(ctx context.Context, l line) error {
	for {
		r.state.Lock()
		if r.state.bytes < r.config.bufferBytes {
			r.state.lines = append(r.state.lines, l)
			r.state.bytes += int64(len(l.text)) + overhead
			r.state.Unlock()
			poke(r.changed)
			return nil
		}
		r.state.Unlock()
		select {
		case <-r.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// peek returns the lines that may be taken, within limits, and whether no more
// can come before they are.
func (r *receiver) peek(rows, bytes int64) (lines []line, full, ended bool, err error) {
	r.state.Lock()
	defer r.state.Unlock()
	n, size := 0, int64(0)
	for n < len(r.state.lines) && int64(n) < rows && (n == 0 || size < bytes) {
		size += int64(len(r.state.lines[n].text)) + overhead
		n++
	}
	full = n < len(r.state.lines) || int64(n) == rows || r.state.bytes >= r.config.bufferBytes
	return r.state.lines[:n:n], full, r.state.ended, r.state.err
}

// took removes the first n lines.
func (r *receiver) took(n int) {
	r.state.Lock()
	for _, l := range r.state.lines[:n] {
		r.state.bytes -= int64(len(l.text)) + overhead
	}
	rest := make([]line, len(r.state.lines)-n)
	copy(rest, r.state.lines[n:])
	r.state.lines = rest
	r.state.Unlock()
	poke(r.room)
}

// dialTimeout bounds one attempt.
const dialTimeout = 10 * time.Second

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", address)
}
