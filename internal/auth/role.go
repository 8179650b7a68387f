package auth

import (
	"context"
	"fmt"
)

// Role is what a token lets its bearer do, and what a route asks for; each may do what
// those before it may.
type Role uint8

// The roles. Undeclared is the zero value, so that a forgotten need is no open door.
const (
	Undeclared Role = iota
	Public          // of a route alone: no token is asked for
	Viewer          // reads: states, progress, metrics, plans
	Operator        // changes what runs: pipelines, savepoints, parallelism
	Admin           // whatever there is
)

var roleNames = [...]string{Undeclared: "undeclared", Public: "public", Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String is the role's name.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole reads the role of a token.
func ParseRole(name string) (Role, error) {
	for _, r := range []Role{Viewer, Operator, Admin} {
		if r.String() == name {
			return r, nil
		}
	}
	return Undeclared, fmt.Errorf("role %q: want viewer, operator or admin", name)
}

// Principal is who asks.
type Principal struct {
	Name string // of the token, or of the node
	Role Role
}

type principalKey struct{}

// With is a context of a request by p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From is who asks in a request that a Guard has let through.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
