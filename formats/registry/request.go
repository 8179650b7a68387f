package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

const (
	mediaType   = "application/vnd.schemaregistry.v1+json"
	dialTimeout = 10 * time.Second
	firstPause  = 100 * time.Millisecond // before a request is made again; each pause is twice the last
	maxPause    = 2 * time.Second
)

func (c Config) transport() (*http.Transport, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Control: refuseLinkLocal}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost: 8, ResponseHeaderTimeout: c.Timeout,
		DisableKeepAlives: true, // schemas are kept, so that requests are rare and nobody has to close anything
	}, nil
}

// refuseLinkLocal looks at the address behind a name, just before it is dialled: at
// link-local ones clouds keep their metadata services.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return fmt.Errorf("dial %s: registries at link-local addresses are refused", address)
	}
	return nil
}

// sameHost keeps secrets with the registry.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 5 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
		return errors.New("a redirect to another host is not followed")
	}
	return nil
}

// ask makes a request, again where that may help, and reads its answer.
func (c *Client) ask(ctx context.Context, method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("write a request to the schema registry: %w", err)
		}
	}
	first, pause := int(c.next.Load()), firstPause
	var last error
	for try := range c.c.Retries + 1 {
		at := c.c.URLs[(first+try)%len(c.c.URLs)]
		again, err := c.once(ctx, method, at, path, text, answer)
		if err == nil {
			return nil
		}
		if last = fmt.Errorf("%s: ask the schema registry at %s: %w", c.c.what, at, err); !again {
			return last
		}
		c.next.Add(1) // others begin with another address
		if (try+1)%len(c.c.URLs) != 0 || try == c.c.Retries {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, maxPause)
	}
	return batch.ExternalError(last, true)
}

// once makes one request, and says of an error whether another one may help.
func (c *Client) once(ctx context.Context, method, at, path string, text []byte, answer any) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, method, at+path, bytes.NewReader(text))
	if err != nil {
		return false, batch.UserErrorf("%w", err)
	}
	req.Header.Set("Accept", mediaType+", application/json")
	if text != nil {
		req.Header.Set("Content-Type", mediaType)
	}
	if err := c.authorize(req); err != nil {
		return false, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return true, err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		return true, fmt.Errorf("read the answer: %w", err)
	case len(b) > maxAnswer:
		return false, batch.UserErrorf("the answer is longer than %d bytes", maxAnswer)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return refusal(res.StatusCode, b)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return false, batch.UserErrorf("the answer is no JSON as a Schema Registry gives it (is the address right?): %w", err)
	}
	return false, nil
}

func (c *Client) authorize(req *http.Request) error {
	switch {
	case c.c.token.Set():
		token, err := c.c.token.Read()
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case c.c.user != "":
		password, err := c.c.password.Read()
		if err != nil {
			return err
		}
		req.SetBasicAuth(c.c.user, password)
	}
	return nil
}

// refusal makes an error of an answer that is none.
func refusal(status int, body []byte) (again bool, err error) {
	var said struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // a proxy in between may answer with anything
	if said.Message == "" {
		said.Message = http.StatusText(status)
	}
	if len(said.Message) > 1000 {
		said.Message = strings.ToValidUTF8(said.Message[:1000], "") + "..."
	}
	switch {
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return true, fmt.Errorf("it answers %d: %s", status, said.Message)
	case status == http.StatusNotFound && said.Code >= 40401 && said.Code <= 40499:
		return false, batch.UserErrorf("%w: %s", ErrNotFound, said.Message)
	}
	return false, batch.UserErrorf("it answers %d: %s", status, said.Message)
}
