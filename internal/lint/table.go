package lint

// rule says what the packages that match may import besides the standard
// library. A pattern is an exact path within the module, or ends in /... and
// means the path and all below it; "." is the root package. A package may
// always import what lies below itself and `internal/invariants`.
type rule struct {
	pkgs []string // the first rule with a match decides
	own  []string // packages of this module
	ext  []string // third-party import paths, with what is below them; "*" is all
	deny []string // packages of the standard library that are refused, with what is below them
	why  string   // printed with a finding
}

// outside is what a package without I/O, clock or logger has no use for.
var outside = []string{
	"context", "log", "net", "os", "io/ioutil", "math/rand", "crypto/rand", "runtime/debug", "database/sql", "syscall",
}

// arrowTypes is Arrow's data model without its file formats and services.
const arrowTypes = "github.com/apache/arrow-go/v18/arrow"

// helpers are the leaves below internal that code at the edge may use.
var helpers = []string{
	"internal/clock", "internal/vfsx", "internal/memory", "internal/options", "internal/render", "internal/kafkaclient", "internal/pgclient", "internal/secret",
	"internal/certs", "internal/auth", "internal/lock", "internal/mutant", "internal/fault",
}

// roots are the seams: interfaces and vocabulary, no implementation.
var roots = []string{"batch", "sources", "sinks", "statestore"}

// table is the import table of the design (`docs/ARCHITECTURE.md`).
var table = []rule{
	{
		pkgs: []string{"batch"}, deny: []string{"context", "log", "net", "os", "math/rand"},
		why: "batch is the vocabulary leaf: the standard library only",
	},
	{
		pkgs: []string{"microbatch/..."}, own: []string{"batch"}, ext: []string{"github.com/robfig/cron/v3"}, deny: outside,
		why: "microbatch is the pure protocol core: it decides, the driver acts",
	},
	{
		pkgs: []string{"planner/..."}, own: []string{"batch", "planner/...", "internal/options"}, ext: []string{arrowTypes, "github.com/zeebo/xxh3"}, deny: outside,
		why: "the planner is a function from plans to plans: batch and Arrow's types only",
	},
	{
		pkgs: []string{"sql/..."}, own: []string{"batch", "planner/...", "sql/...", "internal/options", "formats/avro", "formats/protobuf"}, ext: []string{arrowTypes}, deny: outside,
		why: "the SQL front end is a function from text to logical plans; of formats it has what reads values in memory",
	},
	{
		pkgs: []string{"executor/..."},
		own:  append([]string{"planner/physical", "planner/expr/...", "planner/logical", "executor/...", "formats", "internal/memory", "internal/vfsx", "internal/clock"}, roots...),
		ext:  []string{"*"}, deny: []string{"log", "net"}, // os is for what is spilled, which no restart reads again
		why: "the executor runs physical plans against the roots of sources, sinks and state; it knows neither SQL nor who runs it",
	},
	{
		pkgs: []string{"sources", "sinks", "statestore"}, own: []string{"batch", "internal/options"}, ext: []string{arrowTypes},
		deny: []string{"log", "net", "os", "math/rand"},
		why:  "the root of a seam holds interfaces; implementations live in its subfolders",
	},
	{
		pkgs: []string{"sources/state"},
		own:  append([]string{"batch", "sources", "sources/sourcetest", "statestore/...", "executor/rowkey", "planner/physical", "planner/expr", "driver/filelog", "microbatch"}, helpers...), ext: []string{"*"},
		why: "state as a table: checkpoints are read as they lie, and never by a store",
	},
	{
		pkgs: []string{"sources/..."}, own: append([]string{"batch", "sources", "sources/sourcetest", "sources/counted", "formats/..."}, helpers...), ext: []string{"*"},
		why: "a source knows its seam, the formats and the helpers",
	},
	{
		pkgs: []string{"sinks/..."}, own: append([]string{"batch", "sinks", "sinks/sinktest", "sinks/stage/...", "formats/..."}, helpers...), ext: []string{"*"},
		why: "a sink knows its seam, the formats and the helpers",
	},
	{
		pkgs: []string{"statestore/..."}, own: append([]string{"batch", "statestore/...", "planner/expr/..."}, helpers...), ext: []string{"*"},
		why: "a state store knows its seam and the helpers",
	},
	{
		pkgs: []string{"formats/..."}, own: append([]string{"batch", "formats/..."}, helpers...), ext: []string{"*"},
		why: "formats turn bytes into Arrow and back, whatever the connector",
	},
	{
		pkgs: []string{"driver/..."},
		own:  append(append([]string{"microbatch", "planner/...", "sql/...", "driver/...", "internal/transport/..."}, roots...), helpers...),
		ext:  []string{"*"},
		why:  "the driver plans and commits: it never runs rows, so never executor or worker, and no implementation of a source or sink",
	},
	{
		pkgs: []string{"worker/..."},
		own:  append(append([]string{"executor/...", "planner/physical", "planner/expr/...", "worker/...", "internal/transport/..."}, roots...), helpers...),
		ext:  []string{"*"},
		why:  "the worker runs what it is sent: never driver, microbatch or sql",
	},
	{
		pkgs: []string{"internal/transport/..."},
		own:  append([]string{"batch", "sources", "formats", "formats/arrowipc", "internal/transport/..."}, helpers...), ext: []string{"*"},
		why: "the transport moves messages and rows between nodes and knows neither side",
	},
	{
		pkgs: []string{"internal/sim/...", "internal/timeline/..."}, own: []string{"..."}, ext: []string{"*"},
		why: "the test beds may see everything",
	},
	{
		pkgs: []string{"internal/slt/..."}, own: []string{"internal/slt"}, ext: []string{"*"},
		why: "the runner of logic tests knows engines by their interface",
	},
	{
		pkgs: []string{"internal/vfsx"}, own: []string{"batch", "internal/mutant"}, ext: []string{"*"},
		why: "the file system is a leaf but for the rules that tests break",
	},
	{
		pkgs: []string{"internal/kafkaclient", "internal/pgclient", "internal/secret"}, own: []string{"batch", "internal/options", "internal/secret"}, ext: []string{"*"},
		why: "the options of clients are options as any",
	},
	{
		pkgs: []string{"internal/auth/..."}, own: []string{"batch", "internal/auth", "internal/certs"}, ext: []string{"*"},
		why: "who may do what is told by tokens and certificates, and known to neither side",
	},
	{
		pkgs: []string{"internal/..."}, own: []string{"batch", "internal/clock"}, ext: []string{"*"},
		why: "a package below internal is a leaf unless the table says otherwise",
	},
	{
		pkgs: []string{".", "fn", "cmd/...", "bench/...", "test/...", "examples/...", "tools/..."}, own: []string{"..."}, ext: []string{"*"},
		why: "the root package and the programs wire implementations together",
	},
}
