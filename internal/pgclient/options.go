package pgclient

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/secret"
)

var (
	optURL      = options.Option{Key: "url", Kind: options.Text, Required: true, Doc: "Where the database is: postgres://host:port/database, with parameters such as ?sslmode=verify-full&sslrootcert=ca.pem; without a password."}
	optUser     = options.Option{Key: "username", Kind: options.Text, Doc: "The role to connect as; by default that of the URL."}
	optPassword = options.Option{Key: "password", Kind: options.Text, Doc: "Where the password is: '${env:NAME}' or '${file:PATH}'; it is read at each connection."}
	optTable    = options.Option{Key: "table", Kind: options.Text, Doc: "The table in the database, as table or schema.table, taken as it stands ('\"' around a name with a dot); by default the table's own name."}
	optConnect  = options.Option{Key: "connect-timeout", Kind: options.Duration, Default: "10s", Doc: "How long one attempt at a connection may take."}
	optRequest  = options.Option{Key: "request-timeout", Kind: options.Duration, Default: "10m", Doc: "How long the database may take for one thing that it is asked, such as a batch's transaction, before the connection is given up."}
)

// Options are what source and sink have in common.
func Options() []options.Option {
	return []options.Option{optURL, optUser, optPassword, optTable, optConnect, optRequest}
}

// Config says how a database is reached and which table is meant.
type Config struct {
	what     string // for errors
	conn     *pgx.ConnConfig
	password secret.Ref
	Table    Name
	// Timeout bounds one request.
	Timeout time.Duration
}

// Where names the database for errors.
func (c Config) Where() string {
	return fmt.Sprintf("database %q at %s:%d", c.conn.Database, c.conn.Host, c.conn.Port)
}

// Parse reads checked options; what names the table for errors, table is its name.
func Parse(what, table string, m options.Map) (Config, error) {
	c := Config{what: what, Timeout: m.Duration(optRequest)}
	fault := func(format string, args ...any) (Config, error) {
		return Config{}, batch.UserErrorf("%s: %s", what, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(m.Get(optURL))
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		return fault("option 'url' is to be postgres://host:port/database") // the value may hold a secret
	}
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil { // what is wrong with it may hold a secret, too
		return fault("option 'url' is to be postgres://host:port/database?parameter=value&parameter=value")
	}
	if _, has := u.User.Password(); has || params.Has("password") || params.Has("sslpassword") {
		return fault("option 'url' holds a password: leave it out and set 'password' to where it is, '${env:NAME}' or '${file:PATH}'")
	}
	if strings.Trim(u.Path, "/") == "" {
		return fault("option 'url' names no database: postgres://host:port/database")
	}
	if c.conn, err = pgx.ParseConfig(u.String()); err != nil {
		return fault("option 'url': %v", err)
	}
	if c.password, err = secret.New(optPassword, m); err != nil {
		return fault("%v", err)
	}
	if v := m.Get(optUser); v != "" {
		c.conn.User = v
	}
	if c.conn.ConnectTimeout = m.Duration(optConnect); c.conn.ConnectTimeout <= 0 {
		return fault("option 'connect-timeout' is to be more than nothing")
	}
	if c.Timeout <= 0 {
		return fault("option 'request-timeout' is to be more than nothing")
	}
	name := m.Get(optTable)
	if name == "" {
		name = QuoteIdent(table)
	}
	if c.Table, err = ParseName(name); err != nil {
		return fault("option 'table': %v", err)
	}
	return c, nil
}

// Name is that of a table, of which Schema may be empty: then the database looks for it.
type Name struct{ Schema, Table string }

// ParseName reads table or schema.table. Names stand as they are, unless they are
// quoted as in SQL; the database's own folding to lower case is not done here.
func ParseName(s string) (Name, error) {
	var parts []string
	rest := s
	for {
		part, after, err := nextName(rest)
		if err != nil {
			return Name{}, fmt.Errorf("%q: %w", s, err)
		}
		parts = append(parts, part)
		if after == "" {
			break
		}
		if after[0] != '.' {
			return Name{}, fmt.Errorf("%q goes on behind a quoted name", s)
		}
		rest = after[1:]
	}
	if len(parts) > 2 {
		return Name{}, fmt.Errorf("%q has more parts than schema and table", s)
	}
	if slices.Contains(parts, "") {
		return Name{}, fmt.Errorf("%q has an empty part", s)
	}
	if len(parts) == 1 {
		return Name{Table: parts[0]}, nil
	}
	return Name{parts[0], parts[1]}, nil
}

func nextName(s string) (name, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		if i := strings.IndexByte(s, '.'); i >= 0 {
			return s[:i], s[i:], nil
		}
		return s, "", nil
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(s[1:i], `""`, `"`), s[i+1:], nil
	}
	return "", "", fmt.Errorf("a quote is not closed")
}

// QuoteIdent quotes a name for a statement. A zero byte, which no name can have, is left out.
func QuoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

// Quoted is the name for a statement.
func (n Name) Quoted() string {
	if n.Schema == "" {
		return QuoteIdent(n.Table)
	}
	return QuoteIdent(n.Schema) + "." + QuoteIdent(n.Table)
}

// Beside is a table of another name in the same schema.
func (n Name) Beside(table string) Name { return Name{n.Schema, table} }

func (n Name) String() string {
	if n.Schema == "" {
		return n.Table
	}
	return n.Schema + "." + n.Table
}
