package physical

// Reads is how many scans read a source.
func (p *Plan) Reads(source string) (n int) {
	var count func(Node)
	count = func(x Node) {
		if s, ok := x.(*Scan); ok && s.Source == source {
			n++
		}
		for _, in := range x.Inputs() {
			count(in)
		}
	}
	for _, s := range p.Stages {
		count(s.Root)
	}
	return n
}
