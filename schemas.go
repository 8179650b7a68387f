package sluice

import (
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// defaultSchema is the schema that every session starts in. Names in it are kept
// without it in front.
const defaultSchema = "default"

// schemas are the session's schemas and which one is in use. A table of another
// schema than the default one is called schema.table.
type schemas struct {
	names   map[string]string // as written, by lower-case name
	current string            // "" for the default one
}

// inDefault cuts off the names of the catalog and of the default schema.
func inDefault(name string) string {
	if rest, ok := cutFold(name, "spark_catalog."); ok {
		name = rest
	}
	if rest, ok := cutFold(name, defaultSchema+"."); ok {
		return rest
	}
	return name
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// lookUp lists the keys that a name may be found under: a name without a schema is
// one of the schema in use before it is one of the default schema.
func (s *schemas) lookUp(name string) []string {
	plain := strings.ToLower(inDefault(name))
	if s.current == "" || strings.Contains(plain, ".") || !strings.EqualFold(plain, name) {
		return []string{plain}
	}
	return []string{strings.ToLower(s.current) + "." + plain, plain}
}

// full is the name that a new relation gets.
func (s *schemas) full(name string) string {
	plain := inDefault(name)
	if s.current == "" || strings.Contains(plain, ".") || plain != name {
		return plain
	}
	return s.current + "." + plain
}

func (c *catalog) createSchema(name string, ifNotExists bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(inDefault(name))
	if _, taken := c.mu.schemas.names[key]; (taken || key == defaultSchema) && !ifNotExists {
		return batch.UserErrorf("the schema %q exists already; use IF NOT EXISTS", name)
	}
	if _, taken := c.mu.schemas.names[key]; !taken && key != defaultSchema {
		c.mu.schemas.names[key] = inDefault(name)
	}
	return nil
}

// schemaNames lists the schemas by name.
func (c *catalog) schemaNames() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := []string{defaultSchema}
	for _, n := range c.mu.schemas.names {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (c *catalog) noSchema(name string) error {
	return batch.UserErrorf("there is no schema %q%s", name, options.Suggest(name, c.schemaNames()))
}

// useSchema makes a schema the one in use.
func (c *catalog) useSchema(name string) error {
	c.mu.Lock()
	key := strings.ToLower(inDefault(name))
	written, ok := c.mu.schemas.names[key]
	if ok || key == defaultSchema {
		c.mu.schemas.current = written
	}
	c.mu.Unlock()
	if !ok && key != defaultSchema {
		return c.noSchema(name)
	}
	return nil
}

// dropSchema forgets a schema and returns what was in it.
func (c *catalog) dropSchema(name string, cascade, ifExists bool) ([]*sql.Relation, error) {
	key := strings.ToLower(inDefault(name))
	if key == defaultSchema {
		return nil, batch.UserErrorf("the schema %q cannot be dropped", name)
	}
	c.mu.Lock()
	_, ok := c.mu.schemas.names[key]
	var in []*sql.Relation
	for k, r := range c.mu.relations {
		if strings.HasPrefix(k, key+".") {
			in = append(in, r)
		}
	}
	if ok && (cascade || len(in) == 0) {
		for _, r := range in {
			delete(c.mu.relations, strings.ToLower(r.Name))
		}
		delete(c.mu.schemas.names, key)
		if strings.EqualFold(c.mu.schemas.current, key) {
			c.mu.schemas.current = ""
		}
	}
	c.mu.Unlock()
	switch {
	case !ok && ifExists:
		return nil, nil
	case !ok:
		return nil, c.noSchema(name)
	case !cascade && len(in) > 0:
		return nil, batch.UserErrorf("the schema %q is not empty: it holds %d tables and views; use CASCADE", name, len(in))
	}
	return in, nil
}

// qualify gives the tables of a view's query the schema that they are in now, so
// that USE changes no view. Names of common table expressions stay.
func (c *catalog) qualify(q *ast.Query) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.mu.schemas.names) == 0 {
		return
	}
	ctes := map[string]bool{}
	ast.Inspect(q, func(n ast.Node) bool {
		if q, ok := n.(*ast.Query); ok && q.With != nil {
			for _, cte := range q.With.CTEs {
				ctes[strings.ToLower(cte.Name.Name)] = true
			}
		}
		return true
	})
	ast.Inspect(q, func(n ast.Node) bool {
		t, ok := n.(*ast.TableName)
		if !ok || len(t.Name.Parts) != 1 || ctes[strings.ToLower(t.Name.Parts[0].Name)] {
			return true
		}
		for _, key := range c.mu.schemas.lookUp(t.Name.Parts[0].Name) {
			if r := c.mu.relations[key]; r != nil {
				schema := defaultSchema
				if s, _, ok := strings.Cut(r.Name, "."); ok {
					schema = s
				}
				t.Name.Parts = []ast.Ident{{Pos: t.Name.Pos, Name: schema, Quoted: true}, t.Name.Parts[0]}
				break
			}
		}
		return true
	})
}

// alterRelation gives a table or view another name, or a view another query.
func (s *Session) alterRelation(st *ast.AlterRelation) (*Result, error) {
	rel, err := s.relation(&st.Name)
	if err != nil {
		return nil, err
	}
	if isTable := rel.Table != nil; isTable != (st.Kind == "TABLE") {
		kinds := map[bool]string{true: "TABLE", false: "VIEW"}
		return nil, ast.Errorf(st.Name.Pos, "%q is a %s: use ALTER %s", rel.Name, strings.ToLower(kinds[isTable]), kinds[isTable])
	}
	if st.Query != nil {
		return s.createView(&ast.CreateView{Pos: st.Pos, OrReplace: true, Name: st.Name, Query: st.Query})
	}
	old, name := rel.Name, nameText(*st.Rename)
	if _, within, ok := strings.Cut(old, "."); ok && !strings.Contains(name, ".") {
		name = strings.TrimSuffix(old, within) + name // it stays in its schema
	}
	renamed := *rel
	renamed.Name = name
	if rel.Table != nil {
		table := *rel.Table
		renamed.Table = &table
	}
	if err := s.cat.add(&renamed, false, false); err != nil {
		return nil, s.located(err, st.Rename.Pos)
	}
	s.cat.drop(old)
	return message("%s is called %s now", old, renamed.Name), nil
}

func (s *Session) createSchemaStatement(st *ast.CreateSchema) (*Result, error) {
	name := nameText(st.Name)
	if err := s.cat.createSchema(name, st.IfNotExists); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	return message("schema %s created", name), nil
}

func (s *Session) useStatement(st *ast.Use) (*Result, error) {
	name := nameText(st.Name)
	if st.Kind == "CATALOG" || strings.EqualFold(name, "spark_catalog") {
		if !strings.EqualFold(name, "spark_catalog") {
			return nil, ast.Errorf(st.Name.Pos, "there is no catalog %q: a session has one", name)
		}
		return message("catalog in use"), nil
	}
	if err := s.cat.useSchema(name); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	return message("schema %s in use", name), nil
}

func (s *Session) dropSchemaStatement(st *ast.Drop) (*Result, error) {
	name := nameText(st.Name)
	gone, err := s.cat.dropSchema(name, st.Cascade, st.IfExists)
	if err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	for _, r := range gone {
		s.forgetRows(r)
	}
	return message("schema %s dropped", name), nil
}

// inSchema lists the relations of one schema, or those of the schema in use and
// the default one.
func (c *catalog) inSchema(rows [][]string, schema string) ([][]string, error) {
	c.mu.RLock()
	current := c.mu.schemas.current
	c.mu.RUnlock()
	key := strings.ToLower(inDefault(schema))
	if schema == "" {
		key = strings.ToLower(current)
	} else if key != defaultSchema && !slices.ContainsFunc(c.schemaNames(), func(n string) bool { return strings.EqualFold(n, key) }) {
		return nil, c.noSchema(schema)
	}
	var out [][]string
	for _, r := range rows {
		s, name, other := strings.Cut(r[0], ".")
		c.mu.RLock()
		_, known := c.mu.schemas.names[strings.ToLower(s)]
		c.mu.RUnlock()
		other = other && known
		if other == (key != "" && key != defaultSchema) && (!other || strings.EqualFold(s, key)) {
			if other {
				r = append([]string{name}, r[1:]...)
			}
			out = append(out, r)
		}
	}
	return out, nil
}
