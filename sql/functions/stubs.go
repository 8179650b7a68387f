package functions

func maths() []*Entry            { return nil }
func bitwise() []*Entry          { return nil }
func strs() []*Entry             { return nil }
func regexps() []*Entry          { return nil }
func dates() []*Entry            { return nil }
func collections() []*Entry      { return nil }
func jsons() []*Entry            { return nil }
func hashes() []*Entry           { return nil }
func conversions() []*Entry      { return nil }
func misc() []*Entry             { return nil }
func statAggregates() []*Entry   { return nil }
func valueAggregates() []*Entry  { return nil }
func sketchAggregates() []*Entry { return nil }
