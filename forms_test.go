package sluice

import (
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/parser"
)

// formQuery is a query of the .slt files that runs as a stream.
type formQuery struct {
	key  string // the same until the query's text changes
	sql  string
	node logical.Node
	s    *Session
}

// streamCorpus binds the queries of all .slt files that stream.
func streamCorpus(t *testing.T) []formQuery {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("test", "slt", "*.slt"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no .slt files", err)
	}
	var out []formQuery
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := slt.Parse(path, string(text))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(f.Modes, slt.Stream) {
			continue
		}
		s, dir := openSession(t, Options{}), t.TempDir()
		seen := map[string]int{}
		for _, r := range f.Records {
			switch st := r.Step.(type) {
			case *slt.Statement:
				if words := strings.Fields(strings.ToUpper(st.SQL)); st.Error == nil && (words[0] == "CREATE" || words[0] == "SET" || words[0] == "DROP") {
					_ = s.Exec(t.Context(), strings.ReplaceAll(st.SQL, "$DIR", dir)) // what fails is missed by a query
				}
			case *slt.Query:
				q, err := parser.ParseQuery(strings.TrimSuffix(strings.TrimSpace(st.SQL), ";"), parser.Options{})
				if err != nil || st.Error != nil {
					continue
				}
				n, err := sql.BindQuery(s.cat, q, s.bindOptions())
				if err != nil || !logical.Streaming(n) {
					continue
				}
				h := fnv.New32a()
				fmt.Fprint(h, strings.Join(strings.Fields(st.SQL), " "))
				key := fmt.Sprintf("%s %08x", strings.TrimSuffix(filepath.Base(path), ".slt"), h.Sum32())
				if seen[key]++; seen[key] > 1 {
					key = fmt.Sprintf("%s-%d", key, seen[key])
				}
				out = append(out, formQuery{key, st.SQL, n, s})
			}
		}
	}
	if len(out) < 300 {
		t.Fatalf("the .slt files have %d queries that stream: the test reads them wrongly", len(out))
	}
	return out
}

// plan plans a query of the corpus without a rule.
func (q formQuery) plan(skip string, formed func(kind, text string)) (*planner.Query, error) {
	q.s.skipRules, q.s.formed = map[string]bool{skip: true}, formed
	p, _, err := q.s.planStream(q.def())
	return p, err
}

func (q formQuery) def() *queryDef {
	return &queryDef{name: "q", mode: sinks.Changelog, inserts: []insertDef{{node: q.node, table: &sql.TableDef{Name: "out", Connector: "console"}}}}
}

// TestForms freezes what the operators of the streamed queries compute in the form that
// checkpoints hold. A line that changes here cuts checkpoints that were written before
// off from plans that other rules make: a change needs a reason. Queries that are new are
// added by -rewrite.
func TestForms(t *testing.T) {
	path := filepath.Join("testdata", "plans", "forms.txt")
	frozen := map[string]string{}
	old, err := os.ReadFile(path)
	rewrite := flag.Lookup("rewrite").Value.String() == "true"
	if err != nil && !rewrite {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(old)) {
		key, forms, _ := strings.Cut(strings.TrimSpace(line), ": ")
		frozen[key] = forms
	}
	var lines []string
	met, all, said := 0, 0, 0
	for _, q := range streamCorpus(t) {
		p, err := q.plan("", nil)
		if err != nil {
			continue // no streaming query
		}
		var forms []string
		for _, f := range p.Plan.StateForms() {
			if f.Kind == "index" {
				continue
			}
			if all++; p.Forms[f.Operator] != "" {
				said++
			}
			kind, _, _ := strings.Cut(f.Operator, "-")
			forms = append(forms, kind+" "+cmp.Or(p.Forms[f.Operator], "unknown"))
		}
		if len(forms) == 0 {
			continue
		}
		got := strings.Join(forms, ", ")
		lines = append(lines, q.key+": "+got)
		if want, ok := frozen[q.key]; ok {
			if met++; want != got && !rewrite {
				var texts []string
				_, _ = q.plan("", func(kind, text string) { texts = append(texts, text) })
				t.Errorf("%s: %s, and was %s\n%s\n%s", q.key, got, want, q.sql, strings.Join(texts, "\n"))
			}
		}
	}
	if said*100 < all*97 {
		t.Errorf("of %d operators with state only %d have a form", all, said)
	}
	if rewrite {
		slices.Sort(lines)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if met < 200 {
		t.Errorf("only %d queries of %s are in the corpus", met, path)
	}
}

// TestFormsWithoutRule holds that a plan without a rule, as another build may make it,
// has operators of the same forms where their state is the same, and finds their names.
func TestFormsWithoutRule(t *testing.T) {
	corpus := streamCorpus(t)
	full := make([]*planner.Query, len(corpus))
	for i, q := range corpus {
		full[i], _ = q.plan("", nil) // nil: no streaming query
	}
	for r, c := range []struct {
		rule string
		// renames says that the rule changes many names; loses, how many of a hundred operators
		// keep other rows or stand over other joins without it.
		renames bool
		loses   int
	}{
		{"fold-constants", false, 0}, {"merge-filters", false, 0}, {"factor-conditions", false, 0}, {"push-filters", false, 0},
		{"order-joins", false, 20}, {"push-filters-into-joins", false, 0}, {"merge-projects", false, 0}, {"scan-filters", true, 0}, {"prune-columns", true, 75},
	} {
		found, all, renamed := 0, 0, 0
		for i, q := range corpus {
			if full[i] == nil || (i+r)%5 > 0 {
				continue
			}
			p, err := q.plan(c.rule, nil)
			if err != nil {
				continue // nothing to compare
			}
			names := map[string]string{}
			for name, form := range full[i].Forms {
				names[form] = name
			}
			for _, f := range p.Plan.StateForms() {
				form := p.Forms[f.Operator]
				if f.Kind == "index" || form == "" {
					continue
				}
				all++
				if was := names[form]; was == "" && f.Kind == physical.GroupState && c.loses == 0 {
					t.Errorf("%s: without %s operator %s computes something else", q.sql, c.rule, f.Operator)
				} else if was != "" {
					if found++; was != f.Operator {
						renamed++
					}
				}
			}
			if p.Renames(names) {
				again, _, err := q.s.planNamed(q.def(), names)
				if err != nil || again.Renames(names) || again.Plan.Key == p.Plan.Key {
					t.Errorf("%s: without %s the names are not taken over, or the plan's key does not tell: %v", q.sql, c.rule, err)
				}
			}
		}
		if lost := all - found; lost*100 > all*c.loses || c.renames && renamed == 0 || all == 0 {
			t.Errorf("without %s, of %d operators %d are found, %d by another name", c.rule, all, found, renamed)
		}
	}
}

// TestOtherRulesKeepState holds that a query goes on with its state under a program
// whose optimizer makes another plan of it.
func TestOtherRulesKeepState(t *testing.T) {
	b := newStateBed(t)
	b.feed(0, 1)
	const query = `CREATE STREAMING QUERY q OUTPUT MODE complete AS INSERT INTO res SELECT k, count(*), sum(v) FROM ev WHERE v >= 0 GROUP BY k`
	old := b.session()
	old.skipRules = map[string]bool{"prune-columns": true, "scan-filters": true}
	b.exec(old, query)
	was := b.drained(old, "q")
	b.close(old)
	ck := filepath.Join(b.dir, "ck", "q")
	ddl := `CREATE TABLE ev (id BIGINT, k STRING, v BIGINT) WITH ('connector'='filesystem','path'='` + b.dir + `/in','format'='csv','max-files-per-trigger'='1');
		CREATE TABLE res (k STRING, n BIGINT, s BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory');`
	d, err := DiffPlan(t.Context(), Options{}, ck, ddl+query, "q")
	if err != nil || len(d.Operators) != 1 || d.Operators[0].Fate != fateKept {
		t.Errorf("plan-diff says %v, %v", d, err)
	}
	b.feed(2)
	now := b.session()
	b.exec(now, query)
	q := b.drained(now, "q")
	b.same("after the rules have changed", b.rows(now, "SELECT * FROM res"), b.want(3))
	if q.hash == was.hash {
		t.Error("the rules make no other plan: the test proves nothing")
	}
	if a, z := was.plan.Plan.StateForms(), q.plan.Plan.StateForms(); a[0].Operator != z[0].Operator {
		t.Errorf("the operator was named %s and is named %s", a[0].Operator, z[0].Operator)
	}
	b.close(now)
	again := b.session()
	b.feed(3)
	b.exec(again, query)
	if q2 := b.drained(again, "q"); q2.hash != q.hash {
		t.Error("the third start has another plan than the second")
	}
	b.same("after another start", b.rows(again, "SELECT * FROM res"), b.want(4))
	b.close(again)
}

// TestOtherRulesOtherRows holds that state whose rows lie otherwise under other rules
// is neither taken nor forgotten.
func TestOtherRulesOtherRows(t *testing.T) {
	b := newStateBed(t)
	b.feed(0, 1)
	const query = `CREATE STREAMING QUERY q OUTPUT MODE complete AS INSERT INTO res SELECT k, count(*), max(id) FROM
		(SELECT a.k, a.id FROM ev a JOIN ev b ON a.id = b.v) GROUP BY k`
	old := b.session()
	old.skipRules = map[string]bool{"prune-columns": true}
	b.exec(old, query)
	b.drained(old, "q")
	rows := b.rows(old, "SELECT * FROM res")
	b.close(old)
	now := b.session()
	b.fails(now, query, "has no state to go on with: no operator of the checkpoint computes this: Recompute join-")
	b.exec(now, "SET 'state.evolution' = 'bootstrap'")
	b.exec(now, query)
	b.drained(now, "q")
	b.same("rebuilt", b.rows(now, "SELECT * FROM res"), rows)
	b.close(now)
}

// TestOtherRulesAfterACrash holds that batches that a crash has left are finished by the
// rules that planned them, and that who has other ones is told so.
func TestOtherRulesAfterACrash(t *testing.T) {
	b := newStateBed(t)
	b.feed(0, 1)
	const query = `CREATE STREAMING QUERY q OUTPUT MODE complete AS INSERT INTO res SELECT k, count(*), sum(v) FROM ev WHERE v >= 0 GROUP BY k`
	rules := map[string]bool{"prune-columns": true, "scan-filters": true}
	old := b.session("checkpoint.interval=1h")
	old.skipRules = rules
	b.exec(old, query)
	b.drained(old, "q").Abandon()
	b.close(old)
	now := b.session()
	b.fails(now, query, "its state is in no checkpoint: start the query as it was")
	b.close(now)
	old = b.session()
	old.skipRules = rules
	b.exec(old, query)
	b.drained(old, "q")
	b.close(old)
	b.feed(2)
	now = b.session()
	b.exec(now, query)
	b.drained(now, "q")
	b.same("after both", b.rows(now, "SELECT * FROM res"), b.want(3))
	b.close(now)
}
