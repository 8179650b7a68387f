package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// The kinds of schema.
const (
	Avro     = "AVRO"
	Protobuf = "PROTOBUF"
	JSON     = "JSON"
)

// Schema is one that a registry knows.
type Schema struct {
	ID         int32       `json:"id,omitempty"`
	Subject    string      `json:"subject,omitempty"`
	Version    int         `json:"version,omitempty"`
	Type       string      `json:"schemaType,omitempty"` // Avro if it is not said
	Text       string      `json:"schema"`
	References []Reference `json:"references,omitempty"`
}

// Kind is the schema's type.
func (s *Schema) Kind() string {
	if s.Type == "" {
		return Avro
	}
	return s.Type
}

// Reference is a schema that another one uses, under a name.
type Reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// Named is the text of a schema that another one uses.
type Named struct {
	Name string
	Text string
}

// Latest asks Version for the newest one.
const Latest = 0

// ErrNotFound says that the registry does not know a schema, subject or version.
var ErrNotFound = errors.New("the registry does not know it")

// Limits on what is kept and followed.
const (
	maxAnswer     = 16 << 20         // bytes of an answer
	maxReferences = 1000             // schemas that one schema uses, with what they use
	unknownFor    = 10 * time.Second // that an ID is unknown is believed
)

// Client asks a registry. It is safe for any number of goroutines.
type Client struct {
	c    Config
	http *http.Client
	next atomic.Uint32 // which address is asked first
	now  func() time.Time

	cache struct {
		sync.Mutex
		byID       lru[int32, *entry]
		byVersion  lru[versionKey, *Schema]
		registered lru[textKey, int32]
	}
}

type versionKey struct {
	subject string
	version int
}

type textKey struct{ subject, kind, text string }

// entry is what is known of an ID. Asked for at once by many, it is asked once.
type entry struct {
	done    chan struct{}
	schema  *Schema
	err     error
	expires time.Time // zero: never
}

// New makes a client, which connects when it is first asked something.
func New(c Config) (*Client, error) {
	t, err := c.transport()
	if err != nil {
		return nil, err
	}
	cl := &Client{c: c, http: &http.Client{Transport: t, Timeout: c.Timeout, CheckRedirect: sameHost}, now: time.Now}
	cl.cache.byID, cl.cache.byVersion, cl.cache.registered = newLRU[int32, *entry](c.Cache), newLRU[versionKey, *Schema](c.Cache), newLRU[textKey, int32](c.Cache)
	return cl, nil
}

// Config returns what the client was made of.
func (c *Client) Config() Config { return c.c }

// ByID returns the schema with an ID.
func (c *Client) ByID(ctx context.Context, id int32) (*Schema, error) {
	for {
		c.cache.Lock()
		e, ok := c.cache.byID.get(id)
		if ok && !e.expires.IsZero() && c.now().After(e.expires) {
			ok = false
		}
		if !ok {
			e = &entry{done: make(chan struct{})}
			c.cache.byID.put(id, e)
			c.cache.Unlock()
			return c.fetch(ctx, id, e)
		}
		c.cache.Unlock()
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.schema != nil || errors.Is(e.err, ErrNotFound) {
			return e.schema, e.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// Whoever asked before has failed, perhaps because it was cancelled.
	}
}

// fetch asks for a schema, for all who wait for its entry.
func (c *Client) fetch(ctx context.Context, id int32, e *entry) (*Schema, error) {
	var s Schema
	err := c.ask(ctx, http.MethodGet, "/schemas/ids/"+strconv.Itoa(int(id)), nil, &s)
	if err == nil {
		s.ID = id
		e.schema = &s
	} else {
		e.err = fmt.Errorf("schema %d: %w", id, err)
		c.cache.Lock()
		if errors.Is(err, ErrNotFound) {
			e.expires = c.now().Add(unknownFor)
		} else if at, ok := c.cache.byID.get(id); ok && at == e {
			c.cache.byID.remove(id)
		}
		c.cache.Unlock()
	}
	close(e.done)
	return e.schema, e.err
}

// Version returns a version of a subject, or its Latest one.
func (c *Client) Version(ctx context.Context, subject string, version int) (*Schema, error) {
	key := versionKey{subject, version}
	c.cache.Lock()
	s, ok := c.cache.byVersion.get(key)
	c.cache.Unlock()
	if ok {
		return s, nil
	}
	name := "latest"
	if version != Latest {
		name = strconv.Itoa(version)
	}
	s = &Schema{}
	if err := c.ask(ctx, http.MethodGet, "/subjects/"+url.PathEscape(subject)+"/versions/"+name, nil, s); err != nil {
		return nil, fmt.Errorf("subject %q, version %s: %w", subject, name, err)
	}
	if version != Latest { // the latest is another one tomorrow
		c.cache.Lock()
		c.cache.byVersion.put(key, s)
		c.cache.Unlock()
	}
	return s, nil
}

// Subjects lists the subjects.
func (c *Client) Subjects(ctx context.Context) ([]string, error) {
	var names []string
	err := c.ask(ctx, http.MethodGet, "/subjects", nil, &names)
	return names, err
}

// Versions lists the versions of a subject.
func (c *Client) Versions(ctx context.Context, subject string) ([]int, error) {
	var versions []int
	if err := c.ask(ctx, http.MethodGet, "/subjects/"+url.PathEscape(subject)+"/versions", nil, &versions); err != nil {
		return nil, fmt.Errorf("subject %q: %w", subject, err)
	}
	return versions, nil
}

// References returns the schemas that a schema uses, with what they use: each before
// those that use it, and each name once.
func (c *Client) References(ctx context.Context, s *Schema) ([]Named, error) {
	var out []Named
	seen := map[string]versionKey{}
	var add func(s *Schema, depth int) error
	add = func(s *Schema, depth int) error {
		for _, r := range s.References {
			key := versionKey{r.Subject, r.Version}
			if at, ok := seen[r.Name]; ok {
				if at != key {
					return batch.UserErrorf("schema %d uses two versions of %q: %d of %q and %d of %q", s.ID, r.Name, at.version, at.subject, r.Version, r.Subject)
				}
				continue
			}
			if seen[r.Name] = key; len(seen) > maxReferences || depth > 100 {
				return batch.UserErrorf("schema %d uses more than %d others", s.ID, maxReferences)
			}
			used, err := c.Version(ctx, r.Subject, r.Version)
			if err != nil {
				return fmt.Errorf("reference %q of schema %d: %w", r.Name, s.ID, err)
			}
			if err := add(used, depth+1); err != nil {
				return err
			}
			out = append(out, Named{Name: r.Name, Text: used.Text})
		}
		return nil
	}
	err := add(s, 0)
	return out, err
}

// idAnswer is what registering and looking up give.
type idAnswer struct {
	ID int32 `json:"id"`
}

// Register registers a schema under a subject, and returns its ID, also of one that is
// there already. Where the table says not to register, it must be there.
func (c *Client) Register(ctx context.Context, subject string, s Schema) (int32, error) {
	key := textKey{subject, s.Kind(), s.Text}
	c.cache.Lock()
	id, ok := c.cache.registered.get(key)
	c.cache.Unlock()
	if ok {
		return id, nil
	}
	path, what := "/subjects/"+url.PathEscape(subject), "look up"
	if c.c.Register {
		path, what = path+"/versions", "register"
	}
	var got idAnswer
	err := c.ask(ctx, http.MethodPost, path, Schema{Type: s.Type, Text: s.Text, References: s.References}, &got)
	if err != nil {
		return 0, fmt.Errorf("%s the schema of subject %q: %w", what, subject, err)
	}
	c.cache.Lock()
	c.cache.registered.put(key, got.ID)
	c.cache.Unlock()
	return got.ID, nil
}

// Compatible asks whether a schema may become the next version of a subject, and why not.
func (c *Client) Compatible(ctx context.Context, subject string, s Schema) (ok bool, why []string, err error) {
	var got struct {
		OK       bool     `json:"is_compatible"`
		Messages []string `json:"messages"`
	}
	err = c.ask(ctx, http.MethodPost, "/compatibility/subjects/"+url.PathEscape(subject)+"/versions/latest?verbose=true", Schema{Type: s.Type, Text: s.Text, References: s.References}, &got)
	if errors.Is(err, ErrNotFound) {
		return true, nil, nil // the first one
	}
	if err != nil {
		return false, nil, fmt.Errorf("compare a schema with subject %q: %w", subject, err)
	}
	return got.OK, got.Messages, nil
}

// Compatibility returns what a subject's versions must be to each other, such as BACKWARD.
func (c *Client) Compatibility(ctx context.Context, subject string) (string, error) {
	var got struct {
		Level string `json:"compatibilityLevel"`
	}
	if err := c.ask(ctx, http.MethodGet, "/config/"+url.PathEscape(subject)+"?defaultToGlobal=true", nil, &got); err != nil {
		return "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return got.Level, nil
}
