package parser

import "github.com/sluice-stream/sluice/sql/ast"

// Piece is the text of one statement of a script, without its semicolon, and
// where it starts.
type Piece struct {
	Text string
	Pos  ast.Pos
}

// Completeness says whether the shell may run what was typed.
type Completeness int

// What a text typed so far can be.
const (
	Empty      Completeness = iota // nothing but space and comments
	Incomplete                     // a statement without its end
	Complete                       // every statement ends with a semicolon
)

// Split cuts a script at the semicolons between statements: not at those in
// strings, names and comments, nor at those between BEGIN and END. It does not
// parse; pieces may be wrong SQL.
func Split(text string, opts Options) []Piece {
	pieces, _ := split(text, opts)
	return pieces
}

// Completes says whether text ends with a whole statement. Text that no more
// typing can mend counts as complete, so that the error shows at once.
func Completes(text string, opts Options) Completeness {
	_, c := split(text, opts)
	return c
}

func split(text string, opts Options) ([]Piece, Completeness) {
	toks := tokenize(text, opts.DoubleQuotedIdentifiers)
	var out []Piece
	state := Empty
	from, blocks := -1, 0
	for i := range toks {
		t := &toks[i]
		if from < 0 {
			if t.kind == tokEOF || t.is(";") {
				if t.is(";") && state == Empty {
					state = Complete
				}
				continue
			}
			from, blocks, state = i, 0, Incomplete
		}
		if t.kind == tokIllegal && !t.open && state == Incomplete {
			state = Complete // a mistake
		}
		blocks += blockStep(toks, i, from, blocks)
		if t.is(";") && blocks == 0 || t.kind == tokEOF {
			first, last := &toks[from], &toks[i-1]
			out = append(out, Piece{Text: text[first.pos.Offset:last.end], Pos: first.pos})
			from = -1
			if t.is(";") {
				state = Complete
			}
		}
	}
	return out, state
}

// blockStep is +1 at the BEGIN of a block and at a CASE inside of one, -1 at
// the END of either.
func blockStep(toks []token, i, from, blocks int) int {
	t := &toks[i]
	if t.kind != tokWord || i > 0 && toks[i-1].is(".") {
		return 0
	}
	switch t.word {
	case "BEGIN":
		if blocks == 0 && (i == from || toks[i-1].is("AS") || toks[i-1].is("SET")) && (i+1 >= len(toks) || opensBlock(&toks[i+1])) {
			return 1
		}
	case "CASE":
		if blocks > 0 {
			return 1
		}
	case "END":
		if blocks > 0 {
			return -1
		}
	}
	return 0
}

// opensBlock says whether BEGIN before this token starts a block; BEGIN as a
// column's alias does not.
func opensBlock(next *token) bool {
	return next.kind == tokEOF || next.is("INSERT") || next.is("STATEMENT") || next.is("END")
}
