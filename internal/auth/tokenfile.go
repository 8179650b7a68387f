package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fileHeader is the first line of a token file; docs/formats/tokens.md describes it.
const fileHeader = "sluice tokens 1"

// Limits of a token file.
const (
	fileBytesMax = 1 << 20
	tokensMax    = 1000
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tokenName is the form of a token's name.
var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// Token is a token as it is stored.
type Token struct {
	Name    string
	Role    Role
	Created time.Time
	hash    [sha256.Size]byte
}

// line is the token's line in the file.
func (t Token) line() string {
	text := fmt.Sprintf("%s %s %x %s", t.Name, t.Role, t.hash, t.Created.UTC().Format(time.RFC3339))
	return fmt.Sprintf("%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

// encode is the text of a file.
func encode(all []Token) []byte {
	var b bytes.Buffer
	b.WriteString(fileHeader + "\n")
	for _, t := range all {
		b.WriteString(t.line())
	}
	return b.Bytes()
}

// decode reads a file. A damaged line refuses the file: a token with another role than
// it was given would be worse than none.
func decode(b []byte) ([]Token, error) {
	text, ok := strings.CutPrefix(string(b), fileHeader+"\n")
	if first, _, _ := strings.Cut(string(b), "\n"); !ok {
		return nil, fmt.Errorf("the first line is %.40q, and this program reads %q", first, fileHeader)
	}
	var all []Token
	for n := 2; text != ""; n++ {
		line, rest, ended := strings.Cut(text, "\n")
		if !ended || len(all) == tokensMax {
			return nil, fmt.Errorf("line %d: the line has no end, or there are more than %d", n, tokensMax)
		}
		t, err := decodeLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if slices.ContainsFunc(all, func(o Token) bool { return o.Name == t.Name }) {
			return nil, fmt.Errorf("line %d: there is another token %q", n, t.Name)
		}
		all, text = append(all, t), rest
	}
	return all, nil
}

func decodeLine(line string) (Token, error) {
	parts := strings.Split(line, " ")
	if len(parts) != 5 {
		return Token{}, errors.New("want name, role, hash, time and checksum")
	}
	sum, err := strconv.ParseUint(parts[4], 16, 32)
	if err != nil || len(parts[4]) != 8 || uint32(sum) != crc32.Checksum([]byte(strings.Join(parts[:4], " ")), castagnoli) {
		return Token{}, errors.New("the checksum is wrong: the line was damaged or written by hand")
	}
	t := Token{Name: parts[0]}
	if !tokenName.MatchString(t.Name) {
		return Token{}, fmt.Errorf("the name %q", t.Name)
	}
	if t.Role, err = ParseRole(parts[1]); err != nil {
		return Token{}, err
	}
	if h, err := hex.DecodeString(parts[2]); err != nil || copy(t.hash[:], h) != len(t.hash) || len(h) != len(t.hash) {
		return Token{}, errors.New("the hash is not one")
	}
	if t.Created, err = time.Parse(time.RFC3339, parts[3]); err != nil {
		return Token{}, err
	}
	return t, nil
}

// readFile reads and decodes a token file.
func readFile(name string) ([]Token, os.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, fmt.Errorf("read tokens: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, nil, fmt.Errorf("%s has mode %04o, so that every user can read or change it: chmod 0600", name, mode)
	}
	if info.Size() > fileBytesMax {
		return nil, nil, fmt.Errorf("%s has %d bytes, more than a file of tokens can have", name, info.Size())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("read tokens: %w", err)
	}
	all, err := decode(b)
	if err != nil {
		return nil, nil, fmt.Errorf("tokens of %s: %w", name, err)
	}
	return all, info, nil
}

// edit changes a token file as one step. The new file is made under a name that only one
// can make, so that two commands at once do not lose each other's tokens.
func edit(name string, change func([]Token) ([]Token, error)) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("make the folder of tokens: %w", err)
	}
	next := name + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: another command changes the tokens, or one was killed; if none runs, remove it", next)
	}
	if err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error counts
			_ = os.Remove(next)
		}
	}()
	all, _, err := readFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if all, err = change(all); err != nil {
		return err
	}
	if _, err = f.Write(encode(all)); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	if err = os.Rename(next, name); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
