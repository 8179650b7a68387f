package parser

import (
	"strings"
	"unicode/utf8"

	"github.com/sluice-stream/sluice/sql/ast"
)

// MaxDepth bounds how deep expressions, queries and types may nest. Text
// beyond it is refused: no person writes it, and every later stage recurses
// over the tree.
const MaxDepth = 1000

// MaxChain bounds how many operators may follow one another on one level
// (a + b + c ..), AND and OR excepted, which have no bound. Chains lean to the
// left in the tree, so each link is a level for whoever walks it.
const MaxChain = 10_000

// MaxText is the longest text that is read, in bytes. Positions are 32 bits.
const MaxText = 64 << 20

// Options change how text is read. The zero value is the default dialect.
type Options struct {
	// DoubleQuotedIdentifiers makes "x" a name instead of a string (the setting
	// ansi.double-quoted-identifiers).
	DoubleQuotedIdentifiers bool
}

// parser walks over the tokens of one text.
type parser struct {
	text     string
	toks     []token
	i        int
	depth    int
	params   int
	matches  int      // MATCH_RECOGNIZE clauses around
	expected []string // what was looked for at toks[i]
}

// bail carries an error out of the descent; only the entry points recover it.
// Errors as panics inside one package keep the grammar readable.
type bail struct{ err *ast.PosError }

// Parse reads a script: statements separated by semicolons.
func Parse(text string, opts Options) ([]ast.Stmt, error) {
	return run(text, opts, func(p *parser) []ast.Stmt {
		var out []ast.Stmt
		for {
			for p.accept(";") {
			}
			if p.tok().kind == tokEOF {
				return out
			}
			out = append(out, p.statement())
			if p.tok().kind != tokEOF {
				p.expect(";")
			}
		}
	})
}

// ParseStatement reads exactly one statement; a semicolon may follow it.
func ParseStatement(text string, opts Options) (ast.Stmt, error) {
	return run(text, opts, func(p *parser) ast.Stmt {
		s := p.statement()
		for p.accept(";") {
		}
		p.expectEOF()
		return s
	})
}

// ParseQuery reads exactly one query.
func ParseQuery(text string, opts Options) (*ast.Query, error) {
	return run(text, opts, func(p *parser) *ast.Query {
		q := p.query()
		for p.accept(";") {
		}
		p.expectEOF()
		return q
	})
}

// ParseExpr reads one expression. The DataFrame API takes expressions as text.
func ParseExpr(text string, opts Options) (ast.Expr, error) {
	return run(text, opts, func(p *parser) ast.Expr {
		e := p.expr()
		p.expectEOF()
		return e
	})
}

// ParseSelectItem reads one output column: an expression and perhaps AS name.
func ParseSelectItem(text string, opts Options) (ast.SelectItem, error) {
	return run(text, opts, func(p *parser) ast.SelectItem {
		it := p.selectItem()
		p.expectEOF()
		return it
	})
}

// ParseType reads one type, such as ARRAY<STRUCT<a: INT>>.
func ParseType(text string, opts Options) (*ast.Type, error) {
	return run(text, opts, func(p *parser) *ast.Type {
		t := p.typ()
		p.expectEOF()
		return t
	})
}

// ParseName reads a possibly qualified name.
func ParseName(text string, opts Options) (*ast.Name, error) {
	return run(text, opts, func(p *parser) *ast.Name {
		n := p.name("a name")
		p.expectEOF()
		return &n
	})
}

// run tokenizes text and turns a bail into an error.
func run[T any](text string, opts Options, f func(p *parser) T) (out T, err error) {
	if len(text) > MaxText {
		return out, ast.Errorf(ast.Pos{}, "the SQL text is %d bytes long; the limit is %d", len(text), MaxText)
	}
	p := &parser{text: text, toks: tokenize(text, opts.DoubleQuotedIdentifiers), expected: make([]string, 0, 64)}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case bail:
			var zero T
			out, err = zero, r.err
		default:
			panic(r)
		}
	}()
	if !utf8.ValidString(text) {
		p.notUTF8()
	}
	return f(p), nil
}

// notUTF8 reports the first byte that is not UTF-8.
func (p *parser) notUTF8() {
	valid := strings.ToValidUTF8(p.text, "\x00")
	off := 0
	for off < len(valid) && off < len(p.text) && valid[off] == p.text[off] {
		off++
	}
	line := strings.Count(p.text[:off], "\n")
	col := utf8.RuneCountInString(p.text[strings.LastIndexByte(p.text[:off], '\n')+1 : off])
	panic(bail{ast.Errorf(ast.Pos{Offset: int32(off), Line: int32(line + 1), Col: int32(col + 1)}, "the text is not UTF-8 here")})
}

// tok is the current token. An illegal one is an error at once.
func (p *parser) tok() *token {
	t := &p.toks[p.i]
	if t.kind == tokIllegal {
		panic(bail{ast.Errorf(t.pos, "%s", t.text)})
	}
	return t
}

// peek looks n tokens ahead without complaint.
func (p *parser) peek(n int) *token {
	if p.i+n >= len(p.toks) {
		return &p.toks[len(p.toks)-1]
	}
	return &p.toks[p.i+n]
}

func (p *parser) pos() ast.Pos { return p.tok().pos }

// advance steps over the current token and returns it.
func (p *parser) advance() *token {
	t := p.tok()
	if t.kind != tokEOF {
		p.i++
	}
	p.expected = p.expected[:0]
	return t
}

// at says whether the current token is one of these keywords or operators,
// and remembers that they would have been right.
func (p *parser) at(words ...string) bool {
	t := p.tok()
	for _, w := range words {
		if t.is(w) {
			return true
		}
	}
	p.note(words...)
	return false
}

// note remembers what would have been right here, for the error message.
func (p *parser) note(words ...string) {
	if len(p.expected)+len(words) <= cap(p.expected) {
		p.expected = append(p.expected, words...)
	}
}

// atSeq says whether these tokens come next.
func (p *parser) atSeq(words ...string) bool {
	for n, w := range words {
		if !p.peek(n).is(w) {
			if n == 0 {
				p.note(w)
			}
			return false
		}
	}
	return true
}

// accept steps over a sequence of tokens if all of them are there.
func (p *parser) accept(words ...string) bool {
	if !p.atSeq(words...) {
		return false
	}
	p.i += len(words) - 1
	p.advance()
	return true
}

// acceptOne steps over the first of the words that is there and returns it.
func (p *parser) acceptOne(words ...string) string {
	if p.at(words...) {
		t := p.advance()
		if t.kind == tokOp {
			return t.text
		}
		return t.word
	}
	return ""
}

// expect steps over the tokens or fails.
func (p *parser) expect(words ...string) ast.Pos {
	pos := p.pos()
	for _, w := range words {
		if !p.tok().is(w) {
			p.fail(w)
		}
		p.advance()
	}
	return pos
}

// expectOne is acceptOne that fails.
func (p *parser) expectOne(words ...string) string {
	w := p.acceptOne(words...)
	if w == "" {
		p.fail(words...)
	}
	return w
}

func (p *parser) expectEOF() {
	if p.tok().kind != tokEOF {
		p.note("the end of the text")
		p.fail("the end of the text")
	}
}

// enter counts a level of nesting; the caller defers the result.
func (p *parser) enter() {
	p.depth++
	if p.depth > MaxDepth {
		panic(bail{ast.Errorf(p.pos(), "nested too deeply: more than %d levels", MaxDepth)})
	}
}

func (p *parser) leave() { p.depth-- }

// link counts one link of a chain that grows the tree to the left.
func (p *parser) link(n *int) {
	*n++
	if *n > MaxChain {
		panic(bail{ast.Errorf(p.pos(), "more than %d operators follow one another here", MaxChain)})
	}
}
