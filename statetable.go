package sluice

import (
	"context"

	"github.com/sluice-stream/sluice/sql"
)

// stateRelation is a table of an operator's state: state('checkpoint or running
// query', 'operator'), or with a batch to start from, state_changes(..).
func (s *Session) stateRelation(opts map[string]string) (*sql.Relation, error) {
	named := map[string]string{}
	for k, v := range opts {
		named[k] = v
	}
	connector := "state"
	if named["query"] != "" {
		connector = "query-state"
	} else if q, ok := s.Query(named["checkpoint"]); ok {
		named["checkpoint"] = q.dir
	} else {
		named["checkpoint"] = s.checkpointNamed(named["checkpoint"])
	}
	def := &sql.TableDef{Name: "state", Connector: connector, Options: named}
	if err := s.checkOptions(def); err != nil {
		return nil, err
	}
	// Binding has no context: a checkpoint's log is read, and no row.
	if err := s.complete(context.Background(), def); err != nil {
		return nil, err
	}
	return &sql.Relation{Name: "state", Table: def}, nil
}
