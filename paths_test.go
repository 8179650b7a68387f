package sluice

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestPathsInFrom reads files that no table declares.
func TestPathsInFrom(t *testing.T) {
	s, dir := openSession(t, Options{}), t.TempDir()
	for name, text := range map[string]string{"a.csv": "x,y\n1,p\n", "b.csv": "x,y\n2,q\n", "c.json": `[{"x":3,"y":"r"}]`, "d.dat": "x;y\n4;NA\n", "k=7/e.csv": "x\n5\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for q, want := range map[string]string{
		"SELECT * FROM '%s/a.csv'":                                          "1|p",
		"SELECT * FROM csv.`%s/a.csv`":                                      "1|p",
		"SELECT * FROM `%s/c.json`":                                         "3|r",
		"SELECT * FROM read_json('%s/c.json')":                              "3|r",
		"SELECT sum(x) FROM read_csv('%[1]s/{a,b}.csv')":                    "3",
		"SELECT sum(x) FROM read_csv(array('%[1]s/a.csv', '%[1]s/b.csv'))":  "3",
		"SELECT * FROM read_csv('%s/d.dat', delim => ';', nullstr => 'NA')": "4|NULL",
		"SELECT t._c0 FROM read_csv('%s/a.csv', header => false) t LIMIT 1": "x",
		"SELECT k, x FROM read_csv('%s/k=*/*.csv')":                         "7|5",
	} {
		same(t, q, query(t, s, fmt.Sprintf(q, dir)), want)
	}
	for q, want := range map[string]string{
		"SELECT * FROM '%s/none.csv'":                     "none.csv",
		"SELECT * FROM read_csv('%s/a.csv', heador => 1)": `unknown option 'heador'`,
		"SELECT * FROM read_csv()":                        "needs a path",
		"SELECT * FROM read_csv(x)":                       "takes paths as text",
		"SELECT * FROM nowhere":                           `unknown table or view "nowhere"`,
	} {
		text := q
		if q[len(q)-1] != ')' && q[len(q)-1] != 'e' || len(q) > 30 {
			text = fmt.Sprintf(q, dir)
		}
		wantError(t, s.Exec(t.Context(), text), want)
	}
}
