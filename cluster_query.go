package sluice

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner"
)

// workforce is what the streaming queries of a session run on, where that is workers in
// other processes.
type workforce struct {
	members *driver.Members
	// join makes the node of a query on the network of the workers.
	join func(id transport.NodeID) (transport.Transport, error)
	// script is the text that the session runs: the workers plan from it.
	script string
}

// checkpointDirKey is what workers are told besides settings: the base of checkpoints.
const checkpointDirKey = "cluster.checkpoint-dir"

// enlist lets a query run on the workers of a cluster.
func (c *workforce) enlist(ctx context.Context, s *Session, q *Query, opt *driver.Options) error {
	node, err := c.join(transport.NodeID("driver/" + string(q.log.Metadata().Query)))
	if err != nil {
		return err
	}
	q.node = node
	opt.Transport, opt.Members, opt.Workers = node, c.members, nil
	if q.def.parallelism == 0 && s.set.snapshot().Int(setParallelism) == 0 {
		opt.Auto, opt.Parallelism = true, 1 // until there are workers
	}
	settings := map[string]string{checkpointDirKey: s.opts.CheckpointDir}
	maps.Copy(settings, s.opts.Settings)
	opt.Deployed = transport.PlanText{Key: textKey(q.hash, q.plan), Query: q.def.name, Definitions: []string{c.script}, Settings: settings}
	// What a worker would come to is known here: the text is all that it has.
	again, _, err := planText(ctx, Options{Logger: s.opts.Logger, Stdout: s.opts.Stdout}, opt.Deployed.(transport.PlanText))
	if err != nil {
		return fmt.Errorf("plan it from its text alone: %w", err)
	}
	if err := again.Close(); err != nil {
		return err
	}
	for _, t := range q.targets {
		if staged(t.connector) {
			q.res.sinks[t.name] = newStagedSink(q.res.sinks[t.name], q.res.writers[t.name], stagedDir(opt.StateDir, t.name), t.name)
		}
	}
	return nil
}

// textKey names a plan with where its rows come from and go to.
func textKey(hash string, q *planner.Query) string { return hash + "/" + q.Plan.Key }

// ownProcess are the connectors whose rows lie in the memory or the folder of the process
// that has opened them.
var ownProcess = map[string]string{
	memoryConnector: "its rows are in the memory of the driver",
	"socket":        "its lines are kept by the driver",
	"state-live":    "it reads the memory of the driver",
}

// spreads refuses queries that cannot run in several processes, by name.
func (s *Session) spreads(q *Query) error {
	refuse := func(format string, args ...any) error {
		return refused(batch.UserErrorf("query %s cannot run on a cluster: %s", q.def.name, fmt.Sprintf(format, args...)))
	}
	if isBucket(s.opts.CheckpointDir) || isBucket(q.def.checkpoint) {
		return refuse("its checkpoint is in a bucket; use a folder that driver and workers share")
	}
	if !filepath.IsAbs(q.dir) {
		return refuse("its checkpoint '%s' is a relative path, and workers run in other folders", q.dir)
	}
	if len(q.plan.Plan.Lookups) > 0 {
		return refuse("it looks rows up in table %s by key, and the answers are logged by one process", q.plan.Tables[q.plan.Plan.Lookups[0].Name].Name)
	}
	for _, src := range q.plan.Plan.Sources {
		t := q.plan.Tables[src.Name]
		if why := ownProcess[t.Connector]; why != "" {
			return refuse("table %s has connector '%s': %s", t.Name, t.Connector, why)
		}
		if p := relativePath(t.Connector, t.Options); p != "" {
			return refuse("table %s has the relative path '%s', and workers run in other folders", t.Name, p)
		}
	}
	for _, t := range q.targets {
		if p := relativePath(t.table.Connector, t.table.Options); p != "" {
			return refuse("table %s has the relative path '%s', and workers run in other folders", t.table.Name, p)
		}
	}
	return nil
}

// relativePath is the path of a table of files that means something else in each
// process; "" if there is none.
func relativePath(connector string, options map[string]string) string {
	p := options["path"]
	if connector != "filesystem" || p == "" || filepath.IsAbs(p) || strings.Contains(p, "://") {
		return ""
	}
	return p
}

// planText plans a query of a script as another process has planned it, in a session of
// its own, which the caller closes.
func planText(ctx context.Context, opts Options, text transport.PlanText) (_ *Session, _ *replayed, err error) {
	opts.Settings = maps.Clone(text.Settings)
	opts.CheckpointDir = opts.Settings[checkpointDirKey]
	delete(opts.Settings, checkpointDirKey)
	s, found, err := replayPlan(ctx, opts, strings.Join(text.Definitions, ";\n"), text.Query, (*Session).formerInfo)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	hash := ""
	if found.plan, found.targets, hash, err = s.planWhole(found.def); err != nil {
		return nil, nil, err
	}
	if key := textKey(hash, found.plan); key != text.Key {
		return nil, nil, batch.UserErrorf("the plan of query %s is %s here and %s at its driver: is it a program of another version, or are its tables not the same files?", text.Query, key, text.Key)
	}
	return s, found, nil
}
