// Package stats estimates how many rows each operator of a logical plan gives
// and how many values differ in their columns, for the choice between plans that
// give the same result. It is a pure function of the plan and of what is known of
// its tables (batch.TableStats); nothing that a query returns depends on it.
//
// The model is the usual one: values are spread evenly between their bounds,
// conditions are independent, and of two joined columns the one with fewer values
// holds a part of the other's. What is not known is guessed, and Rel.Guess says so.
package stats
