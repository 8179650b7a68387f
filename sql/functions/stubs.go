package functions

func jsons() []*Entry            { return nil }
func hashes() []*Entry           { return nil }
func statAggregates() []*Entry   { return nil }
func valueAggregates() []*Entry  { return nil }
func sketchAggregates() []*Entry { return nil }
