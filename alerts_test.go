package sluice

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAlerts: what alerts ask for is measured, and each has a page on what to do.
func TestAlerts(t *testing.T) {
	rules, err := os.ReadFile("deploy/helm/sluice/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runbooks, err := os.ReadFile("docs/operations/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, d := range slices.Concat(allMetricDescs, groupDescs, workerMetricDesc) {
		known[regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	for _, m := range regexp.MustCompile(`\bsluice_\w+`).FindAllString(string(rules), -1) {
		if !known[m] {
			t.Errorf("an alert asks for %s, which is not measured", m)
		}
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	headings := regexp.MustCompile(`(?m)^## (Sluice\w+)$`).FindAllStringSubmatch(string(runbooks), -1)
	if len(alerts) < 5 || len(alerts) != len(headings) {
		t.Errorf("%d alerts, %d runbooks", len(alerts), len(headings))
	}
	for _, a := range alerts {
		if !strings.Contains(string(runbooks), "\n## "+a[1]+"\n") || !strings.Contains(string(rules), "docs/operations/runbooks.md#"+strings.ToLower(a[1])) {
			t.Errorf("alert %s has no runbook, or does not name it", a[1])
		}
	}
	for _, m := range regexp.MustCompile("`(sluice_\\w+)").FindAllStringSubmatch(string(runbooks), -1) {
		if !known[m[1]] {
			t.Errorf("a runbook looks at %s, which is not measured", m[1])
		}
	}
}
