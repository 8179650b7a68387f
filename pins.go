package sluice

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/sql"
)

// pinned is a catalog in which tables that nobody declared the columns of have those
// that a query has once found: what is bound by it is planned as it was, however the
// files have grown since.
type pinned struct {
	*catalog
	of map[string]*sql.TableDef // by lower-case name
}

var (
	_ sql.FileCatalog  = (*pinned)(nil)
	_ sql.StateCatalog = (*pinned)(nil)
)

// Relation implements sql.Catalog.
func (p *pinned) Relation(name string) (*sql.Relation, error) {
	rel, err := p.catalog.Relation(name)
	if err != nil || rel == nil || rel.Table == nil || !rel.Table.Inferred {
		return rel, err
	}
	if def := p.of[strings.ToLower(rel.Table.Name)]; def != nil {
		return &sql.Relation{Name: rel.Name, Table: def}, nil
	}
	return rel, nil
}

// pinnedCatalog is the catalog for binding a query whose checkpoint is, or will be,
// in a folder. Where that cannot be read the start will say why.
func (s *Session) pinnedCatalog(dir string) sql.Catalog {
	info, err := state.ReadPlan(vfsx.Default, dir)
	if err != nil || info == nil {
		return s.cat
	}
	p := &pinned{catalog: s.cat, of: map[string]*sql.TableDef{}}
	for _, src := range info.Sources {
		if !src.Inferred || !src.Stream || len(src.Schema) == 0 {
			continue
		}
		rel, err := s.cat.Relation(src.Table)
		if err != nil || rel == nil || rel.Table == nil || !rel.Table.Inferred || rel.Table.Connector != src.Connector || placeOf(rel.Table.Options) != src.Place {
			continue
		}
		fields, err := state.DecodeSchema(src.Schema)
		if err != nil {
			continue
		}
		def := *rel.Table
		def.Columns, def.Physical = nil, nil
		def.Complete(arrow.NewSchema(fields, nil))
		def.Inferred = true
		p.of[strings.ToLower(def.Name)] = &def
	}
	if len(p.of) == 0 {
		return s.cat
	}
	return p
}
