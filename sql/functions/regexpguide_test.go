package functions

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
)

// A pattern with a text to look for finds what the regular expression finds.
func TestGuidedPatterns(t *testing.T) {
	guided, direct := 0, 0
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range []string{
		`(&|^)ab=([^&]*)`, `^ab=(.*)`, `(^|&|a)ab(a*)`, `[ab&]?ab=?(b|a)+`, `(a|b)ab(?:=|$)`, `a?(b?)ab`, `(?i)ab=`, `\bab`, `(?m)^ab`, `xab|ab`,
		`.ab`, `[^a]ab`, `(ab)`, `ab`, `a+ab=`, `é?ab(.)`, `(&|\Aa)ab$`,
		`(&|^)ab=([^&]*)(&|$)`, `(&|^)ab=([^&]*)&`, `[&=]ab([^=]+)=`, `(|&)ab`, `(&|)(ab)(.*)`, `ab(.*)b`, `ab([^b]*)b`, `ab[=&]([a=]*)$`, `ab(é)`, `ab[é]`, `ab[^é]`, `ab([^a]*)é`,
		`(?s)ab(.*)`, `ab(.+)`, `ab(.*?)`, `^(ab)=*`, `\Aab\z`, `(a)ab`, `(?:a|^)ab(a+)(b*)`, `ab(a*)(b+)`, `ab()`, `ab(=)(.)`, `aba`, `(?i:a)ab`, `[[:^ascii:]]ab`, `ab[[:^ascii:]]*`,
	} {
		want := regexp.MustCompile(p)
		got, err := compileGuided(p)
		if err != nil {
			t.Fatal(err)
		}
		if got.text != "" {
			guided++
		}
		if got.direct != nil {
			direct++
		}
		for range 3000 {
			var s []rune
			for range r.IntN(12) {
				s = append(s, []rune("abab=&\né")[r.IntN(8)])
			}
			text := string(s)
			if r.IntN(4) == 0 && len(text) > 0 { // not all are UTF-8
				text = text[:len(text)-1]
			}
			if w, g := want.FindStringSubmatchIndex(text), got.find(text, []int{7, 7, 7}); !slices.Equal(w, g) {
				t.Fatalf("%s in %q: got %v, want %v", p, text, g, w)
			}
		}
	}
	if guided < 3 || direct < 15 {
		t.Errorf("%d patterns are guided, %d direct", guided, direct)
	}
}

func BenchmarkRegexpExtract(b *testing.B) {
	const url = "https://www.nexmark.com/abcde/fghij/klmno/item.htm?query=1&channel_id=1234567"
	p, err := compileGuided(`(&|^)channel_id=([^&]*)`)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			p.Regexp.FindStringSubmatchIndex(url)
		}
	})
	b.Run("guided", func(b *testing.B) {
		for b.Loop() {
			p.FindStringSubmatchIndex(url)
		}
	})
}
