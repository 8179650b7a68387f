// Package builders is what binary formats share about Arrow: functions that put a value
// of a wire type into a builder of any type that can hold it, and functions that get
// values of a wire type out of an array.
//
// A function that puts has either appended one value, or has appended nothing and says
// why not; so its caller can put NULL instead. Whether a builder can hold a wire type at
// all is told when the function is made, and not for each row.
package builders
