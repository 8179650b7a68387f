package avro

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

var errDefault = errors.New("it is not of the field's type")

// appendDefault appends the value of a default as Avro writes it. That of a union is of
// its first branch.
func appendDefault(dst []byte, s *Schema, v any) ([]byte, error) {
	switch s.Kind {
	case Null:
		if v == nil {
			return dst, nil
		}
	case Boolean:
		if b, ok := v.(bool); ok {
			if b {
				return append(dst, 1), nil
			}
			return append(dst, 0), nil
		}
	case Int, Long, Float, Double:
		return appendDefaultNumber(dst, s, v)
	case String:
		if t, ok := v.(string); ok {
			return append(binary.AppendVarint(dst, int64(len(t))), t...), nil
		}
	case Bytes, Fixed:
		return appendDefaultBytes(dst, s, v)
	case Enum:
		if t, ok := v.(string); ok {
			if i := slices.Index(s.Symbols, t); i >= 0 {
				return binary.AppendVarint(dst, int64(i)), nil
			}
		}
	case Union:
		for i, b := range s.Branches { // newer versions of Avro let it be of any branch
			if out, err := appendDefault(binary.AppendVarint(dst, int64(i)), b, v); err == nil {
				return out, nil
			}
		}
	case Array, Map, Record:
		return appendDefaultNested(dst, s, v)
	}
	return nil, fmt.Errorf("%v: %w: %s", v, errDefault, s)
}

func appendDefaultNumber(dst []byte, s *Schema, v any) ([]byte, error) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, fmt.Errorf("%v: %w: %s", v, errDefault, s)
	}
	if s.Kind == Int || s.Kind == Long {
		i, err := n.Int64()
		if err != nil || s.Kind == Int && (i < math.MinInt32 || i > math.MaxInt32) {
			return nil, fmt.Errorf("%s: %w: %s", n, errDefault, s)
		}
		return binary.AppendVarint(dst, i), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", n, errDefault, s)
	}
	if s.Kind == Float {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
}

// appendDefaultBytes takes each character for the byte of its number.
func appendDefaultBytes(dst []byte, s *Schema, v any) ([]byte, error) {
	t, ok := v.(string)
	var out []byte
	for _, r := range t {
		if r > 255 {
			ok = false
		}
		out = append(out, byte(r))
	}
	if !ok || s.Kind == Fixed && len(out) != s.Size {
		return nil, fmt.Errorf("%v: %w: %s", v, errDefault, s)
	}
	if s.Kind == Bytes {
		dst = binary.AppendVarint(dst, int64(len(out)))
	}
	return append(dst, out...), nil
}

func appendDefaultNested(dst []byte, s *Schema, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case []any:
		if s.Kind != Array {
			break
		}
		if len(v) > 0 {
			dst = binary.AppendVarint(dst, int64(len(v)))
		}
		for _, e := range v {
			if dst, err = appendDefault(dst, s.Items, e); err != nil {
				return nil, err
			}
		}
		return append(dst, 0), nil
	case map[string]any:
		if s.Kind == Array {
			break
		}
		if s.Kind == Record {
			return appendDefaultRecord(dst, s, v)
		}
		if len(v) > 0 {
			dst = binary.AppendVarint(dst, int64(len(v)))
		}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			dst = append(binary.AppendVarint(dst, int64(len(k))), k...)
			if dst, err = appendDefault(dst, s.Items, v[k]); err != nil {
				return nil, err
			}
		}
		return append(dst, 0), nil
	}
	return nil, fmt.Errorf("%v: %w: %s", v, errDefault, s)
}

func appendDefaultRecord(dst []byte, s *Schema, v map[string]any) ([]byte, error) {
	var err error
	for _, f := range s.Fields {
		e, ok := v[f.Name]
		if !ok {
			if !f.HasDefault {
				return nil, fmt.Errorf("field %q has no value: %w", f.Name, errDefault)
			}
			e = f.Default
		}
		if dst, err = appendDefault(dst, f.Schema, e); err != nil {
			return nil, err
		}
	}
	return dst, nil
}
