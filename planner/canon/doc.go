// Package canon says what an operator of a plan computes in a form that does not
// depend on how the optimizer came to it: conditions above and below projections,
// expressions that are merged or not, columns that are read or not give one text. The
// state of an operator is found by it where another build's rules have made another
// plan of the same query.
//
// The texts are durable: their hashes are written to checkpoints (plan.info), and a
// golden file in the root package holds them. A form that changes here costs no
// state that has its old name, but the rules of two builds are then not bridged.
//
// Two operators with equal forms have equal state for equal input. The reverse does
// not hold: where this package knows too little it says nothing, and names decide.
package canon
