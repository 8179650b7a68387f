package memory

import (
	"testing"
	"testing/fstest"
)

func TestMachineHeedsContainers(t *testing.T) {
	const gib = 1 << 30
	meminfo := "MemTotal:       8388608 kB\nMemFree:        1 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"not Linux": {map[string]string{}, 0},
		"bare":      {map[string]string{"proc/meminfo": meminfo}, 8 * gib},
		"version 2, namespaced": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, gib},
		"version 2, a parent's limit": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a.slice/b.scope\n",
			"sys/fs/cgroup/a.slice/b.scope/memory.max": "max\n", "sys/fs/cgroup/a.slice/memory.max": "2147483648\n",
		}, 2 * gib},
		"version 2, above the machine": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "99999999999999\n",
		}, 8 * gib},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "3221225472\n",
		}, 3 * gib},
		"groups unreadable": {map[string]string{
			"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "1073741824\n",
		}, gib},
		"no number": {map[string]string{"proc/meminfo": "MemTotal:\n"}, 0},
		"escaping path": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../x\nnonsense\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, gib},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := fromFiles(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if n := Machine(); n < 64<<20 || n > 1<<50 {
		t.Errorf("this machine has %d bytes", n)
	}
}
