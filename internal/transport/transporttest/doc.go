// Package transporttest holds every implementation of transport.Transport to the same
// behaviour: order, back-pressure, what becomes of rows and errors, and whose memory is
// whose. Run is called from the tests of each, inside a bubble of testing/synctest.
package transporttest
