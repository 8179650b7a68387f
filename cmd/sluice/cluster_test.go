package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
)

// The commands of a cluster say what is missing, and those of its clients what the
// driver answers.
func TestClusterCommands(t *testing.T) {
	call := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(args, strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"driver"}, exitUsage, "--id ID and --data DIR"},
		{[]string{"driver", "--id", "d", "--data", dir, "--listen", "0.0.0.0:0"}, exitUsage, "--listen 0.0.0.0:0: without TLS and authentication only a loopback address such as 127.0.0.1 is served: give certificates with --tls-dir"},
		{[]string{"driver", "--id", "d", "--data", dir, "--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"}, exitUsage, "give certificates with --tls-dir (sluice certs makes them) and tokens with --auth-dir"},
		{[]string{"driver", "--id", "d", "--data", dir, "--listen", "7070"}, exitUsage, "want HOST:PORT"},
		{[]string{"driver", "--id", "d", "--data", dir, "--tls-dir", filepath.Join(dir, "none")}, exitUsage, "ca.crt"},
		{[]string{"worker", "--id", "w", "--data", dir}, exitUsage, "--join HOST:PORT"},
		{[]string{"worker", "--id", "w", "--data", dir, "--join", "127.0.0.1:1", "--slots", "-1"}, exitUsage, "--slots -1"},
		{[]string{"worker", "--id", "w", "--data", dir, "--join", "127.0.0.1:1", "--listen", "0.0.0.0:0"}, exitUsage, "--listen 0.0.0.0:0: without TLS"},
		{[]string{"worker", "--id", "w", "--data", dir, "--join", "192.0.2.1:1"}, exitUsage, "--join 192.0.2.1:1"},
		{[]string{"submit"}, exitUsage, "one argument"},
		{[]string{"submit", filepath.Join(dir, "no.sql")}, exitUsage, "no.sql"},
		{[]string{"queries", "--format", "xml"}, exitUsage, "table or json"},
	} {
		if code, out := call(c.args...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, %s; want %d with %q", c.args, code, out, c.code, c.want)
		}
	}
	d, err := sluice.StartDriver(t.Context(), sluice.DriverOptions{ID: "d1", Data: filepath.Join(dir, "d1"), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	srv, err := d.ServeHTTP("127.0.0.1:0", sluice.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	server := "--server=" + strings.TrimPrefix(srv.URL(), "http://")
	table := "CREATE TABLE n WITH ('connector' = 'rate', 'rows-per-second' = '1'); CREATE TABLE out (value BIGINT) WITH ('connector' = 'blackhole');\n"
	good := write("good.sql", table+"CREATE STREAMING QUERY counting AS INSERT INTO out SELECT value FROM n;")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"queries", server, "--format", "json"}, exitDone, "[]"},
		{[]string{"submit", server, write("bad.sql", table+"SELECT 1")}, exitQuery, "for sluice sql"},
		{[]string{"submit", server, good}, exitDone, "pipeline good runs: counting"},
		{[]string{"queries", server}, exitDone, "counting"},
		{[]string{"queries", server, "--format", "json"}, exitDone, `"outputMode": "append"`},
		{[]string{"submit", server, "--remove", "good"}, exitDone, "pipeline good is removed"},
		{[]string{"submit", server, "--remove", "good"}, exitQuery, "no such pipeline"},
	} {
		if code, out := call(c.args...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, %s; want %d with %q", c.args, code, out, c.code, c.want)
		}
	}
}
