package avro

import (
	"encoding/json"
	"strconv"
)

// Text is the schema as JSON: the same for the same schema.
func (s *Schema) Text() string {
	w := &schemaWriter{seen: map[string]bool{}}
	w.schema(s)
	return string(w.b)
}

type schemaWriter struct {
	b    []byte
	seen map[string]bool
}

func (w *schemaWriter) quote(t string) {
	q, _ := json.Marshal(t) // texts always can be
	w.b = append(w.b, q...)
}

func (w *schemaWriter) put(t string) { w.b = append(w.b, t...) }

func (w *schemaWriter) schema(s *Schema) {
	if s.Name != "" && w.seen[s.Name] {
		w.quote(s.Name)
		return
	}
	w.seen[s.Name] = true
	switch s.Kind {
	case Union:
		w.put("[")
		for i, b := range s.Branches {
			if i > 0 {
				w.put(",")
			}
			w.schema(b)
		}
		w.put("]")
		return
	case Record:
		w.record(s)
		return
	default: // the others are behind the switch
	}
	if s.Kind <= String && s.Logical == "" {
		w.quote(s.Kind.String())
		return
	}
	w.put(`{"type":"` + s.Kind.String() + `"`)
	if s.Name != "" {
		w.put(`,"name":`)
		w.quote(s.Name)
	}
	switch s.Kind {
	case Array:
		w.put(`,"items":`)
		w.schema(s.Items)
	case Map:
		w.put(`,"values":`)
		w.schema(s.Items)
	case Fixed:
		w.put(`,"size":` + strconv.Itoa(s.Size))
	case Enum:
		w.put(`,"symbols":`)
		w.list(s.Symbols)
	default: // the others are behind the switch
	}
	if s.Logical != "" {
		w.put(`,"logicalType":"` + s.Logical + `"`)
	}
	if s.Logical == "decimal" {
		w.put(`,"precision":` + strconv.Itoa(int(s.Precision)) + `,"scale":` + strconv.Itoa(int(s.Scale)))
	}
	w.put("}")
}

func (w *schemaWriter) list(texts []string) {
	w.put("[")
	for i, t := range texts {
		if i > 0 {
			w.put(",")
		}
		w.quote(t)
	}
	w.put("]")
}

func (w *schemaWriter) record(s *Schema) {
	w.put(`{"type":"record","name":`)
	w.quote(s.Name)
	w.put(`,"fields":[`)
	for i, f := range s.Fields {
		if i > 0 {
			w.put(",")
		}
		w.put(`{"name":`)
		w.quote(f.Name)
		w.put(`,"type":`)
		w.schema(f.Schema)
		if len(f.Aliases) > 0 {
			w.put(`,"aliases":`)
			w.list(f.Aliases)
		}
		if f.HasDefault {
			text, err := json.Marshal(f.Default)
			if err == nil {
				w.put(`,"default":` + string(text))
			}
		}
		w.put("}")
	}
	w.put("]}")
}
