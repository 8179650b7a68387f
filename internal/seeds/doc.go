// Package seeds says which seeds a randomised test lives through: a few in an
// ordinary run, and as many others as `make chaos` asks for.
package seeds
