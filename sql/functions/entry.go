package functions

import (
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
)

// fn makes an entry. names are separated by |, the function's own first.
func fn(names, doc, example, result string, sigs ...Sig) *Entry {
	e := &Entry{Names: strings.Split(names, "|"), Doc: doc, Example: example, Result: result, Since: "0.1", sigs: sigs}
	for _, s := range sigs {
		e.Usage = append(e.Usage, e.Names[0]+s.usage)
	}
	return e
}

// special makes an entry that binds itself. usage is its signature as text.
func special(names, usage, doc, example, result string, bind func(e *Entry, args []expr.Expr) (expr.Expr, error)) *Entry {
	return &Entry{
		Names: strings.Split(names, "|"), Doc: doc, Example: example, Result: result, Since: "0.1",
		Usage: strings.Split(usage, "; "), bind: bind,
	}
}

// op says how an entry is written as an operator.
func (e *Entry) op(infix string) *Entry { e.Infix = infix; return e }

// lax says that the kernel sees NULL arguments.
func (e *Entry) lax() *Entry { e.nonStrict = true; return e }

// safe says that the function cannot fail.
func (e *Entry) safe() *Entry { e.total = true; return e }

// tight says that the result is NULL only where an argument is (of a lax
// function: never).
func (e *Entry) tight() *Entry { e.exact = true; return e }

// stable says that the result is fixed by the batch's plan.
func (e *Entry) stable() *Entry { e.volatility = expr.Stable; return e }

// perRow says that each row has a result of its own.
func (e *Entry) perRow() *Entry { e.volatility = expr.PerRow; return e }
