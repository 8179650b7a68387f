package sql

import (
	"encoding/json"
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// StateCatalog is a catalog that reads the state of queries: state(..) and
// state_changes(..) in FROM.
type StateCatalog interface {
	Catalog
	// State returns a table of an operator's state. options are those of the
	// connector of state, by name.
	State(options map[string]string) (*Relation, error)
}

// stateArgs are the options that the arguments of the functions stand for, in order.
var stateArgs = map[string][]string{
	"STATE":         {"checkpoint", "operator"},
	"STATE_CHANGES": {"checkpoint", "operator", "from", "batch"},
	"QUERY_STATE":   {"query", "operator"},
}

func isStateFunction(name string) bool { return stateArgs[name] != nil }

// stateTable binds state('ck', 'operator'), query_state('q', 'operator', key, ..) and state_changes('ck', 'operator', from, to).
func (b *binder) stateTable(t *ast.TableFunc, name string) (*scope, error) {
	cat, ok := b.cat.(StateCatalog)
	if !ok {
		return nil, unsupported(t.Pos, "the table function "+name)
	}
	opts, keys := map[string]string{}, []string(nil)
	places := stateArgs[name]
	for i, a := range t.Call.Args {
		key, value := "", a
		if n, ok := a.(*ast.NamedArg); ok {
			key, value = strings.ToLower(n.Name.Name), n.X
		} else if i < len(places) {
			key = places[i]
		} else if name == "QUERY_STATE" {
			v, ok := constantText(a)
			if !ok {
				return nil, ast.Errorf(a.Position(), "%s: a key needs constants", name)
			}
			keys = append(keys, v)
			continue
		} else {
			return nil, ast.Errorf(a.Position(), "%s takes %d arguments, then options such as savepoint => 'name'", name, len(places))
		}
		v, ok := constantText(value)
		if !ok {
			return nil, ast.Errorf(a.Position(), "%s: %s needs a constant", name, key)
		}
		opts[key] = v
	}
	for _, key := range places {
		if opts[key] == "" {
			return nil, ast.Errorf(t.Pos, "%s needs %s: %s", name, key, map[string]string{
				"STATE": "state('checkpoint', 'operator')", "STATE_CHANGES": "state_changes('checkpoint', 'operator', from_batch, to_batch)",
				"QUERY_STATE": "query_state('query', 'operator', key, ..)"}[name])
		}
	}
	if keys != nil {
		b, err := json.Marshal(keys)
		if err != nil {
			return nil, ast.Errorf(t.Pos, "%w", err)
		}
		opts["key"] = string(b)
	}
	rel, err := cat.State(opts)
	if err != nil {
		return nil, ast.Errorf(t.Pos, "%w", err)
	}
	sc, err := b.scan(rel.Table)
	if err != nil {
		return nil, err
	}
	for i := range sc.cols {
		sc.cols[i].table = strings.ToLower(name)
	}
	return sc, nil
}
