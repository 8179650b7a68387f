// Package planner turns a logical plan into the stages that workers run. The
// way of a query through it:
//
//	logical plan -> rules (package rules) -> event-time facts (package
//	incremental) -> stages cut at exchanges (this package) -> physical.Plan
//
// It is pure: no I/O, no clock. A plan that cannot have the output mode asked
// for is refused here, with the operator and the reason, never later.
//
// Invariants:
//
//	L1  A rewritten plan has the same columns (names, types, order) and the same rows.
//	L2  A batch plan holds no operator that keeps state; a streaming plan keeps
//	    state only in operators that it names.
//	L3  In append mode no retraction can leave the plan.
package planner
