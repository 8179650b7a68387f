package kafka

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

var (
	cyclesMany = flag.Int("cycles", 8, "how often TestCycles kills something")
	cyclesRows = flag.Int("rows", 1000, "how many rows come in each cycle")
	cyclesSet  = flag.String("set", "", "settings of the query of TestCycles: name=value, name=value")
	cyclesTV   = flag.Int("transaction-version", 0, "version of transactions (transaction.version) that the broker of TestCycles has; 0: its newest")
)

// TestCycles kills processes of a cluster of three drivers without any warning while one
// query writes to topics, files and tables of a database: its rows as they are, and counts
// of them. Every other process dies at a crash point of the protocol (internal/fault), if
// they are built in (tag faults). At the end of each cycle all rows are there, once and of each key in order; at
// the end of all the outputs are what a batch run says.
func TestCycles(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) {
		if *cyclesTV > 0 {
			c.transactions(t, int16(*cyclesTV))
		}
		db := startDatabase(t)
		y := &cycles{t: t, c: c, db: db, rng: rand.New(rand.NewPCG(*soakSeed, 4)), cl: c.client(t),
			in: name(t, "in"), out: name(t, "out"), counts: name(t, "counts"), hits: map[string]int{}, last: map[string]int64{}, format: formats[*soakSeed%uint64(len(formats))]}
		c.create(t, 3, y.in, y.out, y.counts)
		y.seen = c.reader(t, y.out)
		y.cast = startCast(t, 2)
		y.cast.submit("cycles", y.text())
		for i := range *cyclesMany {
			y.cycle(i)
			if t.Failed() {
				t.FailNow()
			}
		}
		y.finish()
		t.Logf("%d cycles of %d rows are there, in order; files of %s, %s%v, %d restarts, all rows after %.1f s at most", *cyclesMany, *cyclesRows, y.format, y.special(), y.hits, y.cast.again, y.worst.Seconds())
	})
}

// transactions sets the version of transactions that the broker has.
func (c *cluster) transactions(t testing.TB, version int16) {
	t.Helper()
	const feature, anyDowngrade = "transaction.version", 3
	now := func() string {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "sluice-test", "1"
		resp, err := req.RequestWith(t.Context(), c.client(t))
		if err != nil {
			return err.Error()
		}
		for _, f := range resp.FinalizedFeatures {
			if f.Name == feature {
				return strconv.Itoa(int(f.MaxVersionLevel))
			}
		}
		return "0"
	}
	if now() == strconv.Itoa(int(version)) {
		return
	}
	done, err := c.adm.UpdateFeatures(t.Context(), false, kadm.FeatureUpdate{Feature: feature, MaxVersionLevel: version, UpgradeType: anyDowngrade})
	if err = errors.Join(err, done.Error()); err != nil {
		t.Fatal(err)
	}
	await(t, "the version of transactions", now, strconv.Itoa(int(version)))
}

// special is what a run has that others have not.
func (y *cycles) special() (s string) {
	if *cyclesTV > 0 {
		s = fmt.Sprintf("transaction.version %d, ", *cyclesTV)
	}
	if *cyclesSet != "" {
		s += *cyclesSet + ", "
	}
	return s
}

// cycles is what TestCycles knows.
type cycles struct {
	t               *testing.T
	c               *cluster
	db              *database
	rng             *rand.Rand
	cl              *kgo.Client
	in, out, counts string
	cast            *cast
	n               int // rows that were produced
	seen            *reader
	times           []bool           // which rows were seen
	copied          int              // how many
	last            map[string]int64 // of each key
	hits            map[string]int
	worst           time.Duration
	declared        string
	format          string // of the files
}

// formats are those of the files; a seed has one of them.
var formats = []string{"json", "parquet"}

// text is the pipeline.
func (y *cycles) text() string {
	const quick, ends = ", 'request-timeout'='5s'", ", 'transaction-timeout'='10s'"
	limit := fmt.Sprintf(", 'max-offsets-per-trigger'='%d', 'discovery-interval'='100ms'", max(*cyclesRows/20, 50))
	y.declared = y.c.table("src", "id BIGINT, k STRING", y.in, limit+quick) +
		y.c.table("dst", "id BIGINT, k STRING", y.out, ", 'key-columns'='k'"+ends+quick) +
		y.c.table("counts", "k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED", y.counts, ends+quick) +
		"CREATE TABLE files (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='" + filepath.Join(y.cast.dir, "files") + "', 'format'='" + y.format + "');\n"
	outs := "INSERT INTO dst SELECT id, k FROM src;\nINSERT INTO files SELECT id, k FROM src;\nINSERT INTO counts SELECT k, count(*) AS n FROM src GROUP BY k;\n"
	if y.db != nil {
		y.declared += y.db.table("rows_of", "id BIGINT, k STRING", "") + y.db.table("counts_of", "k STRING, n BIGINT, total BIGINT, PRIMARY KEY (k) NOT ENFORCED", "")
		outs += "INSERT INTO rows_of SELECT id, k FROM src;\nINSERT INTO counts_of SELECT k, count(*) AS n, sum(id) AS total FROM src GROUP BY k;\n"
	}
	sets := ""
	for _, set := range strings.FieldsFunc(*cyclesSet, func(r rune) bool { return r == ',' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(set), "=")
		sets += fmt.Sprintf("SET '%s' = '%s';\n", name, value)
	}
	return sets + y.declared + "CREATE STREAMING QUERY cycles OUTPUT MODE update AS BEGIN\n" + outs + "END;\n"
}

// cycle kills something while rows come, and waits for all of them.
func (y *cycles) cycle(i int) {
	from := y.n
	y.n += *cyclesRows
	y.times = append(y.times, make([]bool, *cyclesRows)...)
	want := from + y.rng.IntN(*cyclesRows)
	who := y.choose(i)
	point, named := strings.CutPrefix(who, "at ")
	if named {
		y.cast.arm(point)
	}
	begun := time.Now()
	produce(y.t, y.cl, y.in, from, y.n)
	made := time.Since(begun)
	y.read(func() bool { return y.copied >= want })
	came := time.Since(begun) - made
	begun = time.Now()
	if !named {
		y.kill(who)
	} else if point == string(fault.C14) { // nobody else restores state
		y.kill("a worker")
	}
	dead := time.Since(begun)
	y.read(func() bool { return y.copied >= y.n })
	took := time.Since(begun)
	y.worst = max(y.worst, took)
	if y.db != nil {
		await(y.t, "the rows in the database", func() string { y.cast.goesOn(); return y.db.row("SELECT count(*), sum(n), sum(total) FROM counts_of") }, fmt.Sprintf("7 %d %d", y.n, y.n*(y.n-1)/2))
	}
	if named && !y.cast.disarm() {
		who = "nobody, who came to " + point
	}
	y.hits[who]++
	y.t.Logf("cycle %d: killed %s when %d of %d rows were there; all of them %.1f s later (made in %.1f s, read in %.1f s, killed and started in %.1f s, in the database after %.1f s)",
		i, who, want, y.n, took.Seconds(), made.Seconds(), came.Seconds(), dead.Seconds(), time.Since(begun).Seconds())
}

// choose says who is killed, or at which point whoever comes to it.
func (y *cycles) choose(i int) string {
	if fault.On {
		if i%2 == 0 {
			return "at " + string(fault.Points[(i/2+int(*soakSeed))%len(fault.Points)])
		}
		i /= 2
	}
	whom := []string{"a worker", "the leader", "all", "a worker and the leader", "both workers", "two drivers", "the broker"}
	if y.db != nil {
		whom = append(whom, "the database", "all and the database")
	}
	if *cyclesMany > 2*len(whom) {
		return whom[y.rng.IntN(len(whom))]
	}
	return whom[i%len(whom)] // a short run has the first of them
}

// kill ends something, and starts it again.
func (y *cycles) kill(who string) {
	w, d := y.rng.IntN(len(y.cast.workers)), max(y.cast.leader(), 0)
	var workers, drivers []int
	switch who {
	case "a worker":
		workers = []int{w}
	case "both workers":
		workers = []int{w, 1 - w}
	case "the leader":
		drivers = []int{d}
	case "a worker and the leader":
		workers, drivers = []int{w}, []int{d}
	case "two drivers":
		drivers = []int{d, (d + 1) % 3}
	case "all", "all and the database":
		workers, drivers = []int{w, 1 - w}, []int{d, (d + 1) % 3, (d + 2) % 3}
	case "the broker":
		y.c.real.kill(y.t)
		y.c.real.up(y.t)
	}
	for _, w := range workers {
		y.cast.workers[w].kill()
	}
	for _, d := range drivers {
		y.cast.drivers[d].kill()
	}
	if strings.HasSuffix(who, "the database") {
		y.db.kill()
		y.db.up()
	}
	for _, d := range drivers {
		y.cast.startDriver(d)
	}
	for _, w := range workers {
		y.cast.startWorker(w)
	}
}

// read reads the copies on, each of which must be new, and behind those of its key.
func (y *cycles) read(done func() bool) {
	y.t.Helper()
	looked := time.Now()
	y.seen.until(func() bool {
		if time.Since(looked) > 200*time.Millisecond {
			y.cast.goesOn()
			looked = time.Now()
		}
		for _, rec := range y.seen.recs {
			r := rowOf(y.t, rec)
			if r.ID < 0 || r.ID >= int64(y.n) || y.times[r.ID] {
				y.t.Fatalf("row %+v is there twice, or was never produced (there are %d)", r, y.n)
			}
			if was, ok := y.last[r.K]; ok && r.ID <= was {
				y.t.Fatalf("of key %s, %d comes behind %d", r.K, r.ID, was)
			}
			y.times[r.ID], y.last[r.K] = true, r.ID
			y.copied++
		}
		y.seen.recs = y.seen.recs[:0]
		return done()
	})
}

// finish compares all outputs with a batch run over the input.
func (y *cycles) finish() {
	y.t.Helper()
	ask := func(query string) string {
		rows := selected(y.t, y.declared, query)
		slices.Sort(rows)
		return strings.Join(rows, "\n")
	}
	want := ask("SELECT k, count(*), sum(id) FROM src GROUP BY k;")
	await(y.t, "the files", func() string { y.cast.goesOn(); return ask("SELECT k, count(*), sum(id) FROM files GROUP BY k;") }, want)
	if got, want := ask("SELECT count(*), count(DISTINCT id) FROM files;"), fmt.Sprintf("%d %d", y.n, y.n); got != want {
		y.t.Errorf("the files hold %s rows, want %s", got, want)
	}
	if y.db != nil {
		if got := y.db.row("SELECT k, n, total FROM counts_of ORDER BY k"); got != want {
			y.t.Errorf("the database counts\n%s\nwant\n%s", got, want)
		}
		if got, want := y.db.row("SELECT count(*), count(DISTINCT id), sum(id) FROM rows_of"), fmt.Sprintf("%d %d %d", y.n, y.n, y.n*(y.n-1)/2); got != want {
			y.t.Errorf("the database holds %s rows, want %s", got, want)
		}
	}
	counted := y.c.reader(y.t, y.counts)
	counted.toEnd(y.counts)
	checkCounts(y.t, counted.recs, y.n)
	y.seen.toEnd(y.out)
	if y.read(func() bool { return true }); y.copied != y.n {
		y.t.Errorf("%d rows are copied, want %d", y.copied, y.n)
	}
	y.foreign(want)
}

// foreign reads the files with DuckDB, where `make test` has installed it.
func (y *cycles) foreign(want string) {
	python := os.Getenv(duckdb.PythonVariable)
	if python == "" {
		return
	}
	db, err := duckdb.Open(python)
	if err != nil {
		y.t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			y.t.Error(err)
		}
	}()
	_, rows, err := db.Query(y.t.Context(), "SELECT k, count(*), sum(id)::BIGINT FROM read_"+y.format+"('"+filepath.Join(y.cast.dir, "files")+"/*."+y.format+"') GROUP BY k ORDER BY k")
	if err != nil {
		y.t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, strings.Join(r, " "))
	}
	if strings.Join(got, "\n") != want {
		y.t.Errorf("DuckDB finds\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
