package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-stream/sluice/internal/auth"
)

// The chart lies here. These tests render it with the few functions of Helm that it uses,
// which takes milliseconds; `make test-chart` renders it with Helm itself and reads the
// result with the types of Kubernetes.
const chartDir = "../../deploy/helm/sluice"

// object is a manifest, or a part of one.
type object map[string]any

// at walks down a path of keys; nil if it ends early.
func (o object) at(path ...string) object {
	for _, key := range path {
		next, _ := o[key].(map[string]any)
		if next == nil {
			return nil
		}
		o = next
	}
	return o
}

func (o object) text(key string) string { s, _ := o[key].(string); return s }

// list is the objects of a list.
func (o object) list(key string) []object {
	var all []object
	list, _ := o[key].([]any)
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// chartFiles gives a template its files, as Helm does.
type chartFiles struct{}

// Get returns a file of the chart.
func (chartFiles) Get(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(chartDir, name))
	return string(b), err
}

// render makes the manifests for values that are laid over the chart's own.
func renderChart(t *testing.T, over string) ([]object, error) {
	t.Helper()
	values := map[string]any{}
	b, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{b, []byte(over)} {
		next := map[string]any{}
		if err := yaml.Unmarshal(text, &next); err != nil {
			t.Fatal(err)
		}
		merge(values, next)
	}
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var w strings.Builder
			err := all.ExecuteTemplate(&w, name, data)
			return w.String(), err
		},
		"indent": func(n int, s string) string {
			pad := strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
		},
		"toYaml": func(v any) (string, error) {
			b, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"until": func(n int) []int {
			all := make([]int, n)
			for i := range all {
				all[i] = i
			}
			return all
		},
		"int":   func(v any) int { n, _ := v.(int); return n },
		"list":  func(v ...any) []any { return v },
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"required": func(what string, v any) (any, error) {
			if v == nil || v == "" {
				return nil, errors.New(what)
			}
			return v, nil
		},
	})
	names, err := filepath.Glob(filepath.Join(chartDir, "templates", "*"))
	if err != nil || len(names) == 0 {
		t.Fatal("no templates", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := all.New(filepath.Base(name)).Parse(string(b)); err != nil {
			t.Fatal(err)
		}
	}
	var out []object
	for _, name := range names {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		var w bytes.Buffer
		if err := all.ExecuteTemplate(&w, filepath.Base(name), map[string]any{
			"Values": values, "Release": map[string]any{"Name": "prod", "Namespace": "streams"}, "Files": chartFiles{},
		}); err != nil {
			return nil, err
		}
		for d := yaml.NewDecoder(&w); ; {
			o := map[string]any{} // nested maps take the type of the outermost
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(o) > 0 {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// merge lays one map over another.
func merge(into, over map[string]any) {
	for k, v := range over {
		if m, ok := v.(map[string]any); ok {
			if old, ok := into[k].(map[string]any); ok {
				merge(old, m)
				continue
			}
		}
		into[k] = v
	}
}

const clusterValues = `{mode: cluster, tls: {driverSecret: d, workerSecret: w}, auth: {tokensSecret: tokens}, checkpoints: {claim: shared}}`

const singleValues = `{pipeline: "SELECT 1;", tls: {driverSecret: certificates}, auth: {tokensSecret: tokens}}`

func TestChart(t *testing.T) {
	for name, c := range map[string]struct {
		over  string
		kinds string
	}{
		"single": {singleValues, "ConfigMap NetworkPolicy PodDisruptionBudget Service ServiceAccount StatefulSet"},
		"everything": {singleValues[:len(singleValues)-1] + `, settings: {memory_limit: 1GB, time_zone: UTC}, hosts: [sluice.example], env: [{name: A, value: b}],
			checkpoints: {claim: shared}, networkPolicy: {http: [{namespaceSelector: {}}]}, driver: {storage: {className: fast}},
			monitoring: {enabled: true, tokenSecret: viewer}}`, "ConfigMap NetworkPolicy PodDisruptionBudget PrometheusRule Service ServiceAccount ServiceMonitor StatefulSet"},
		"bucket": {singleValues[:len(singleValues)-1] + `, checkpoints: {url: "s3://lake/checkpoints"}, networkPolicy: {enabled: false}}`,
			"ConfigMap PodDisruptionBudget Service ServiceAccount StatefulSet"},
		"cluster":               {clusterValues, "NetworkPolicy PodDisruptionBudget Service ServiceAccount StatefulSet"},
		"cluster with a bucket": {clusterValues[:strings.Index(clusterValues, "claim")] + `url: "s3://lake/checkpoints"}}`, "NetworkPolicy PodDisruptionBudget Service ServiceAccount StatefulSet"},
		"cluster, everything": {clusterValues[:len(clusterValues)-1] + `, driver: {replicas: 5}, worker: {replicas: 8, storage: {className: local}}, networkPolicy: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}, monitoring: {enabled: true, tokenSecret: viewer}}`,
			"NetworkPolicy PodDisruptionBudget PrometheusRule Service ServiceAccount ServiceMonitor StatefulSet"},
	} {
		all, err := renderChart(t, c.over)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kinds, seen := map[string]bool{}, map[string]bool{}
		for _, o := range all {
			kind, id := o.text("kind"), o.text("kind")+" "+o.at("metadata").text("name")
			if o.text("apiVersion") == "" || !strings.HasPrefix(o.at("metadata").text("name"), "prod-sluice") || seen[id] {
				t.Errorf("%s: %s has no version, no name of its own, or is there twice", name, id)
			}
			kinds[kind], seen[id] = true, true
			if kind == "StatefulSet" {
				checkSet(t, name+": "+id, o, all)
			}
		}
		checkBudgets(t, name, all)
		checkGroup(t, name, all)
		if got := strings.Join(slices.Sorted(maps.Keys(kinds)), " "); got != c.kinds {
			t.Errorf("%s: %s, want %s", name, got, c.kinds)
		}
	}
	for missing, over := range map[string]string{
		"pipeline": `{tls: {driverSecret: c}, auth: {tokensSecret: t}}`, "tls": `{pipeline: x, auth: {tokensSecret: t}}`, "auth": `{pipeline: x, tls: {driverSecret: c}}`,
		"a claim": `{mode: cluster, tls: {driverSecret: d, workerSecret: w}, auth: {tokensSecret: t}}`, "workers' certificates": `{mode: cluster, tls: {driverSecret: d}, auth: {tokensSecret: t}, checkpoints: {claim: c}}`,
	} {
		if _, err := renderChart(t, over); err == nil {
			t.Errorf("rendered without %s", missing)
		}
	}
}

// checkSet holds a StatefulSet against what the program and Kubernetes want of it.
func checkSet(t *testing.T, name string, set object, all []object) {
	t.Helper()
	pod := set.at("spec", "template")
	labels, spec := pod.at("metadata", "labels"), pod.at("spec")
	if !within(set.at("spec", "selector", "matchLabels"), labels) {
		t.Errorf("%s does not select its own pods", name)
	}
	if s := spec.at("securityContext"); s["runAsNonRoot"] != true || s.at("seccompProfile").text("type") != "RuntimeDefault" || spec["automountServiceAccountToken"] != false {
		t.Errorf("%s: pod %v", name, s)
	}
	volumes := map[string]bool{}
	for _, v := range spec.list("volumes") {
		volumes[v.text("name")] = false
	}
	for _, c := range set.at("spec").list("volumeClaimTemplates") {
		volumes[c.at("metadata").text("name")] = false
	}
	ports := map[string]bool{}
	for _, c := range spec.list("containers") {
		if s := c.at("securityContext"); s["readOnlyRootFilesystem"] != true || s["allowPrivilegeEscalation"] != false || fmt.Sprint(s.at("capabilities")["drop"]) != "[ALL]" {
			t.Errorf("%s: container %v", name, s)
		}
		if c.at("resources", "limits")["memory"] == nil || c.text("image") == "" {
			t.Errorf("%s has no memory limit or no image", name)
		}
		for _, p := range c.list("ports") {
			ports[p.text("name")] = true
		}
		for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
			how := c.at(probe, "tcpSocket")
			if get := c.at(probe, "httpGet"); get != nil {
				if how = get; get.text("path") != "/readyz" || get.text("scheme") != "HTTPS" {
					t.Errorf("%s: %s asks %v", name, probe, get)
				}
			}
			if !ports[how.text("port")] {
				t.Errorf("%s: %s asks port %v", name, probe, how)
			}
		}
		for _, m := range c.list("volumeMounts") {
			if _, ok := volumes[m.text("name")]; !ok {
				t.Errorf("%s mounts %s, which is no volume", name, m.text("name"))
			}
			volumes[m.text("name")] = true
		}
		checkArgs(t, name, c["args"])
	}
	for v, used := range volumes {
		if !used {
			t.Errorf("%s: volume %s is mounted nowhere", name, v)
		}
	}
	served := false
	for _, o := range all {
		if o.text("kind") == "Service" && o.at("metadata").text("name") == set.at("spec").text("serviceName") {
			served = within(o.at("spec", "selector"), labels)
			for _, p := range o.at("spec").list("ports") {
				served = served && ports[p.text("targetPort")]
			}
		}
	}
	if !served {
		t.Errorf("%s: its service is not there, or not for its pods and ports", name)
	}
}

// checkBudgets: of the pods of each set one may be away at a time, and no budget is of two sets.
func checkBudgets(t *testing.T, name string, all []object) {
	t.Helper()
	budgets := map[string]int{}
	for _, o := range all {
		if o.text("kind") != "StatefulSet" {
			continue
		}
		for _, b := range all {
			if b.text("kind") == "PodDisruptionBudget" && within(b.at("spec", "selector", "matchLabels"), o.at("spec", "template", "metadata", "labels")) {
				budgets[b.at("metadata").text("name")]++
				budgets[o.at("metadata").text("name")+" has"]++
				if b.at("spec")["maxUnavailable"] != 1 {
					t.Errorf("%s: budget %v", name, b.at("spec"))
				}
			}
		}
		if budgets[o.at("metadata").text("name")+" has"] != 1 {
			t.Errorf("%s: the pods of %s have %d budgets", name, o.at("metadata").text("name"), budgets[o.at("metadata").text("name")+" has"])
		}
	}
	for b, n := range budgets {
		if n != 1 {
			t.Errorf("%s: budget %s is of %d sets", name, b, n)
		}
	}
}

// checkGroup: the drivers know each other by the names of their pods, and workers know all.
func checkGroup(t *testing.T, name string, all []object) {
	t.Helper()
	var want []string
	for _, o := range all {
		args := fmt.Sprint(o.at("spec", "template", "spec").list("containers"))
		if set := o.at("metadata").text("name"); o.text("kind") == "StatefulSet" && strings.Contains(args, " --peers=") {
			n, _ := o.at("spec")["replicas"].(int)
			for i := range n {
				want = append(want, fmt.Sprintf("%s-%d=%[1]s-%[2]d.%s.streams.svc:7070", set, i, o.at("spec").text("serviceName")))
			}
			if len(want) == 0 || !strings.Contains(args, " --peers="+strings.Join(want, ",")+" ") || !strings.Contains(args, " --id=$(POD_NAME) ") {
				t.Errorf("%s: %d drivers are started with %s", name, n, args)
			}
		}
	}
	for _, o := range all {
		args := fmt.Sprint(o.at("spec", "template", "spec").list("containers"))
		if _, join, ok := strings.Cut(args, " --join="); ok {
			var at []string
			for _, w := range want {
				_, addr, _ := strings.Cut(w, "=")
				at = append(at, addr)
			}
			if !strings.HasPrefix(join, strings.Join(at, ",")+" ") {
				t.Errorf("%s: workers join %s, and the drivers are at %v", name, join, at)
			}
		} else if o.text("kind") == "StatefulSet" && want == nil && strings.Contains(args, " worker ") {
			t.Errorf("%s: workers join nobody", name)
		}
	}
}

// within reports whether labels has all of selector.
func within(selector, labels object) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// checkArgs holds the arguments of a container against the program's own command line:
// the command and its flags are there, and what it opens beyond loopback is protected.
func checkArgs(t *testing.T, name string, args any) {
	t.Helper()
	var line []string
	list, _ := args.([]any)
	for _, a := range list {
		line = append(line, fmt.Sprint(a))
	}
	c, rest, err := command(&environment{}).Find(line)
	if err != nil || c.Runnable() && len(rest) == len(line) {
		t.Errorf("%s: %q is no command: %v", name, line, err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("%s: %q: %v", name, line, err)
		return
	}
	value := func(flag string) string {
		if f := c.Flags().Lookup(flag); f != nil {
			return f.Value.String()
		}
		return ""
	}
	for _, flag := range []string{"http", "listen"} {
		if addr := value(flag); addr != "" {
			e := auth.Exposure{TLS: value("tls-dir") != "", Auth: value("auth-dir") != "" || flag == "listen"}
			if err := auth.CheckListen("--"+flag, addr, e, ""); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if value("http") == "" && value("listen") == "" {
		t.Errorf("%s: %q listens nowhere", name, line)
	}
}

// TestCommandsOfPages: commands that the pages for operators show are there, with those flags.
func TestCommandsOfPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/operations/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatal(pages, err)
	}
	seen := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(b)) {
			text, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(text), "$ "), "sluice ")
			if !ok || !strings.HasPrefix(text, strings.ToLower(text[:1])) {
				continue
			}
			text, _, _ = strings.Cut(text, " #")
			line := strings.Fields(strings.NewReplacer("[", " ", "]", " ", "(", " ").Replace(text))
			c, rest, err := command(&environment{}).Find(line)
			if err == nil && c.HasParent() {
				err = c.ParseFlags(rest)
			}
			if err != nil || !c.HasParent() {
				t.Errorf("%s: sluice %s: %v", page, text, err)
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}

// TestDockerfile: the image has no shell, no root and no other program.
func TestDockerfile(t *testing.T) {
	b, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, ok := strings.Cut(string(b), "\nFROM scratch\n")
	if !ok || strings.Contains(final, "\nFROM ") || strings.Contains(final, "RUN ") || !strings.Contains(final, "\nUSER 65532:65532\n") {
		t.Error("the last stage is not an empty image with a user of its own")
	}
	if !strings.Contains(string(b), "CGO_ENABLED=0") {
		t.Error("the program would need a C library")
	}
}
