// Package chart renders the Helm chart of `deploy` with Helm's own engine and reads the
// manifests strictly with the types of Kubernetes: a field that Kubernetes does not know
// is an error. It is a module of its own behind `make test-chart`, because Helm takes
// minutes to build; the tests of cmd/sluice render the chart without it.
package chart
