// Package mutant lets tests break single rules of the engine on purpose, to prove that
// they would notice. Without the build tag synctests On is the constant false and the
// compiler leaves out what it guards: the shipped program has no mutant.
//
// Example:
//
//	if err == nil || mutant.On(mutant.NoQuorum) {
//		return nil
//	}
package mutant
