// Package storetest is the conformance suite of package statestore: what every
// store must do, whatever it keeps state in. A store's own test calls Run.
//
// The suite compares with a model, a sorted map of strings, so that it does not
// repeat the logic of a store.
package storetest
