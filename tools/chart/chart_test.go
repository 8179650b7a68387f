package chart

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// kinds are the types of what the chart makes; nil is of an operator that brings its own.
var kinds = map[string]func() any{
	"ConfigMap": func() any { return new(corev1.ConfigMap) }, "Service": func() any { return new(corev1.Service) },
	"ServiceAccount": func() any { return new(corev1.ServiceAccount) }, "StatefulSet": func() any { return new(appsv1.StatefulSet) },
	"NetworkPolicy": func() any { return new(networkingv1.NetworkPolicy) }, "PodDisruptionBudget": func() any { return new(policyv1.PodDisruptionBudget) },
	"ServiceMonitor": nil, "PrometheusRule": nil,
}

// values are ways in which the chart is used.
var values = map[string]string{
	"single": `{pipeline: "SELECT 1;", tls: {driverSecret: c}, auth: {tokensSecret: t}}`,
	"everything": `{pipeline: "SELECT 1;", tls: {driverSecret: c}, auth: {tokensSecret: t}, settings: {memory_limit: 1GB, parallelism: 4}, hosts: [sluice.example],
		env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], checkpoints: {claim: shared}, networkPolicy: {http: [{namespaceSelector: {}}]},
		driver: {storage: {className: fast}}, monitoring: {enabled: true, tokenSecret: v}}`,
	"cluster": `{mode: cluster, tls: {driverSecret: d, workerSecret: w}, auth: {tokensSecret: t}, checkpoints: {claim: shared}, driver: {replicas: 5}, worker: {storage: {className: local}},
		networkPolicy: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{protocol: TCP, port: 9092}]}]}}`,
	"cluster with a bucket": `{mode: cluster, tls: {driverSecret: d, workerSecret: w}, auth: {tokensSecret: t}, checkpoints: {url: "s3://lake/ck"}, monitoring: {enabled: true, tokenSecret: v}}`,
	"bucket":                `{pipeline: "SELECT 1;", tls: {driverSecret: c}, auth: {tokensSecret: t}, checkpoints: {url: "s3://lake/ck"}, networkPolicy: {enabled: false}}`,
}

func TestChart(t *testing.T) {
	c, err := loader.LoadDir("../../deploy/helm/sluice")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range values {
		v, err := chartutil.ReadValues([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: "prod", Namespace: "streams"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		files, err := engine.Engine{Strict: true}.Render(c, all)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		seen := 0
		for file, text := range files {
			for doc := range strings.SplitSeq(text, "\n---\n") {
				var head struct{ Kind string }
				if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
					t.Errorf("%s, %s: %v", name, file, err)
				}
				if head.Kind == "" {
					continue
				}
				make, known := kinds[head.Kind]
				if !known {
					t.Errorf("%s, %s: a %s is not looked at", name, file, head.Kind)
				} else if make != nil {
					if err := yaml.UnmarshalStrict([]byte(doc), make()); err != nil {
						t.Errorf("%s, %s: %v\n%s", name, file, err, doc)
					}
				}
				seen++
			}
		}
		if seen < 5 {
			t.Errorf("%s: %d manifests", name, seen)
		}
	}
}
