// Package proctest is what tests have in common that run programs: they build the
// command, start it, read what it says while it runs, wait for what it brings about and
// end it. A process ends with its test at the latest.
//
//	p := proctest.Start(t, exec.Command(bin, "run", "p.sql"))
//	url := p.Says(`serving (http://\S+)`)
//	...
//	if err := p.Stop(); err != nil {
package proctest
