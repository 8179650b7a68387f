package parser

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/sql/ast"
)

// TestData runs testdata/*: `parse` prints each statement in its canonical form
// and checks that it parses to the same tree again, `tree` prints the tree with
// positions, `split` cuts a script, `complete` says what the shell would think.
func TestData(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			opts := Options{DoubleQuotedIdentifiers: d.HasArg("dqi")}
			switch d.Cmd {
			case "parse":
				return runParse(t, d.Input, opts)
			case "tree":
				stmts, err := Parse(d.Input, opts)
				if err != nil {
					return "error: " + err.Error()
				}
				var b strings.Builder
				for _, s := range stmts {
					dump(&b, reflect.ValueOf(s), 0)
				}
				return b.String()
			case "split":
				var b strings.Builder
				for _, p := range Split(d.Input, opts) {
					fmt.Fprintf(&b, "%s: %q\n", p.Pos.LineCol(), p.Text)
				}
				return b.String()
			case "complete":
				return []string{"empty", "incomplete", "complete"}[Completes(d.Input, opts)]
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func runParse(t *testing.T, text string, opts Options) string {
	stmts, err := Parse(text, opts)
	if err != nil {
		var pe *ast.PosError
		if !errors.As(err, &pe) {
			t.Errorf("%T is not a PosError: %v", err, err)
		}
		return "error: " + err.Error()
	}
	var b strings.Builder
	for _, s := range stmts {
		out := ast.SQL(s)
		if msg := roundTrip(s, out); msg != "" {
			t.Error(msg)
		}
		b.WriteString(out)
		b.WriteByte('\n')
	}
	return b.String()
}

// roundTrip says what is wrong with the print of a statement (A2), if anything.
func roundTrip(s ast.Stmt, printed string) string {
	again, err := ParseStatement(printed, Options{})
	if err != nil {
		if strings.Contains(err.Error(), "nested too deeply") {
			return ""
		}
		return fmt.Sprintf("the print does not parse: %v\n%s", err, printed)
	}
	clearPos(reflect.ValueOf(s))
	clearPos(reflect.ValueOf(again))
	if !reflect.DeepEqual(s, again) {
		return fmt.Sprintf("the print parses to another tree:\n%s\n%s", printed, ast.SQL(again))
	}
	return ""
}

var posType = reflect.TypeFor[ast.Pos]()

// clearPos sets every position in a tree to zero.
func clearPos(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			clearPos(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			clearPos(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == posType {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			clearPos(v.Field(i))
		}
	}
}

// dump prints a tree, a node per line with its position, empty fields left out.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(b, v.Elem(), depth)
	case reflect.Slice:
		for i := range v.Len() {
			dump(b, v.Index(i), depth)
		}
	case reflect.Struct:
		pos := ""
		if f := v.FieldByName("Pos"); f.IsValid() {
			pos = " " + f.Interface().(ast.Pos).LineCol()
		}
		switch id := v.Interface().(type) {
		case ast.Ident:
			fmt.Fprintf(b, "%s%s%s\n", strings.Repeat("  ", depth), ast.SQL(&id), pos)
			return
		}
		fmt.Fprintf(b, "%s%s%s\n", strings.Repeat("  ", depth), v.Type().Name(), pos)
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Type == posType || v.Field(i).IsZero() {
				continue
			}
			switch v.Field(i).Kind() {
			case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Struct:
				fmt.Fprintf(b, "%s%s:\n", strings.Repeat("  ", depth+1), f.Name)
				dump(b, v.Field(i), depth+2)
			default:
				fmt.Fprintf(b, "%s%s: %v\n", strings.Repeat("  ", depth+1), f.Name, v.Field(i).Interface())
			}
		}
	default:
		fmt.Fprintf(b, "%s%v\n", strings.Repeat("  ", depth), v.Interface())
	}
}
