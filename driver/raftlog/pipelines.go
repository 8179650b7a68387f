package raftlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// pipelinesMax bounds the pipelines, and pipelineMax the text of one, in bytes.
const (
	pipelinesMax = 10_000
	pipelineMax  = 8 << 20
)

// Pipeline is a script that was submitted: whoever leads runs it, until it is withdrawn.
type Pipeline struct {
	Name    string
	SQL     string
	Created time.Time
}

// setPipeline keeps a pipeline, dropPipeline forgets one.
type (
	setPipeline  struct{ pipeline Pipeline }
	dropPipeline struct{ name string }
)

func (setPipeline) kind() byte  { return kindPipeline }
func (dropPipeline) kind() byte { return kindNoPipeline }

func (c setPipeline) encode(e *encoder)  { c.pipeline.encode(e) }
func (c dropPipeline) encode(e *encoder) { e.s(c.name) }

func (p Pipeline) encode(e *encoder) {
	e.s(p.Name)
	e.s(p.SQL)
	e.i(p.Created.UnixMicro())
}

func decodePipeline(d *decoder) Pipeline {
	p := Pipeline{Name: d.s(), SQL: d.s(), Created: time.UnixMicro(d.i()).UTC()}
	if d.err == nil && p.Name == "" {
		d.fail(errors.New("a pipeline without a name"))
	}
	return p
}

// keep takes a pipeline in. The same again is nothing new: it comes from somebody who
// did not hear the answer.
func (s *state) keep(p Pipeline) outcome {
	old, ok := s.pipelines[p.Name]
	switch {
	case ok && old.SQL == p.SQL:
		return outcome{}
	case ok:
		return outcome{err: fmt.Errorf("keep pipeline %q: %w", p.Name, ErrExists)}
	case len(s.pipelines) >= pipelinesMax:
		return outcome{err: fmt.Errorf("keep pipeline %q: there are %d, and no more are allowed", p.Name, pipelinesMax)}
	}
	s.pipelines[p.Name] = p
	return outcome{}
}

func (s *state) withdraw(name string) outcome {
	if _, ok := s.pipelines[name]; !ok {
		return outcome{err: fmt.Errorf("withdraw pipeline %q: %w", name, ErrNotFound)}
	}
	delete(s.pipelines, name)
	return outcome{}
}

// scripts lists the pipelines by name.
func (s *state) scripts() []Pipeline {
	ps := slices.Collect(maps.Values(s.pipelines))
	slices.SortFunc(ps, func(a, b Pipeline) int { return strings.Compare(a.Name, b.Name) })
	return ps
}

// Keep keeps a pipeline, for this leader and all that follow. ErrExists: another one has
// the name. The same one again is kept once.
func (n *Node) Keep(ctx context.Context, p Pipeline) error {
	if p.Name == "" || len(p.SQL) > pipelineMax {
		return batch.UserErrorf("keep pipeline %q of %d bytes", p.Name, len(p.SQL))
	}
	if p.Created.IsZero() {
		p.Created = time.Now()
	}
	p.Created = p.Created.UTC().Truncate(time.Microsecond)
	_, err := n.propose(ctx, setPipeline{p})
	return err
}

// Withdraw forgets a pipeline. ErrNotFound: there is none of the name.
func (n *Node) Withdraw(ctx context.Context, name string) error {
	_, err := n.propose(ctx, dropPipeline{name})
	return err
}
