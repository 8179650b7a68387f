package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// PlanInfo describes the plan whose state a checkpoint holds. It is written at each
// start whose plan differs from the one before.
type PlanInfo struct {
	Hash      string         `json:"plan_hash"`
	Engine    string         `json:"engine"`
	SQL       string         `json:"sql"`
	Operators []OperatorInfo `json:"operators"`
	Sources   []SourceInfo   `json:"sources"`
	Sinks     []SinkInfo     `json:"sinks"`
}

// OperatorInfo describes the state of one operator: what is in it, and how it lies.
type OperatorInfo struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"` // physical.StateForm.Kind
	Text   string   `json:"computes"`
	Canon  string   `json:"form,omitempty"`   // planner.Query.Forms: the same whatever the optimizer has done
	Keys   []byte   `json:"keys,omitempty"`   // an Arrow schema as an IPC stream
	Values [][]byte `json:"values,omitempty"` // of each input one
	Detail string   `json:"detail,omitempty"`
	// Columns are keys and values for people.
	Columns []string `json:"columns"`
}

// SourceInfo describes a source: what its offsets mean, and the columns that it had.
type SourceInfo struct {
	Name      string `json:"name"` // within the plan
	Table     string `json:"table"`
	Connector string `json:"connector"`
	Place     string `json:"place,omitempty"` // what tells tables of a connector apart
	Stream    bool   `json:"stream"`
	Inferred  bool   `json:"inferred,omitempty"`
	Schema    []byte `json:"schema,omitempty"`
	// Reads is how often the plan in hand reads the source. It is not written down.
	Reads int `json:"-"`
}

// SinkInfo describes a sink: where the output of a batch lies.
type SinkInfo struct {
	Name      string `json:"name"` // within the plan
	Table     string `json:"table"`
	Connector string `json:"connector"`
	Place     string `json:"place,omitempty"`
	Mode      string `json:"mode"`
}

const (
	planFile  = "plan.info"
	planTitle = "sluice plan 1 crc32c "
	planMax   = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodePlan returns the bytes of a description: a line with version and checksum,
// then JSON.
func EncodePlan(p PlanInfo) ([]byte, error) {
	body, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the description of a plan: %w", err)
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s%08x\n", planTitle, crc32.Checksum(body, castagnoli)), body...), nil
}

// DecodePlan reads what EncodePlan wrote.
func DecodePlan(data []byte) (PlanInfo, error) {
	var p PlanInfo
	title, body, ok := bytes.Cut(data, []byte{'\n'})
	sum, known := bytes.CutPrefix(title, []byte(planTitle))
	switch {
	case !ok || !known:
		return p, errors.New("not the description of a plan that this program can read")
	case string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)):
		return p, errors.New("the checksum is wrong")
	}
	return p, json.Unmarshal(body, &p)
}

// WritePlan puts a description into a checkpoint, in place of the one there.
func WritePlan(fs vfsx.FS, dir string, data []byte) error {
	if err := vfsx.WriteFileAtomic(fs, fs.PathJoin(dir, planFile), data); err != nil {
		return fmt.Errorf("describe the plan in checkpoint %s: %w", dir, err)
	}
	return nil
}

// ReadPlanBytes returns a checkpoint's description as it lies; nil if there is none.
func ReadPlanBytes(fs vfsx.FS, dir string) ([]byte, error) {
	data, err := vfsx.ReadFile(fs, fs.PathJoin(dir, planFile), planMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// ReadPlan reads a checkpoint's description; nil if there is none.
func ReadPlan(fs vfsx.FS, dir string) (*PlanInfo, error) {
	data, err := ReadPlanBytes(fs, dir)
	if err != nil || data == nil {
		return nil, err
	}
	p, err := DecodePlan(data)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", fs.PathJoin(dir, planFile), err)
	}
	return &p, nil
}

// Operator finds an operator by its name.
func (p *PlanInfo) Operator(name string) (OperatorInfo, bool) {
	if p == nil {
		return OperatorInfo{}, false
	}
	for _, o := range p.Operators {
		if o.Name == name {
			return o, true
		}
	}
	return OperatorInfo{}, false
}

// Names are those of the operators by the forms of what they compute.
func (p *PlanInfo) Names() map[string]string {
	names := map[string]string{}
	if p != nil {
		for _, o := range p.Operators {
			if o.Canon != "" {
				names[o.Canon] = o.Name
			}
		}
	}
	return names
}

// Source finds a source by its name in the plan.
func (p *PlanInfo) Source(name string) (SourceInfo, bool) {
	if p == nil {
		return SourceInfo{}, false
	}
	for _, s := range p.Sources {
		if s.Name == name {
			return s, true
		}
	}
	return SourceInfo{}, false
}

// InfoOf describes an operator's state.
func InfoOf(f physical.StateForm) OperatorInfo {
	o := OperatorInfo{Name: f.Operator, Kind: f.Kind, Text: f.Line, Detail: f.Detail}
	if f.Keys != nil {
		o.Keys = EncodeSchema(f.Keys)
	}
	for _, k := range f.Keys {
		o.Columns = append(o.Columns, k.Name+" "+expr.TypeName(k.Type)+" KEY")
	}
	for i, v := range f.Values {
		o.Values = append(o.Values, EncodeSchema(v))
		for _, c := range v {
			text := c.Name + " " + expr.TypeName(c.Type)
			if len(f.Values) > 1 {
				text = fmt.Sprintf("input %d: %s", i, text)
			}
			o.Columns = append(o.Columns, text)
		}
	}
	return o
}

// Form is what InfoOf was made from.
func (o OperatorInfo) Form() (physical.StateForm, error) {
	f := physical.StateForm{Operator: o.Name, Kind: o.Kind, Detail: o.Detail, Line: o.Text, EndKey: -1}
	if _, err := fmt.Sscanf(o.Detail, "closes by key %d", &f.EndKey); err != nil || f.EndKey >= len(o.Columns) {
		f.EndKey = -1 // of a form without one
	}
	var err error
	if o.Keys != nil {
		if f.Keys, err = DecodeSchema(o.Keys); err != nil {
			return f, fmt.Errorf("keys of operator %s: %w", o.Name, err)
		}
	}
	for _, v := range o.Values {
		fields, err := DecodeSchema(v)
		if err != nil {
			return f, fmt.Errorf("columns of operator %s: %w", o.Name, err)
		}
		f.Values = append(f.Values, fields)
	}
	return f, nil
}

// Typed reports whether the rows of a form can be read as columns.
func Typed(f physical.StateForm) bool {
	return f.Kind == physical.GroupState || f.Kind == physical.RowState
}

// EncodeSchema writes fields as the head of an Arrow IPC stream, which keeps every
// type exactly.
func EncodeSchema(fields []arrow.Field) []byte {
	var b bytes.Buffer
	plain := make([]arrow.Field, len(fields))
	for i, f := range fields {
		plain[i] = arrow.Field{Name: f.Name, Type: f.Type, Nullable: f.Nullable}
	}
	w := ipc.NewWriter(&b, ipc.WithSchema(arrow.NewSchema(plain, nil)))
	if err := w.Close(); err != nil { // a buffer takes all
		return nil
	}
	return b.Bytes()
}

// DecodeSchema reads what EncodeSchema wrote. The bytes have to have been checked:
// they lie below the checksum of a description, and what an Arrow reader makes of
// others takes what memory they ask for.
func DecodeSchema(data []byte) (_ []arrow.Field, err error) {
	defer func() {
		if p := recover(); p != nil { // the reader panics on some bytes
			err = fmt.Errorf("a damaged schema: %v", p)
		}
	}()
	// The reader takes as much memory as the bytes say: a mark, the length of the head.
	const head = 8
	if len(data) < head || binary.LittleEndian.Uint32(data) != 0xffffffff || uint64(binary.LittleEndian.Uint32(data[4:])) > uint64(len(data)-head) {
		return nil, errors.New("a damaged schema: its length is wrong")
	}
	r, err := ipc.NewReader(bytes.NewReader(data))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("a damaged schema: %w", err)
	}
	if r == nil {
		return nil, errors.New("a damaged schema: no bytes")
	}
	defer r.Release()
	return r.Schema().Fields(), nil
}

// Difference says how a state form differs from another, "" if rows of one are
// rows of the other. Names of columns are no difference.
func Difference(old, now physical.StateForm) string {
	if old.Kind != now.Kind {
		return fmt.Sprintf("its state was kept as %s and is kept as %s", old.Kind, now.Kind)
	}
	if !physical.Reads(now.Detail, old.Detail) {
		return fmt.Sprintf("it worked otherwise (%s) than it does (%s)", old.Detail, now.Detail)
	}
	if d := typesDiffer("key", old.Keys, now.Keys); d != "" {
		return d
	}
	if len(old.Values) != len(now.Values) {
		return fmt.Sprintf("it had %d inputs and has %d", len(old.Values), len(now.Values))
	}
	for i := range old.Values {
		if d := typesDiffer("column", old.Values[i], now.Values[i]); d != "" {
			return d
		}
	}
	return ""
}

func typesDiffer(what string, old, now []arrow.Field) string {
	var diffs []string
	for i := range max(len(old), len(now)) {
		switch {
		case i >= len(old):
			diffs = append(diffs, fmt.Sprintf("%s %s %s is new", what, now[i].Name, expr.TypeName(now[i].Type)))
		case i >= len(now):
			diffs = append(diffs, fmt.Sprintf("%s %s %s is gone", what, old[i].Name, expr.TypeName(old[i].Type)))
		case !arrow.TypeEqual(old[i].Type, now[i].Type):
			diffs = append(diffs, fmt.Sprintf("%s %s was %s and is %s", what, now[i].Name, expr.TypeName(old[i].Type), expr.TypeName(now[i].Type)))
		}
	}
	return strings.Join(diffs, ", ")
}
