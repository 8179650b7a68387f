// Package dec is exact arithmetic on DECIMAL(p, s) values: 128-bit unscaled
// integers whose scale the type holds. Results are rounded half away from zero
// and refused, not wrapped, when they do not fit their precision.
//
// The types of results follow Spark: see Add, Mul, Div and Mod in types.go.
// Products and quotients that do not fit 128 bits on the way go through
// math/big; the common small ones do not.
package dec
