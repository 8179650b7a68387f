package sluice

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sinks/handover"
)

// workforce is what the streaming queries of a session run on, where that is workers in
// other processes.
type workforce struct {
	members *driver.Members
	// join makes the node of a query on the network of the workers.
	join func(id transport.NodeID) (transport.Transport, error)
	// logs is where the queries have their batch logs; nil is the folders of their checkpoints.
	logs *driverLogs
	// taken, if not nil, is told which workers a life of a query runs on.
	taken func(id batch.QueryID, workers []transport.NodeID)
	// script is the text that the session runs: the workers plan from it.
	script string
}

// checkpointDirKey is what workers are told besides settings: the base of checkpoints.
const checkpointDirKey = "cluster.checkpoint-dir"

// enlist lets a query run on the workers of a cluster.
func (c *workforce) enlist(ctx context.Context, s *Session, q *Query, opt *driver.Options) error {
	node, err := c.join(driverNode(q.log.Metadata().Query))
	if err != nil {
		return err
	}
	q.node = node
	opt.Transport, opt.Members, opt.Workers = node, c.members, nil
	opt.Standbys = int(s.set.snapshot().Int(setStandbys))
	if c.taken != nil {
		opt.Listener = driver.Listeners{opt.Listener, driver.ListenerFunc(func(o driver.Origin, e driver.Event) {
			if t, ok := e.(driver.WorkersTaken); ok {
				c.taken(o.Query, t.Workers)
			}
		})}
	}
	if q.def.parallelism == 0 && s.set.snapshot().Int(setParallelism) == 0 {
		opt.Auto, opt.Parallelism = true, 1 // until there are workers
	}
	if p := s.buckets.of(q.dir); p != nil {
		// A folder that stands for a bucket does so on this machine alone.
		opt.StateDir, opt.Reclaim = p.url+"/"+stateDirName, p.reclaim
	}
	// Without the process's own: with them another driver's plan would be another plan.
	settings := settingsHere(s.opts.Settings, nil)
	settings[checkpointDirKey] = s.opts.CheckpointDir
	opt.Deployed = transport.PlanText{Key: textKey(q.hash, q.plan), Query: q.def.name, Definitions: []string{c.script}, Settings: settings}
	// What a worker would come to is known here: the text is all that it has.
	again, _, err := planText(ctx, Options{Logger: s.opts.Logger, Stdout: s.opts.Stdout, Settings: s.opts.Settings}, opt.Deployed.(transport.PlanText))
	if err != nil {
		return fmt.Errorf("plan it from its text alone: %w", err)
	}
	if err := again.Close(); err != nil {
		return err
	}
	for _, t := range q.targets {
		if staged(t.connector) {
			q.res.sinks[t.name] = handover.New(q.res.sinks[t.name], q.res.writers[t.name], takes(node), t.name)
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
	"query-state":   "it reads the memory of the driver",
}

// spreads refuses queries that cannot run in several processes, by name.
func (s *Session) spreads(q *Query) error {
	refuse := func(format string, args ...any) error {
		return refused(batch.UserErrorf("query %s cannot run on a cluster: %s", q.def.name, fmt.Sprintf(format, args...)))
	}
	if !filepath.IsAbs(q.dir) {
		return refuse("its checkpoint '%s' is a relative path, and workers run in other folders", q.dir)
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

// ownSettings say what a process has: they are not those of its driver.
var ownSettings = []options.Option{setMemory, setTemp, setCacheDir, setCacheBytes}

// settingsHere are the settings of a text, and of this process those that are its own.
func settingsHere(text, own map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, text)
	delete(out, checkpointDirKey)
	for _, o := range ownSettings {
		delete(out, o.Key)
		if v, ok := own[o.Key]; ok {
			out[o.Key] = v
		}
	}
	return out
}

// planText plans a query of a script as another process has planned it, in a session of
// its own, which the caller closes. The settings of opts are those of this process.
func planText(ctx context.Context, opts Options, text transport.PlanText) (_ *Session, _ *replayed, err error) {
	opts.CheckpointDir = text.Settings[checkpointDirKey]
	opts.Settings = settingsHere(text.Settings, opts.Settings)
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
		err := fmt.Errorf("the plan of query %s is %s here and %s at its driver: is it a program of another version, or are its tables not the same files?", text.Query, key, text.Key)
		return nil, nil, &batch.Error{Kind: batch.User, Retry: true, Err: err} // another process may come to the same
	}
	return s, found, nil
}
