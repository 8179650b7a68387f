package sluice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources/state"
)

// What becomes of a part of a query when it changes.
const (
	fateKept    = "kept"
	fateDropped = "dropped" // nobody needs it any more
	fateRebuilt = "rebuilt" // there is nothing that it could go on from
)

// PlanDiff says what a changed query would keep of a checkpoint. Nothing is changed
// by making one.
type PlanDiff struct {
	Operators []PlanChange `json:"operators"` // with state
	Sources   []PlanChange `json:"sources"`
	Sinks     []PlanChange `json:"sinks"`
	// Refused are the reasons for which the changed query cannot go on at all, besides
	// operators that are rebuilt.
	Refused []string `json:"refused,omitempty"`
}

// PlanChange is what becomes of an operator's state, or of where a source or sink stands.
type PlanChange struct {
	Name     string `json:"name"`
	Fate     string `json:"fate"` // kept, dropped or rebuilt
	Computes string `json:"computes,omitempty"`
	Why      string `json:"why,omitempty"`
	// Converted says that the rows of the state are written anew in wider types.
	Converted bool `json:"converted,omitempty"`
	free      bool // to begin without anything
	old, now  physical.StateForm
}

func (d *PlanDiff) fate(operator string) string { return fateIn(d.Operators, operator) }

func (d *PlanDiff) sourceFate(name string) string { return fateIn(d.Sources, name) }

func fateIn(list []PlanChange, name string) string {
	for _, c := range list {
		if c.Name == name {
			return c.Fate
		}
	}
	return ""
}

// Rebuilt reports whether an operator finds no state to go on with.
func (d *PlanDiff) Rebuilt() bool {
	for _, o := range d.Operators {
		if o.Fate == fateRebuilt && !o.free {
			return true
		}
	}
	return false
}

// Lines prints the changes, a line each.
func (d *PlanDiff) Lines() []string {
	var out []string
	for _, part := range []struct {
		what string
		list []PlanChange
	}{{"state", d.Operators}, {"source", d.Sources}, {"sink", d.Sinks}} {
		for _, c := range part.list {
			line := fmt.Sprintf("%-8s%-8s%s", part.what, c.Fate, c.Name)
			if c.Why != "" {
				line += ": " + c.Why
			}
			out = append(out, line)
		}
	}
	for _, r := range d.Refused {
		out = append(out, "refused "+r)
	}
	return out
}

// allowed refuses what the setting does not allow.
func (d *PlanDiff) allowed(policy string) error {
	why := append([]string{}, d.Refused...)
	if policy != "empty" {
		for _, o := range d.Operators {
			if o.Fate == fateRebuilt && !o.free {
				why = append(why, fmt.Sprintf("%s has no state to go on with: %s", o.Name, o.Why))
			}
		}
	}
	if len(why) == 0 {
		return nil
	}
	hint := "give the changed query a new checkpoint, or start the old one again"
	if len(d.Refused) == 0 {
		hint += "; WITH BOOTSTRAP rebuilds such operators from input that is read again, and SET state.evolution = 'empty' lets them begin without state"
	}
	return &batch.Error{Kind: batch.User, Err: fmt.Errorf("%w: %s; %s", microbatch.ErrPlanChanged, strings.Join(why, "; "), hint)}
}

// DiffPlan compares what a checkpoint holds with the query of a script that would go
// on from it: that of the name, or if it is empty the one that the checkpoint is of.
// The script's tables are declared, its queries planned, and nothing is run or changed.
func DiffPlan(ctx context.Context, opts Options, dir, script, name string) (_ *PlanDiff, err error) {
	r, err := state.Find(vfsx.Default, dir, "", batch.None)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = r.Meta.Name
	}
	opts.Pipeline, opts.ExplainOnly = true, true
	s, err := NewSession(opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var found *state.PlanInfo
	var names []string
	s.former = func(d *queryDef) *state.PlanInfo {
		if strings.EqualFold(d.name, name) {
			return r.Info
		}
		return nil
	}
	s.planned = func(d *queryDef, q *planner.Query, targets []target) {
		names = append(names, d.name)
		if !strings.EqualFold(d.name, name) {
			return
		}
		var info *state.PlanInfo
		bad, berr := s.quarantine(q, d.name, dir)
		if berr == nil {
			info, berr = infoOf(q, append(targets, bad...), planHash(q, targets), d.text)
		}
		found, err = info, errors.Join(err, berr)
	}
	if rerr := s.Run(ctx, script, func(*Result) error { return nil }); rerr != nil || err != nil {
		return nil, errors.Join(rerr, err)
	}
	if found == nil {
		return nil, batch.UserErrorf("the script has no streaming query %q%s; it has %s", name, options.Suggest(name, names), strings.Join(names, ", "))
	}
	return diffPlans(r, found)
}

// diffPlans compares a checkpoint with a plan.
func diffPlans(r *state.Root, now *state.PlanInfo) (*PlanDiff, error) {
	was := r.Info
	ops, err := r.Operators()
	if err != nil {
		return nil, err
	}
	if was == nil { // of a program that described none: names must do
		was = &state.PlanInfo{}
		for _, g := range r.Plan.Ranges {
			if src, ok := now.Source(g.Source); ok {
				was.Sources = append(was.Sources, src)
			} else {
				was.Sources = append(was.Sources, state.SourceInfo{Name: g.Source})
			}
		}
		was.Sinks = now.Sinks
		for _, name := range ops {
			if o, ok := now.Operator(name); ok {
				was.Operators = append(was.Operators, o)
			}
		}
	}
	has := map[string]bool{}
	for _, name := range ops {
		has[name] = true
	}
	kept := *was
	kept.Operators = nil
	for _, o := range was.Operators {
		if has[o.Name] {
			kept.Operators = append(kept.Operators, o)
			delete(has, o.Name)
		}
	}
	for _, name := range ops {
		if has[name] {
			kept.Operators = append(kept.Operators, state.OperatorInfo{Name: name})
		}
	}
	d, err := compareInfos(&kept, now)
	if err == nil {
		d.readTwice(&kept, now, r.Plan.Ranges)
	}
	return d, err
}

// readTwice refuses to go on where a table that the query reads more than once had a
// source for each time, as version 0.1 had, and these do not stand at one place: state
// made of two prefixes of a table cannot be continued from either.
func (d *PlanDiff) readTwice(was, now *state.PlanInfo, ranges []batch.Range) {
	ends := map[string]batch.Offset{}
	for _, g := range ranges {
		ends[g.Source] = g.End
	}
	for _, old := range was.Sources {
		if _, there := now.Source(old.Name); there || !old.Stream {
			continue
		}
		for _, s := range now.Sources {
			_, known := was.Source(s.Name)
			if !known || s.Reads < 2 || s.Table != old.Table || s.Connector != old.Connector || s.Place != old.Place || ends[s.Name] == ends[old.Name] {
				continue
			}
			d.Refused = append(d.Refused, fmt.Sprintf("the query reads table %s %d times, which is one source now: %s stood at %q and %s at %q, and the state is of both",
				s.Table, s.Reads, s.Name, ends[s.Name], old.Name, ends[old.Name]))
		}
	}
}

// compareInfos compares two plans, operator by operator: by their names, which are
// made from what they compute, and by how their rows lie.
func compareInfos(was, now *state.PlanInfo) (*PlanDiff, error) {
	d := &PlanDiff{Operators: []PlanChange{}, Sources: []PlanChange{}, Sinks: []PlanChange{}}
	for _, o := range now.Operators {
		c := PlanChange{Name: o.Name, Fate: fateKept, Computes: o.Text}
		old, ok := was.Operator(o.Name)
		switch {
		case !ok && o.Kind == "index":
			c.Fate, c.Why, c.free = fateRebuilt, "it is filled by what changes from now on", true
		case !ok:
			c.Fate, c.Why = fateRebuilt, "no operator of the checkpoint computes this: "+o.Text
		default:
			a, err := old.Form()
			if err != nil {
				return nil, err
			}
			b, err := o.Form()
			if err != nil {
				return nil, err
			}
			if why := state.Difference(a, b); why != "" {
				c.Fate, c.Why = fateRebuilt, why
				if notes := state.Widened(a, b); notes != "" {
					c.Fate, c.Why, c.Converted = fateKept, notes+": its rows are converted", true
					c.old, c.now = a, b
				}
			}
		}
		d.Operators = append(d.Operators, c)
	}
	for _, o := range was.Operators {
		if _, ok := now.Operator(o.Name); !ok {
			d.Operators = append(d.Operators, PlanChange{Name: o.Name, Fate: fateDropped, Computes: o.Text, Why: "no operator of the query computes this any more"})
		}
	}
	d.unindexed()
	if err := d.sources(was, now); err != nil {
		return nil, err
	}
	d.sinks(was, now)
	return d, nil
}

// unindexed lets indexes of expiry begin anew whose operator's keys are written anew.
func (d *PlanDiff) unindexed() {
	for _, o := range d.Operators {
		if !o.Converted {
			continue
		}
		for i := range d.Operators {
			if x := &d.Operators[i]; x.Name == physical.TTLName(o.Name) && x.Fate == fateKept {
				x.Fate, x.Why, x.free = fateRebuilt, "the keys of its operator are written anew; it is filled by what changes from now on", true
			}
		}
	}
}

func (d *PlanDiff) sources(was, now *state.PlanInfo) error {
	for _, s := range now.Sources {
		c := PlanChange{Name: s.Name, Fate: fateKept}
		old, ok := was.Source(s.Name)
		switch {
		case !ok:
			c.Fate, c.Why = fateRebuilt, "it is new and is read from its beginning"
		case s.Stream && (old.Connector != s.Connector || old.Place != s.Place):
			d.Refused = append(d.Refused, fmt.Sprintf("source %s was read from %s and is now from %s, where its offsets mean nothing", s.Name, placeText(old.Connector, old.Place), placeText(s.Connector, s.Place)))
		default:
			notes, refused, err := schemaChange(old, s)
			if err != nil {
				return err
			}
			c.Why = strings.Join(notes, ", ")
			d.Refused = append(d.Refused, refused...)
		}
		d.Sources = append(d.Sources, c)
	}
	for _, s := range was.Sources {
		if _, ok := now.Source(s.Name); !ok {
			d.Sources = append(d.Sources, PlanChange{Name: s.Name, Fate: fateDropped, Why: "the query does not read it any more"})
		}
	}
	return nil
}

func placeText(connector, place string) string {
	if place == "" {
		return connector
	}
	return connector + " " + place
}

// schemaChange says how a table's columns have changed. Columns may come and go, and
// types may widen: what is read from now on has the values of both. Any other change
// of a type gives old rows another meaning.
func schemaChange(old, now state.SourceInfo) (notes, refused []string, err error) {
	if old.Schema == nil || now.Schema == nil {
		return nil, nil, nil
	}
	a, err := state.DecodeSchema(old.Schema)
	if err != nil {
		return nil, nil, fmt.Errorf("columns of source %s: %w", old.Name, err)
	}
	b, err := state.DecodeSchema(now.Schema)
	if err != nil {
		return nil, nil, fmt.Errorf("columns of source %s: %w", now.Name, err)
	}
	types := map[string]arrow.DataType{}
	for _, f := range a {
		types[f.Name] = f.Type
	}
	for _, f := range b {
		was, ok := types[f.Name]
		delete(types, f.Name)
		switch {
		case !ok && !f.Nullable:
			refused = append(refused, fmt.Sprintf("column %s of source %s is new and NOT NULL: rows that were read before have none", f.Name, now.Name))
		case !ok:
			notes = append(notes, fmt.Sprintf("column %s is new", f.Name))
		case arrow.TypeEqual(was, f.Type):
		case state.Widens(was, f.Type):
			notes = append(notes, fmt.Sprintf("column %s was %s and is %s", f.Name, expr.TypeName(was), expr.TypeName(f.Type)))
		default:
			refused = append(refused, fmt.Sprintf("column %s of source %s was %s and is %s, which does not hold all values of the former", f.Name, now.Name, expr.TypeName(was), expr.TypeName(f.Type)))
		}
	}
	for _, f := range a {
		if _, gone := types[f.Name]; gone {
			notes = append(notes, fmt.Sprintf("column %s is gone", f.Name))
		}
	}
	return notes, refused, nil
}

func (d *PlanDiff) sinks(was, now *state.PlanInfo) {
	old := map[string]state.SinkInfo{}
	for _, s := range was.Sinks {
		old[s.Name] = s
	}
	for _, s := range now.Sinks {
		c := PlanChange{Name: s.Name, Fate: fateKept}
		if o, ok := old[s.Name]; !ok || o.Connector != s.Connector || o.Place != s.Place {
			c.Fate, c.Why = fateRebuilt, "it is new and gets what comes from now on"
		} else if o.Mode != s.Mode {
			d.Refused = append(d.Refused, fmt.Sprintf("sink %s was written in mode %s and would be in mode %s", s.Name, o.Mode, s.Mode))
		}
		delete(old, s.Name)
		d.Sinks = append(d.Sinks, c)
	}
	for _, s := range was.Sinks {
		if _, gone := old[s.Name]; gone {
			d.Sinks = append(d.Sinks, PlanChange{Name: s.Name, Fate: fateDropped, Why: "the query does not write to it any more; what it holds stays"})
		}
	}
}
