package sluice

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/cockroachdb/datadriven" // has the flag -rewrite

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// TestPagesAreCurrent holds the reference pages of connectors and settings
// against what the engine declares; -rewrite writes them anew.
func TestPagesAreCurrent(t *testing.T) {
	s := openSession(t, Options{})
	rewrite := flag.Lookup("rewrite").Value.String() == "true"
	for path, want := range map[string]string{
		"docs/connectors.md": connectorsPage(t, s.reg),
		"docs/settings.md":   settingsPage(),
	} {
		if rewrite {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not current: go test . -run TestPages -rewrite", path)
		}
	}
}

// kindNames are how the pages name the kinds of option.
var kindNames = map[options.Kind]string{
	options.Text: "text", options.Int: "integer", options.Float: "number", options.Boolean: "true or false",
	options.Duration: "duration", options.Bytes: "bytes", options.Enum: "one of",
}

// optionRows prints options as the rows of a table.
func optionRows(b *strings.Builder, all []options.Option) {
	b.WriteString("| option | type | default | |\n|---|---|---|---|\n")
	for _, o := range all {
		kind := kindNames[o.Kind]
		if o.Kind == options.Enum {
			kind += " `" + strings.Join(o.Values, "`, `") + "`"
		}
		if o.Auto {
			kind += " or `auto`"
		}
		def := ""
		switch {
		case o.Required:
			def = "required"
		case o.Default != "":
			def = "`" + o.Default + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", o.Key, kind, def, strings.ReplaceAll(o.Doc, "|", "\\|"))
	}
}

// connectorsPage is docs/connectors.md.
func connectorsPage(t *testing.T, reg *registry) string {
	var b strings.Builder
	b.WriteString(`# Connectors and formats

<!-- Written from the registries by go test . -run TestPages -rewrite; do not edit. -->

A table names its connector and the options of it in ` + "`WITH ('connector' = '..', ..)`" + `. An unknown option is refused with the
nearest name. A connector that is both a source and a sink takes the options of both; each side uses its own. Durations are
written as ` + "`100ms`" + ` or ` + "`5 minutes`" + `, bytes as ` + "`64MB`" + ` or ` + "`1 GiB`" + `. A star in an option stands for a name, such as a column's.

`)
	shared := map[string]bool{}
	for _, o := range reg.formats.Options() {
		shared[o.Key] = true
	}
	own := func(all []options.Option) []options.Option {
		return slices.DeleteFunc(slices.Clone(all), func(o options.Option) bool { return shared[o.Key] })
	}
	b.WriteString("## Sources\n")
	for _, name := range reg.sources.Names() {
		c, err := reg.sources.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n### Source `%s`\n\n%s\n\n", c.Name, c.Doc)
		if c.Infer != nil {
			b.WriteString("Columns that are not declared are found.\n\n")
		}
		optionRows(&b, own(c.Options))
		if len(own(c.Options)) < len(c.Options) {
			b.WriteString("\nBesides these, the options of the format.\n")
		}
	}
	b.WriteString("\n## Sinks\n\nA volatile sink shows each batch exactly once while the process lives; after a crash the last batch is run and shown again.\n")
	for _, name := range reg.sinks.Names() {
		c, err := reg.sinks.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n### Sink `%s`\n\n%s\n\nOutput modes: %s.", c.Name, c.Doc, modeList(c.Modes))
		if c.Volatile {
			b.WriteString(" Volatile.")
		}
		b.WriteString("\n")
		if opts := own(c.Options); len(opts) > 0 {
			b.WriteString("\n")
			optionRows(&b, opts)
		}
		if len(own(c.Options)) < len(c.Options) {
			b.WriteString("\nBesides these, the options of the format.\n")
		}
	}
	b.WriteString("\n## Formats\n")
	for _, name := range reg.formats.Names() {
		f, err := reg.formats.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		formatSection(&b, f)
	}
	return b.String()
}

func formatSection(b *strings.Builder, f formats.Format) {
	fmt.Fprintf(b, "\n### Format `%s`\n\n%s Files end in `%s`", f.Name, f.Doc, strings.Join(f.Extensions, "`, `"))
	if f.Plain {
		b.WriteString(", and may be compressed")
	}
	b.WriteString(".\n\n")
	optionRows(b, f.Options)
}

// settingsPage is docs/settings.md.
func settingsPage() string {
	var b strings.Builder
	b.WriteString(`# Settings

<!-- Written from the settings by go test . -run TestPages -rewrite; do not edit. -->

` + "`SET 'key' = 'value'`" + ` changes a setting of the session, ` + "`SET key`" + ` shows it, ` + "`RESET key`" + ` gives it its default again and
` + "`SHOW SETTINGS`" + ` lists all. On the command line they are given as ` + "`--set key=value`" + `, in Go as ` + "`Options.Settings`" + `. A query keeps
the settings with which it was started.

`)
	optionRows(&b, Settings())
	return b.String()
}
