package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokenPrefix begins every token, so that scanners for leaked secrets know one.
const tokenPrefix = "sluice_"

// tokenBytes are the random bytes of a token.
const tokenBytes = 32

// Tokens are the tokens of a file. They may be used by several goroutines.
type Tokens struct {
	name string
	read struct {
		sync.Mutex
		all  []Token
		info os.FileInfo // of the file when it was read; nil: it could not be
		err  error       // why not
	}
}

// OpenTokens reads a file that must be there.
func OpenTokens(name string) (*Tokens, error) {
	t := &Tokens{name: name}
	if _, err := t.current(); err != nil {
		return nil, err
	}
	return t, nil
}

// First makes the file with one token of an administrator, if there is no file yet. The
// token itself goes to plain, which only its owner may read, so that whoever runs the
// process can fetch it; it reports whether it did.
func First(name, plain string, now time.Time) (bool, error) {
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return false, err // nil: there are tokens
	}
	token, err := Create(name, "admin", Admin, now)
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(plain, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false, fmt.Errorf("write the first token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("write the first token: %w", err)
	}
	return true, nil
}

// Create adds a token and returns it; it is nowhere else.
func Create(file, name string, role Role, now time.Time) (string, error) {
	if !tokenName.MatchString(name) {
		return "", fmt.Errorf("token name %q: want letters, digits, '.', '_', '@' and '-', at most 63", name)
	}
	if _, err := ParseRole(role.String()); err != nil {
		return "", err
	}
	secret := make([]byte, tokenBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	err := edit(file, func(all []Token) ([]Token, error) {
		if slices.ContainsFunc(all, func(t Token) bool { return t.Name == name }) {
			return nil, fmt.Errorf("there is a token %q: revoke it, or give another name", name)
		}
		if len(all) == tokensMax {
			return nil, fmt.Errorf("there are %d tokens, which is the most", len(all))
		}
		return append(all, Token{Name: name, Role: role, Created: now, hash: sha256.Sum256([]byte(token))}), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Revoke removes a token by its name.
func Revoke(file, name string) error {
	return edit(file, func(all []Token) ([]Token, error) {
		left := slices.DeleteFunc(slices.Clone(all), func(t Token) bool { return t.Name == name })
		if len(left) == len(all) {
			return nil, fmt.Errorf("there is no token %q", name)
		}
		return left, nil
	})
}

// List returns what is stored of the tokens.
func List(file string) ([]Token, error) {
	all, _, err := readFile(file)
	return all, err
}

// ErrNoToken is of a request without a token, or with one that nobody has.
var ErrNoToken = errors.New("a token is needed: Authorization: Bearer TOKEN")

// Check tells whose a token is. Every stored one is compared, each in constant time: how
// long it takes says nothing about any of them.
func (t *Tokens) Check(token string) (Principal, error) {
	all, err := t.current()
	if err != nil {
		return Principal{}, err
	}
	hash := sha256.Sum256([]byte(token))
	var found Principal
	for _, one := range all {
		if subtle.ConstantTimeCompare(hash[:], one.hash[:]) == 1 {
			found = Principal{Name: one.Name, Role: one.Role}
		}
	}
	if found.Role == Undeclared {
		return Principal{}, ErrNoToken
	}
	return found, nil
}

// current is what the file holds.
func (t *Tokens) current() ([]Token, error) {
	info, err := os.Stat(t.name)
	t.read.Lock()
	defer t.read.Unlock()
	old := t.read.info
	if err == nil && old != nil && os.SameFile(info, old) && info.ModTime().Equal(old.ModTime()) && info.Size() == old.Size() && info.Mode() == old.Mode() {
		return t.read.all, t.read.err
	}
	t.read.all, t.read.info, t.read.err = readFile(t.name)
	return t.read.all, t.read.err
}

// Bearer is the token of an Authorization header.
func Bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), token != ""
}
