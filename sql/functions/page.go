package functions

import (
	"bytes"
	"fmt"
	"strings"
)

// Page renders the reference page docs/sql/functions.md.
func Page() []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "%d functions and operators (%d names).\n", len(Entries()), len(Names()))
	group := ""
	for _, e := range Entries() {
		if e.Group != group {
			group = e.Group
			fmt.Fprintf(&b, "\n## %s\n\n| function | what it gives | example | result |\n|---|---|---|---|\n", strings.ToUpper(group[:1])+group[1:])
		}
		usage := make([]string, len(e.Usage))
		for i, u := range e.Usage {
			if e.Infix != "" && !strings.HasPrefix(u, e.Name()) {
				u = e.Name() + " " + u
			}
			usage[i] = code(u)
		}
		if len(e.Names) > 1 {
			alias := make([]string, len(e.Names)-1)
			for i, n := range e.Names[1:] {
				alias[i] = code(n)
			}
			usage = append(usage, "also "+strings.Join(alias, ", "))
		}
		doc := strings.ReplaceAll(e.Doc, "|", "\\|")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", strings.Join(usage, "<br>"), doc, code(e.Example), code(e.Result))
	}
	return b.Bytes()
}

const pageHead = `# SQL functions

<!-- Written from the registry by go test ./sql/functions -run TestPage -rewrite; do not edit. -->

Names and meaning are Spark SQL's in ANSI mode: overflow, division by zero and text that does not fit a type are errors,
with a ` + "`try_`" + ` function or ` + "`TRY_CAST`" + ` for NULL instead. The differences from Spark:

- Regular expressions are RE2's: linear in time, without backreferences and look-around.
- A BIGINT may be given where an INT is asked for; it is checked when it is computed.
- ` + "`rand`, `randn` and `uuid`" + ` give a row the same value when a batch runs again.
- The average of integers is computed from their exact sum.
- ` + "`collect_set`" + ` returns its values in order, ` + "`mode`" + ` the least of several.

Every example is run by a test, in the zone UTC. A pattern such as T stands for the common type of its arguments.

`

// code quotes text for a table cell.
func code(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ReplaceAll(s, "|", "\\|")
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}
