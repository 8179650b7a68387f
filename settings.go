package sluice

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// The session's settings, by key. SET takes exactly these.
var (
	setParallelism  = options.Option{Key: "parallelism", Kind: options.Int, Default: "auto", Auto: true, Doc: "partitions of a stage; auto, or 0, is the number of cores, and on a cluster the slots of the workers that there are"}
	setMemory       = options.Option{Key: "memory_limit", Kind: options.Bytes, Default: "0", Doc: "bytes that all queries of the process may hold; 0 is three quarters of the machine"}
	setPolicy       = options.Option{Key: "watermark.policy", Kind: options.Enum, Default: "min", Values: []string{"min", "max"}, Doc: "which source's event time counts when there are several; fixed at a query's first start"}
	setIdle         = options.Option{Key: "watermark.idle-timeout", Kind: options.Duration, Default: "0s", Doc: "after this time without data a source, or a partition of one, no longer holds the watermark back; 0 is never"}
	setCheckpoint   = options.Option{Key: "checkpoint.interval", Kind: options.Duration, Default: "10s", Doc: "how often state is made durable; batches never wait for it"}
	setRetain       = options.Option{Key: "checkpoint.retain", Kind: options.Int, Default: "2", Doc: "how many checkpoints of the state are kept"}
	setRetainAge    = options.Option{Key: "checkpoint.retain-age", Kind: options.Duration, Default: "0s", Doc: "besides those, checkpoints of batches younger than this are kept, up to 1,000"}
	setEvolution    = options.Option{Key: "state.evolution", Kind: options.Enum, Default: "kept", Values: []string{"none", "kept", "empty", "bootstrap"}, Doc: "what a changed query does with its checkpoint: none refuses any change; kept goes on if each operator with state finds what it had; empty lets operators that find nothing begin without state; bootstrap rebuilds them from input that is read again"}
	setStandbys     = options.Option{Key: "state.standby-replicas", Kind: options.Int, Default: "0", Doc: "on a cluster, how many workers besides its own have a copy of each part of the state and follow it, so that a lost worker's is at hand at once"}
	setRetries      = options.Option{Key: "batch.max-attempts", Kind: options.Int, Default: "4", Doc: "attempts at a batch before its query fails, for errors that may pass"}
	setZone         = options.Option{Key: "session.time-zone", Kind: options.Text, Default: "UTC", Doc: "the zone in which timestamps are read and shown, an IANA name"}
	setDoubleQuoted = options.Option{Key: "ansi.double-quoted-identifiers", Kind: options.Boolean, Default: "false", Doc: "\"x\" is an identifier instead of a string"}
	setRecursion    = options.Option{Key: "recursion.max-rounds", Kind: options.Int, Default: "10000", Doc: "rounds after which WITH RECURSIVE gives up"}
	setPacking      = options.Option{Key: "exchange.compression", Kind: options.Enum, Default: "none", Values: []string{"none", "lz4", "zstd"}, Doc: "how a worker of a cluster packs rows that workers of other machines read; on one machine they are not packed"}
	setTemp         = options.Option{Key: "spill.dir", Kind: options.Text, Default: "", Doc: "folder for what does not fit into memory; the system's by default"}
)

// These are for tests and for finding a rule's fault: SET takes them, and no list
// shows them.
var (
	setSkipRules = options.Option{Key: "planner.skip-rules", Kind: options.Text, Default: "", Doc: "rules of the planner that are not applied, with commas"}
	setBroadcast = options.Option{Key: "planner.broadcast-bytes", Kind: options.Bytes, Default: "0", Doc: "size up to which a join's side is sent to all tasks; 0 is 128 MiB, or an eighth of the memory limit if that is less"}
	setReduce    = options.Option{Key: "planner.reduce-rows", Kind: options.Int, Default: "0", Doc: "rows from which a join's side is cut down to the keys of the other first; 0 is 100,000"}
	setBootFiles = options.Option{Key: "bootstrap.step-files", Kind: options.Int, Default: "1000", Doc: "files that are read again at once while state is rebuilt"}
	hidden       = []options.Option{setSkipRules, setBroadcast, setReduce, setBootFiles}
)

// Settings lists every key that SET takes, in order.
func Settings() []options.Option {
	out := []options.Option{
		setParallelism, setMemory, setPolicy, setIdle, setCheckpoint, setRetain, setRetries, setZone, setDoubleQuoted, setRecursion, setPacking, setTemp, setErrors, setErrorsTable, setTTL, setRetainAge, setEvolution, setStandbys,
		setS3Endpoint, setS3Region, setS3Access, setS3Secret, setS3Token, setCacheDir, setCacheBytes,
	}
	out = append(out, sharingSettings...)
	slices.SortFunc(out, func(a, b options.Option) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// settings holds the values of one session.
type settings struct {
	mu struct {
		sync.RWMutex
		values options.Map
	}
}

func newSettings(initial map[string]string) (*settings, error) {
	s := &settings{}
	s.mu.values = options.Map{}
	keys := make([]string, 0, len(initial))
	for k := range initial {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := s.set(k, initial[k]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// set changes one key; an unknown one is refused with the nearest name.
func (s *settings) set(key, value string) error {
	key = strings.ToLower(key)
	if err := options.Check("SET", options.Map{key: value}, append(Settings(), hidden...)); err != nil {
		return err
	}
	if key == setZone.Key {
		if _, err := time.LoadLocation(value); err != nil {
			return batch.UserErrorf("SET %s: unknown time zone %q, use a name such as 'Europe/Berlin'", key, value)
		}
	}
	if err := checkSecret(key, value); err != nil {
		return err
	}
	if err := checkSharing(key, value); err != nil {
		return err
	}
	if key == setTTL.Key {
		if _, err := parseTTL(value); err != nil {
			return batch.UserErrorf("SET %s: %w", key, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.values[key] = value
	return nil
}

// reset forgets one key, or all if key is empty.
func (s *settings) reset(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "" {
		s.mu.values = options.Map{}
		return nil
	}
	if _, err := settingNamed(key); err != nil {
		return err
	}
	delete(s.mu.values, strings.ToLower(key))
	return nil
}

// get returns the value of a key, set or default.
func (s *settings) get(o options.Option) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.values.Get(o)
}

// skipRules names the rules that are not applied.
func (s *settings) skipRules() map[string]bool {
	skip := map[string]bool{}
	for id := range strings.SplitSeq(s.get(setSkipRules), ",") {
		skip[strings.TrimSpace(id)] = true
	}
	return skip
}

func (s *settings) snapshot() options.Map {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := options.Map{}
	for k, v := range s.mu.values {
		out[k] = v
	}
	return out
}

func settingNamed(key string) (options.Option, error) {
	all := Settings()
	names := make([]string, len(all))
	for i, o := range all {
		if strings.EqualFold(o.Key, key) {
			return o, nil
		}
		names[i] = o.Key
	}
	return options.Option{}, batch.UserErrorf("unknown setting '%s'%s", key, options.Suggest(key, names))
}

// describe returns rows of key, value and doc, of one key or of all.
func (s *settings) describe(key string) ([][]string, error) {
	if key != "" {
		o, err := settingNamed(key)
		if err != nil {
			return nil, err
		}
		return [][]string{{o.Key, s.get(o), o.Doc}}, nil
	}
	var rows [][]string
	for _, o := range Settings() {
		rows = append(rows, []string{o.Key, s.get(o), o.Doc})
	}
	return rows, nil
}

// String prints the settings that were changed, for logs.
func (s *settings) String() string { return fmt.Sprint(map[string]string(s.snapshot())) }
