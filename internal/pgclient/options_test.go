package pgclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

func TestNames(t *testing.T) {
	for text, want := range map[string]Name{
		"t": {"", "t"}, "s.t": {"s", "t"}, "S.T t": {"S", "T t"}, `"a.b"."c""d"`: {"a.b", `c"d`}, `s."t"`: {"s", "t"}, `"t"`: {"", "t"},
	} {
		n, err := ParseName(text)
		if err != nil || n != want {
			t.Errorf("%s gave %+v (%v)", text, n, err)
			continue
		}
		if again, err := ParseName(n.Quoted()); err != nil || again != n {
			t.Errorf("%s is quoted as %s, which is %+v (%v)", text, n.Quoted(), again, err)
		}
	}
	for _, text := range []string{"", ".", "a.", ".b", "a.b.c", `"a`, `"a"b`, `""`} {
		if n, err := ParseName(text); err == nil {
			t.Errorf("%q gave %+v", text, n)
		}
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"url", "postgres://u:hunter2@h/d", "holds a password"}, {"url", "postgres://h/d?password=hunter2", "holds a password"},
		{"url", "postgres://h/d?sslmode=require&sslpassword=hunter2", "holds a password"}, {"url", "postgres://h/d?pass%77ord=hunter2", "holds a password"},
		{"url", "postgres://h/d?sslmode=disable;password=hunter2", "'url'"},
		{"url", "postgres://h", "names no database"}, {"url", "hunter2", "is to be postgres://"}, {"url", "postgres://h/d?sslmode=hm", "'url'"},
		{"password", "hunter2", "does not hold the secret"}, {"table", "a.b.c", "more parts"}, {"connect-timeout", "0s", "more than nothing"}, {"request-timeout", "0s", "more than nothing"},
	} {
		_, err := Parse("table \"t\"", "t", options.Map{"url": "postgres://h/d", c.key: c.value})
		if k, _ := batch.KindOf(err); err == nil || k != batch.User || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s = %s gave %v", c.key, c.value, err)
		}
	}
	c, err := Parse("table \"t\"", "my.table", options.Map{"url": "postgres://h:5433/d?sslmode=disable", "username": "me"})
	if err != nil || c.Table != (Name{Table: "my.table"}) || c.conn.User != "me" || c.Where() != `database "d" at h:5433` {
		t.Errorf("got %+v, %s (%v)", c.Table, c.Where(), err)
	}
}

func TestClassify(t *testing.T) {
	pg := func(code string) error {
		return fmt.Errorf("doing: %w", &pgconn.PgError{Code: code, Message: "m", Detail: "detail"})
	}
	for code, again := range map[string]bool{"57P01": true, "40P01": true, "53300": true, "08006": true, "55P03": true, "23505": false, "42P01": false, "22003": false, "28P01": false} {
		err := Classify(pg(code))
		k, retry := batch.KindOf(err)
		if retry != again || (k == batch.User) == again || !strings.Contains(err.Error(), "detail") {
			t.Errorf("%s is %v, again %v: %v", code, k, retry, err)
		}
	}
	if k, retry := batch.KindOf(Classify(errors.New("connection reset"))); k != batch.External || !retry {
		t.Errorf("a broken connection is %v, %v", k, retry)
	}
	for _, cause := range []error{&tls.CertificateVerificationError{Err: errors.New("m")}, x509.UnknownAuthorityError{}, x509.CertificateInvalidError{Reason: x509.Expired}} {
		if k, again := batch.KindOf(Classify(fmt.Errorf("connect: %w", cause))); k != batch.User || again {
			t.Errorf("%T is %v, again %v", cause, k, again)
		}
	}
	if err := Classify(context.Canceled); !errors.Is(err, context.Canceled) || Classify(nil) != nil {
		t.Error("an end that was asked for is no error of the database")
	}
}
