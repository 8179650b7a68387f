package main

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

func TestSwitches(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), analyzer, module+"/user")
}
