package functions

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func jsons() []*Entry {
	return []*Entry{
		fn("get_json_object", "What lies at a path ($, .name, ['name'], [0], [*]) in a JSON text; NULL if nothing does.", `get_json_object('{"a":{"b":[1,"x"]}}', '$.a.b[1]')`, "x",
			sig("string, string -> string", vec.Str2(func(*expr.KernelContext) (vec.S2[string, string], error) {
				var text string
				var path []jsonStep
				return func(dst []byte, s, p string) ([]byte, error) {
					if p != text || path == nil {
						var ok bool
						if path, ok = parsePath(p); !ok {
							text = ""
							return nil, vec.ErrNull
						}
						text = strings.Clone(p)
					}
					return appendJSON(dst, s, path)
				}, nil
			}))).safe(),
		fn("json_array_length", "How many elements a JSON array has; NULL if it is none.", "json_array_length('[1,2,3]')", "3",
			sig("string -> int", k1(func(s string) (int32, error) {
				var v []json.RawMessage
				if json.Unmarshal([]byte(s), &v) != nil || v == nil {
					return 0, vec.ErrNull
				}
				return int32(len(v)), nil
			}))).safe(),
		fn("json_object_keys", "The keys of a JSON object, in order; NULL if it is none.", `json_object_keys('{"b":1,"a":2}')`, "[b, a]",
			sig("string -> array<string>", expr.Kernel(objectKeys))).safe(),
		fn("is_json|json_valid", "Whether a text is valid JSON.", `is_json('{"a":1}')`, "true", sig("string -> boolean", p1(func(s string) bool { return json.Valid([]byte(s)) }))).safe().tight(),
	}
}

// jsonStep is a step of a path: a name, an index, or every element.
type jsonStep struct {
	name  string
	index int
	kind  byte // 'n', 'i' or '*'
}

func parsePath(p string) ([]jsonStep, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(p), "$")
	if !ok {
		return nil, false
	}
	steps := []jsonStep{}
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "['"):
			name, after, ok := strings.Cut(rest[2:], "']")
			if !ok {
				return nil, false
			}
			steps, rest = append(steps, jsonStep{name: name, kind: 'n'}), after
		case rest[0] == '[':
			in, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return nil, false
			}
			step := jsonStep{kind: '*'}
			if in != "*" {
				i, err := strconv.Atoi(in)
				if err != nil || i < 0 {
					return nil, false
				}
				step = jsonStep{kind: 'i', index: i}
			}
			steps, rest = append(steps, step), after
		case rest[0] == '.':
			rest = rest[1:]
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			if n == 0 {
				return nil, false
			}
			steps, rest = append(steps, jsonStep{name: rest[:n], kind: 'n'}), rest[n:]
		default:
			return nil, false
		}
	}
	return steps, true
}

// appendJSON walks the path; a string found is written without its quotes.
func appendJSON(dst []byte, s string, path []jsonStep) ([]byte, error) {
	found, ok := walkJSON([]byte(s), path)
	if !ok {
		return nil, vec.ErrNull
	}
	found = bytes.TrimSpace(found)
	if len(found) > 0 && found[0] == '"' {
		var text string
		if json.Unmarshal(found, &text) != nil {
			return nil, vec.ErrNull
		}
		return append(dst, text...), nil
	}
	if string(found) == "null" {
		return nil, vec.ErrNull
	}
	var b bytes.Buffer
	if json.Compact(&b, found) != nil {
		return nil, vec.ErrNull
	}
	return append(dst, b.Bytes()...), nil
}

func walkJSON(b []byte, path []jsonStep) ([]byte, bool) {
	if len(path) == 0 {
		return b, json.Valid(b)
	}
	step := path[0]
	if step.kind == 'n' {
		var m map[string]json.RawMessage
		if json.Unmarshal(b, &m) != nil {
			return nil, false
		}
		v, ok := m[step.name]
		if !ok {
			return nil, false
		}
		return walkJSON(v, path[1:])
	}
	var l []json.RawMessage
	if json.Unmarshal(b, &l) != nil {
		return nil, false
	}
	if step.kind == 'i' {
		if step.index >= len(l) {
			return nil, false
		}
		return walkJSON(l[step.index], path[1:])
	}
	var out [][]byte
	for _, v := range l {
		if r, ok := walkJSON(v, path[1:]); ok {
			out = append(out, bytes.TrimSpace(r))
		}
	}
	switch len(out) {
	case 0:
		return nil, false
	case 1:
		return out[0], true
	}
	return append(append([]byte{'['}, bytes.Join(out, []byte{','})...), ']'), true
}

func objectKeys(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	s := vec.Load[string](args[0])
	defer s.Release()
	m := vec.StrictMask(kc.Alloc, args, n)
	keys := make([][]string, n)
	for i := range n {
		if m.IsNull(i) {
			continue
		}
		var ok bool
		if keys[i], ok = keysOf(s.At(i)); !ok {
			m.SetNull(i)
		}
	}
	defer m.Release()
	return stringListsMasked(kc, m, keys)
}

func keysOf(s string) ([]string, bool) {
	d := json.NewDecoder(strings.NewReader(s))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var out []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, false
		}
		name, ok := t.(string)
		if !ok {
			return nil, false
		}
		out = append(out, name)
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return nil, false
		}
	}
	_, err := d.Token()
	return out, err == nil
}
