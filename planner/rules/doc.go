// Package rules rewrites logical plans. A rule is one function in one file with
// its test; order.go lists them once, in the order in which they run.
//
// A rule returns its argument itself where it changes nothing, so that the
// driver of the rules can tell a fixed point.
package rules
