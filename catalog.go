package sluice

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// catalog holds a session's tables, views and functions. It lives in memory:
// a script declares what it uses.
type catalog struct {
	// files makes a table of files, for paths in FROM.
	files func(format string, paths []string, opts map[string]string) (*sql.Relation, error)
	known func(format string) bool
	// state makes a table of a query's state.
	state func(opts map[string]string) (*sql.Relation, error)
	mu    struct {
		sync.RWMutex
		relations  map[string]*sql.Relation // by lower-case name
		scalars    map[string]ScalarFunc
		aggregates map[string]AggregateFunc
		functions  map[string]*ast.CreateFunction // see Definitions
		variables  map[string]*variable
		schemas    schemas
	}
}

func newCatalog() *catalog {
	c := &catalog{}
	c.mu.relations = map[string]*sql.Relation{}
	c.mu.scalars = map[string]ScalarFunc{}
	c.mu.aggregates = map[string]AggregateFunc{}
	c.mu.functions = map[string]*ast.CreateFunction{}
	c.mu.variables = map[string]*variable{}
	c.mu.schemas.names = map[string]string{}
	return c
}

// Relation implements sql.Catalog.
func (c *catalog) Relation(name string) (*sql.Relation, error) {
	c.mu.RLock()
	rel := c.declaredLocked(name)
	c.mu.RUnlock()
	if rel != nil || c.files == nil {
		return rel, nil
	}
	format, path, ok := strings.Cut(name, ".")
	switch {
	case ok && c.known(strings.ToLower(format)) && strings.ContainsAny(path, "/.*"):
		return c.files(strings.ToLower(format), []string{path}, nil)
	case strings.Contains(name, "/") || pathLike(name):
		return c.files("", []string{name}, nil)
	}
	return nil, nil
}

// pathLike says whether a name that no table has is that of a file beside the program.
func pathLike(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && strings.Contains(name, ".")
}

// Files implements sql.FileCatalog.
func (c *catalog) Files(format string, paths []string, opts map[string]string) (*sql.Relation, error) {
	return c.files(format, paths, opts)
}

// State implements sql.StateCatalog.
func (c *catalog) State(opts map[string]string) (*sql.Relation, error) { return c.state(opts) }

// declaredLocked is the relation that a name has in the session.
func (c *catalog) declaredLocked(name string) *sql.Relation {
	for _, key := range c.mu.schemas.lookUp(name) {
		if r := c.mu.relations[key]; r != nil {
			return r
		}
	}
	return nil
}

// Relations implements sql.Catalog.
func (c *catalog) Relations() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := make([]string, 0, len(c.mu.relations))
	for _, r := range c.mu.relations {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names
}

// Scalar implements sql.Catalog.
func (c *catalog) Scalar(name string, args []expr.Expr) (expr.Expr, error) {
	c.mu.RLock()
	f, ok := c.mu.scalars[strings.ToLower(name)]
	c.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	return f.bind(strings.ToLower(name), args)
}

// Aggregate implements sql.Catalog.
func (c *catalog) Aggregate(name string, args []expr.Expr) (*expr.AggCall, error) {
	c.mu.RLock()
	f, ok := c.mu.aggregates[strings.ToLower(name)]
	c.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	return f.bind(strings.ToLower(name), args)
}

// Functions implements sql.Catalog.
func (c *catalog) Functions() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var names []string
	for n := range c.mu.scalars {
		names = append(names, n)
	}
	for n := range c.mu.aggregates {
		names = append(names, n)
	}
	for n := range c.mu.functions {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// add makes a relation known. exists says what to do if the name is taken:
// an error, or with orReplace the new one, or with ifNotExists the old one.
func (c *catalog) add(r *sql.Relation, orReplace, ifNotExists bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Name = c.mu.schemas.full(r.Name)
	if r.Table != nil {
		r.Table.Name = r.Name
	}
	key := strings.ToLower(r.Name)
	if _, taken := c.mu.relations[key]; taken && !orReplace {
		if ifNotExists {
			return nil
		}
		return nameTaken(r.Name)
	}
	c.mu.relations[key] = r
	return nil
}

func nameTaken(name string) error {
	return batch.UserErrorf("%q exists already; use CREATE OR REPLACE or IF NOT EXISTS", name)
}

func (c *catalog) addPlan(name string, n logical.Node) error {
	return c.add(&sql.Relation{Name: name, Plan: n}, true, false)
}

// drop forgets a relation and reports whether there was one.
func (c *catalog) drop(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.mu.schemas.lookUp(name) {
		if _, ok := c.mu.relations[key]; ok {
			delete(c.mu.relations, key)
			return true
		}
	}
	return false
}

// freeName refuses the name of a built-in function, which would win.
func freeName(name string) error {
	if _, ok := functions.Lookup(name); ok {
		return batch.UserErrorf("%q is a built-in function: register yours under another name", name)
	}
	return nil
}

func (c *catalog) addScalar(name string, f ScalarFunc) error {
	if err := freeName(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.aggregates[name]; ok {
		return batch.UserErrorf("%q is an aggregate already", name)
	}
	c.mu.scalars[name] = f
	return nil
}

func (c *catalog) addAggregate(name string, f AggregateFunc) error {
	if err := freeName(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.scalars[name]; ok {
		return batch.UserErrorf("%q is a function already", name)
	}
	c.mu.aggregates[name] = f
	return nil
}

var (
	_ sql.FileCatalog  = (*catalog)(nil)
	_ sql.StateCatalog = (*catalog)(nil)
)
