package driver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// A query that ends by its trigger processes what was there when it began, and ends, though
// workers are lost, leave and come meanwhile, and more rows arrive.
func TestABoundedQueryEndsWhereItWouldHave(t *testing.T) {
	for _, kind := range []microbatch.TriggerKind{microbatch.Once, microbatch.AvailableNow} {
		batches := map[microbatch.TriggerKind]int{microbatch.Once: 1, microbatch.AvailableNow: 4}[kind]
		for _, how := range []string{"lost", "drained", "joined", "rescaled"} {
			for _, at := range []string{"task", "sink"} {
				t.Run(microbatch.Trigger{Kind: kind}.String()+"/"+how+" at the "+at, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newCrowd(t)
						c.opt.Protocol.Trigger.Kind, c.opt.Auto = kind, how == "joined"
						c.src.grow(200)
						c.join("a")
						b, gate := c.join("b"), make(chan struct{})
						goOn := func() { close(gate) }
						if at == "task" {
							b.fault = func(s batch.TaskSpec) error {
								if s.Task.Batch == batch.ID(batches/2) && s.Task.Stage == 1 {
									<-gate
								}
								return nil
							}
						} else {
							c.out.failures = 1 << 30
							goOn = func() {
								c.out.mu.Lock()
								c.out.failures = 0
								c.out.mu.Unlock()
							}
						}
						q := c.start()
						time.Sleep(time.Second) // of the bubble
						synctest.Wait()
						c.src.grow(1000)
						switch how {
						case "lost":
							goOn() // it is waited for by its process
							c.kill("b", true)
							goOn = func() {}
						case "drained":
							c.members.Drain("b", c.run("b"))
						case "joined":
							c.join("c")
							time.Sleep(time.Second) // it has settled
						case "rescaled":
							go func() { _ = q.Rescale(t.Context(), 2) }() // refused if there is one batch alone
						}
						synctest.Wait()
						goOn()
						c.must(q.Await(t.Context()))
						c.out.check(t, 200)
						if n := len(c.out.batches); n != batches {
							t.Errorf("the output came in %d batches, want %d", n, batches)
						}
						if n := len(c.taken()); n < 2 && (how != "rescaled" || kind != microbatch.Once) {
							t.Errorf("%d lives", n)
						}
					})
				})
			}
		}
	}
}
