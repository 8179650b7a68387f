package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// Options say where the bucket is.
type Options struct {
	Endpoint string // host and port
	Bucket   string
	Prefix   string // of all names; ends in a slash if it is to look like a folder
	Region   string // default: asked of the store
	Secure   bool   // TLS; without it everything but the secret key can be read on the way

	// AccessKey and SecretKey; empty: those of the environment (AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY).
	AccessKey, SecretKey, SessionToken string

	// Transport carries the requests; nil for one of its own.
	Transport http.RoundTripper
}

// triesMax bounds how often a put is tried that the store answers with a conflict,
// and how often the client sends any request again.
const triesMax = 5

// pause is the wait before the second try of a put; it doubles.
const pause = 50 * time.Millisecond

// sumHeader is the user metadata that holds a file's checksum.
const sumHeader = "Sluice-Sum"

// Storage is a checkpoint.Storage.
type Storage struct {
	opt Options
	c   *minio.Client
}

var _ checkpoint.Storage = (*Storage)(nil)

// New makes a storage. Nothing is asked of the store.
func New(opt Options) (*Storage, error) {
	creds := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
	if opt.AccessKey != "" {
		creds = credentials.NewStaticV4(opt.AccessKey, opt.SecretKey, opt.SessionToken)
	}
	c, err := minio.New(opt.Endpoint, &minio.Options{Creds: creds, Secure: opt.Secure, Region: opt.Region, Transport: opt.Transport, MaxRetries: triesMax})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w", opt.Bucket, opt.Endpoint, err)
	}
	return &Storage{opt: opt, c: c}, nil
}

// Open is New, and tries whether the store keeps to conditions.
func Open(ctx context.Context, opt Options) (*Storage, error) {
	s, err := New(opt)
	if err != nil {
		return nil, err
	}
	if err := s.Try(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	return s, nil
}

// String names the place.
func (s *Storage) String() string {
	return fmt.Sprintf("s3://%s/%s at %s", s.opt.Bucket, s.opt.Prefix, s.opt.Endpoint)
}

// Try puts one name twice: the second has to be refused.
func (s *Storage) Try(ctx context.Context) error {
	name := "probe-" + rand.Text()
	if err := s.Put(ctx, name, strings.NewReader("1"), 1, 1); err != nil {
		return err
	}
	err := s.Put(ctx, name, strings.NewReader("2"), 1, 2)
	if e := s.Delete(ctx, name); err == nil && e != nil {
		return e
	}
	switch {
	case err == nil:
		return errors.New("the store overwrites objects that are put with If-None-Match; two processes on one checkpoint would destroy it")
	case !errors.Is(err, checkpoint.ErrExists):
		return err
	}
	return nil
}

// Put implements checkpoint.Storage.
func (s *Storage) Put(ctx context.Context, name string, body io.ReaderAt, size int64, sum uint64) error {
	var err error
	for n, wait := 0, pause; n < triesMax; n, wait = n+1, 2*wait {
		if n > 0 {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return context.Cause(ctx)
			case <-t.C:
			}
		}
		opt := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream",
			UserMetadata: map[string]string{sumHeader: strconv.FormatUint(sum, 16)}}
		opt.SetMatchETagExcept("*")
		_, err = s.c.PutObject(ctx, s.opt.Bucket, s.opt.Prefix+name, io.NewSectionReader(body, 0, size), size, opt)
		switch status(err) {
		case 0:
			return nil
		case http.StatusPreconditionFailed:
			return s.mine(ctx, name, size, sum)
		case http.StatusConflict:
			continue // another request for the name was under way
		}
		return err
	}
	return fmt.Errorf("after %d tries: %w", triesMax, err)
}

// mine reads back whether the object of a name is the one that was to be put: its
// own earlier request may have arrived while the answer was lost.
func (s *Storage) mine(ctx context.Context, name string, size int64, sum uint64) error {
	info, err := s.c.StatObject(ctx, s.opt.Bucket, s.opt.Prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return fmt.Errorf("look at what is there: %w", err)
	}
	if info.Size != size || info.UserMetadata[sumHeader] != strconv.FormatUint(sum, 16) {
		return checkpoint.ErrExists
	}
	return nil
}

// status is the HTTP status of a refusal, 0 for none and -1 for another error.
func status(err error) int {
	if err == nil {
		return 0
	}
	if r := minio.ToErrorResponse(err); r.StatusCode != 0 {
		return r.StatusCode
	}
	return -1
}

// ReadAt implements checkpoint.Storage.
func (s *Storage) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	var opt minio.GetObjectOptions
	if err := opt.SetRange(off, off+int64(len(p))-1); err != nil {
		return err
	}
	o, err := s.c.GetObject(ctx, s.opt.Bucket, s.opt.Prefix+name, opt)
	if err != nil {
		return missing(err)
	}
	_, err = io.ReadFull(o, p)
	if e := o.Close(); err == nil {
		err = e
	}
	return missing(err)
}

func missing(err error) error {
	if status(err) == http.StatusNotFound {
		return fmt.Errorf("%w: %w", os.ErrNotExist, err)
	}
	return err
}

// List implements checkpoint.Storage.
func (s *Storage) List(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the client's goroutine ends with it
	var out []string
	for o := range s.c.ListObjects(ctx, s.opt.Bucket, minio.ListObjectsOptions{Prefix: s.opt.Prefix}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if name := strings.TrimPrefix(o.Key, s.opt.Prefix); name != "" && !strings.HasSuffix(name, "/") {
			out = append(out, name)
		}
	}
	return out, nil
}

// Delete implements checkpoint.Storage.
func (s *Storage) Delete(ctx context.Context, name string) error {
	err := s.c.RemoveObject(ctx, s.opt.Bucket, s.opt.Prefix+name, minio.RemoveObjectOptions{})
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// Owned implements checkpoint.Storage: whose the files are is decided elsewhere.
func (s *Storage) Owned(context.Context) error { return nil }

// Get returns an object of at most limit bytes.
func (s *Storage) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	o, err := s.c.GetObject(ctx, s.opt.Bucket, s.opt.Prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, missing(err)
	}
	b, err := io.ReadAll(io.LimitReader(o, limit+1))
	if e := o.Close(); err == nil {
		err = e
	}
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, missing(err)
}

// Size returns an object's size.
func (s *Storage) Size(ctx context.Context, name string) (int64, error) {
	info, err := s.c.StatObject(ctx, s.opt.Bucket, s.opt.Prefix+name, minio.StatObjectOptions{})
	return info.Size, missing(err)
}
