// Package regress holds seeds of the simulator that once failed, and says which test
// each bug of another engine is held off by (bugs.md).
package regress
