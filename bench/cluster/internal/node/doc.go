// Package node is what the benchmarks of clusters have in common: they start themselves
// again as the processes of a cluster, wait for what those bring about, and take the time
// and the CPU that it needs. It measures nothing by itself and prints no result.
//
//	func main() {
//		if role := node.Role(); role != nil { // worker ID DRIVER
//			...
//			err := node.Work(ctx, sluice.WorkerOptions{ID: role[1], Join: role[2:]})
//		}
//		cmd, err := node.Start("worker", "w1", driver.Addr())
package node
