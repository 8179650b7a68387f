package sluice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/bucket"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/s3"
)

// The settings of checkpoints in a bucket. What is not set comes from the environment,
// as for other programs that use S3.
var (
	setS3Endpoint = options.Option{Key: "checkpoint.s3.endpoint", Kind: options.Text, Default: "",
		Doc: "URL of the store of checkpoints under s3://; without it that of the environment (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL), or Amazon's"}
	setS3Region = options.Option{Key: "checkpoint.s3.region", Kind: options.Text, Default: "",
		Doc: "its region; without it that of the environment (AWS_REGION, AWS_DEFAULT_REGION), or us-east-1"}
	setS3Access = options.Option{Key: "checkpoint.s3.access-key", Kind: options.Text, Default: "",
		Doc: "the access key's ID, or where it is: ${env:NAME} or ${file:PATH}; without it AWS_ACCESS_KEY_ID, or the profile of AWS_SHARED_CREDENTIALS_FILE"}
	setS3Secret = options.Option{Key: "checkpoint.s3.secret-key", Kind: options.Text, Default: "",
		Doc: "where the secret key is: ${env:NAME} or ${file:PATH}, never the key itself"}
	setS3Token = options.Option{Key: "checkpoint.s3.session-token", Kind: options.Text, Default: "",
		Doc: "where a session's token is, as for the secret key"}
	setCacheDir = options.Option{Key: "checkpoint.cache-dir", Kind: options.Text, Default: "",
		Doc: "folder for the runs of checkpoints under s3://; the user's cache by default"}
	setCacheBytes = options.Option{Key: "checkpoint.cache-bytes", Kind: options.Bytes, Default: "0",
		Doc: "how much of a query's state under s3:// that folder keeps; what was read longest ago goes first. 0: all of it"}
)

// bucketScheme begins a checkpoint's name that is one in a bucket.
const bucketScheme = "s3://"

func isBucket(name string) bool { return strings.HasPrefix(name, bucketScheme) }

// buckets are the checkpoints in buckets that a session has to do with.
type buckets struct {
	set *settings
	// shared keeps the places open for the sessions after this one; nil: they are its own.
	shared *places
	mu     struct {
		sync.Mutex
		byURL  map[string]*bucketPlace
		failed map[string]error // by folder
	}
}

// bucketPlace is one of them.
type bucketPlace struct {
	url    string
	dir    string      // the folder that stands for it
	work   string      // on the machine, for what is no part of it
	store  *s3.Storage // of the journal
	place  *bucket.Place
	locked interface{ Close() error } // the cache
}

// folder is the folder that stands for a checkpoint in a bucket. Why it cannot be had
// is said by failure.
func (b *buckets) folder(text string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text = bucketScheme + strings.Trim(strings.TrimPrefix(text, bucketScheme), "/")
	if p := b.mu.byURL[text]; p != nil {
		_ = p.place.Refresh() // what fails now fails for who reads from it
		return p.dir
	}
	if b.mu.byURL == nil {
		b.mu.byURL, b.mu.failed = map[string]*bucketPlace{}, map[string]error{}
	}
	p, err := b.openPlace(text)
	if err != nil {
		dir := filepath.Join(os.TempDir(), "no checkpoint", filepath.FromSlash(strings.TrimPrefix(text, bucketScheme)))
		b.mu.failed[dir] = fmt.Errorf("checkpoint %s: %w", text, err)
		return dir
	}
	b.mu.byURL[text] = p
	return p.dir
}

func (b *buckets) openPlace(text string) (*bucketPlace, error) {
	if b.shared != nil {
		return b.shared.take(text, b.set.snapshot())
	}
	p := &bucketPlace{url: text}
	return p, p.open(b.set.snapshot())
}

// failure says why a folder that folder has returned does not stand for anything.
func (b *buckets) failure(dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.failed[dir]
}

// of finds the place that a folder is in.
func (b *buckets) of(dir string) *bucketPlace {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.mu.byURL {
		if dir == p.dir || strings.HasPrefix(dir, p.dir+string(filepath.Separator)) {
			return p
		}
	}
	return nil
}

// shown is how a checkpoint's folder is called before users.
func (b *buckets) shown(dir string) string {
	if p := b.of(dir); p != nil {
		return p.url
	}
	return dir
}

// take is asked before a query opens its checkpoint: it has to be one that cannot be
// destroyed by two processes, and it is taken over from one that may be there still.
func (b *buckets) take(ctx context.Context, dir string) error {
	p := b.of(dir)
	if p == nil {
		return b.failure(dir)
	}
	if err := p.store.Try(ctx); err != nil {
		return fmt.Errorf("checkpoint %s: %w", p.url, err)
	}
	p.place.TakeOver(true)
	return nil
}

// state is where a store of a query's state keeps its files besides a folder; nil for
// nowhere.
func (b *buckets) state(dir string) checkpoint.Storage {
	if p := b.of(dir); p != nil {
		return b.bounded(p.place.Storage())
	}
	return nil
}

// bounded limits how much of a storage its cache keeps.
func (b *buckets) bounded(s checkpoint.Storage) checkpoint.Storage {
	return checkpoint.Bounded{Storage: s, CacheBytes: b.set.snapshot().Bytes(setCacheBytes)}
}

// work is the folder where state of a checkpoint is rebuilt: on this machine, also if
// the checkpoint lies in a bucket, since nobody else has to see it.
func (b *buckets) work(dir string) string {
	if p := b.of(dir); p != nil {
		return p.work
	}
	return filepath.Join(dir, bootstrapDir)
}

// publish puts files of state into the bucket that were brought into its cache
// otherwise than by a store.
func (b *buckets) publish(ctx context.Context, dir string, ms []microbatch.Manifest) error {
	p := b.of(dir)
	if p == nil {
		return nil
	}
	files, err := checkpoint.OpenMirrored(vfsx.Machine, filepath.Join(p.dir, "state"), p.place.Storage())
	if err != nil {
		return err
	}
	defer files.Close()
	done := map[string]bool{}
	for _, rec := range ms {
		var m statestore.Manifest
		if err := json.Unmarshal([]byte(rec.Ref), &m); err != nil {
			return fmt.Errorf("read the manifest of %s: %w", rec.Shard, err)
		}
		for _, part := range m.Parts {
			if done[part.Name] {
				continue
			}
			done[part.Name] = true
			err := files.Publish(ctx, part)
			if errors.Is(err, os.ErrNotExist) { // it was there before it was here
				err = files.CheckRun(ctx, part)
			}
			if err != nil {
				return fmt.Errorf("checkpoint %s: %w", p.url, err)
			}
		}
	}
	return nil
}

// close ends all of them.
func (b *buckets) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, p := range b.mu.byURL {
		if b.shared != nil {
			errs = append(errs, b.shared.give(p))
			continue
		}
		errs = append(errs, p.close())
	}
	clear(b.mu.byURL)
	return errors.Join(errs...)
}

func (p *bucketPlace) close() error { return errors.Join(p.place.Close(), p.locked.Close()) }

func (p *bucketPlace) parse(text string) (name, prefix string, err error) {
	name, prefix, _ = strings.Cut(strings.Trim(strings.TrimPrefix(text, bucketScheme), "/"), "/")
	for part := range strings.SplitSeq(prefix, "/") {
		if name == "" || part == "" || part == "." || part == ".." || strings.ContainsAny(text, "\\?#\x00") {
			return "", "", batch.UserErrorf("want s3://bucket/prefix")
		}
	}
	return name, prefix, nil
}

// open connects and mounts; nothing is asked of the store yet.
func (p *bucketPlace) open(set options.Map) error {
	name, prefix, err := p.parse(p.url)
	if err != nil {
		return err
	}
	opt, err := s3Options(set)
	if err != nil {
		return err
	}
	opt.Bucket = name
	opt.Prefix = prefix + "/journal/"
	if p.store, err = s3.New(opt); err != nil {
		return err
	}
	opt.Prefix = prefix + "/state/"
	runs, err := s3.New(opt)
	if err != nil {
		return err
	}
	base, err := cacheBase(set)
	if err != nil {
		return err
	}
	if err := p.cache(filepath.Join(base, "s3", name, filepath.FromSlash(prefix))); err != nil {
		return err
	}
	rel, err := filepath.Rel(base, p.dir)
	if err != nil {
		return errors.Join(err, p.locked.Close())
	}
	p.work = filepath.Join(base, bootstrapDir, rel)
	p.place, err = bucket.Open(bucket.Options{Dir: p.dir, Journal: p.store, State: runs})
	if err != nil {
		return errors.Join(err, p.locked.Close())
	}
	return nil
}

// cachesMax bounds how many processes of a machine have a cache of one checkpoint.
const cachesMax = 16

// cache takes a folder that no other process has.
func (p *bucketPlace) cache(dir string) error {
	var err error
	for n := range cachesMax {
		p.dir = dir
		if n > 0 {
			p.dir = fmt.Sprintf("%s~%d", dir, n)
		}
		if err = os.MkdirAll(p.dir, 0o700); err != nil {
			return fmt.Errorf("make its cache: %w", err)
		}
		if p.locked, err = vfsx.Machine.Lock(filepath.Join(p.dir, "CACHE")); err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) && !strings.Contains(err.Error(), "held by current process") {
			break
		}
	}
	return fmt.Errorf("lock its cache %s: %w", p.dir, err)
}

// cacheBase is the folder of all caches, with its true name.
func cacheBase(set options.Map) (string, error) {
	dir := set.Get(setCacheDir)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			user = os.TempDir()
		}
		dir = filepath.Join(user, "sluice")
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o700)
	}
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("make the cache of checkpoints (%s): %w", setCacheDir.Key, err)
	}
	return abs, nil
}

// s3Options says where the store is and who asks.
func s3Options(set options.Map) (s3.Options, error) {
	var o s3.Options
	o.Region = cmp.Or(set.Get(setS3Region), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	end := cmp.Or(set.Get(setS3Endpoint), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "https://s3."+o.Region+".amazonaws.com")
	u, err := url.Parse(end)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return o, batch.UserErrorf("%s is no URL of a store: want http://host:port or https://host", setS3Endpoint.Key)
	}
	o.Endpoint, o.Secure = u.Host, u.Scheme == "https"
	for _, f := range []struct {
		to  *string
		opt options.Option
	}{{&o.AccessKey, setS3Access}, {&o.SecretKey, setS3Secret}, {&o.SessionToken, setS3Token}} {
		if *f.to, err = dereference(f.opt.Key, set.Get(f.opt)); err != nil {
			return o, err
		}
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return o, batch.UserErrorf("%s and %s go together", setS3Access.Key, setS3Secret.Key)
	}
	return o, nil
}

// reference takes a text of the form ${env:NAME} or ${file:PATH} apart.
func reference(text string) (kind, of string, ok bool) {
	in, ok1 := strings.CutPrefix(text, "${")
	in, ok2 := strings.CutSuffix(in, "}")
	kind, of, ok3 := strings.Cut(in, ":")
	return kind, of, ok1 && ok2 && ok3 && of != "" && (kind == "env" || kind == "file")
}

// dereference returns what a setting refers to, or the setting.
func dereference(key, text string) (string, error) {
	kind, of, ok := reference(text)
	switch {
	case !ok:
		return text, nil
	case kind == "env":
		if v := os.Getenv(of); v != "" {
			return v, nil
		}
		return "", batch.UserErrorf("%s: the environment has no %s", key, of)
	}
	info, err := os.Stat(of)
	var b []byte
	if err == nil && info.Size() > 64<<10 {
		err = errors.New("it is too large for a secret")
	}
	if err == nil {
		b, err = os.ReadFile(of)
	}
	if err != nil {
		return "", batch.UserErrorf("%s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// checkSecret refuses secrets that are written down.
func checkSecret(key, value string) error {
	if key != setS3Secret.Key && key != setS3Token.Key || value == "" {
		return nil
	}
	if _, _, ok := reference(value); !ok {
		return batch.UserErrorf("%s is shown to whoever asks for settings: say where the secret is, ${env:NAME} or ${file:PATH}", key)
	}
	return nil
}

// OpenCheckpoint returns the folder that a checkpoint lies in, to be given to
// functions that read one. One in a bucket (s3://bucket/prefix) is shown as a folder
// until close is called.
func OpenCheckpoint(dir string, set map[string]string) (folder string, closeIt func() error, err error) {
	if !isBucket(dir) {
		return dir, func() error { return nil }, nil
	}
	values, err := newSettings(set)
	if err != nil {
		return "", nil, err
	}
	b := &buckets{set: values}
	folder = b.folder(dir)
	if err := b.failure(folder); err != nil {
		return "", nil, err
	}
	if _, err := vfsx.Default.Stat(folder); err != nil { // reads the journal
		return "", nil, errors.Join(err, b.close())
	}
	return folder, b.close, nil
}

// withCheckpoint calls f with the folder of a checkpoint.
func withCheckpoint(dir string, f func(folder string) error) error {
	folder, done, err := OpenCheckpoint(dir, nil)
	if err != nil {
		return err
	}
	return errors.Join(f(folder), done())
}

var errNotStopped = "%w: %s; a query that runs is saved by its own process, and one that has died has to be started again once"

// unowned refuses to change a checkpoint in a bucket that a process has open, or had
// open when it died: who that is cannot be asked.
func unowned(dir string) error {
	if !vfsx.Mounted(dir) {
		return nil
	}
	b, err := vfsx.ReadFile(vfsx.Default, filepath.Join(dir, "OWNER"), 1<<10)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return batch.UserErrorf(errNotStopped, filelog.ErrInUse, string(b))
}
