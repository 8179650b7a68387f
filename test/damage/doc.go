// Package damage holds the tests that harm the durable files of a query: for
// each kind of file and each kind of damage a pipeline that has written
// checkpoints is stopped, one file is damaged, and the pipeline is started
// again. It has to come back with the right answer or refuse with an error that
// names the file. A panic or a wrong answer is a bug, whatever was done to the file.
package damage
