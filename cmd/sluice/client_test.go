package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// driverDouble is a server that answers as a driver may.
func driverDouble(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// A client of several drivers finds the one that leads, with its token and what it has to say.
func TestClientFindsTheLeader(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	var given atomic.Int64
	leads := driverDouble(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer secret" || r.Method != http.MethodPost || r.URL.Path != "/api/x" || string(b) != "body" {
			t.Errorf("the leader is asked %s %s %q with %q", r.Method, r.URL, b, r.Header.Get("Authorization"))
		}
		given.Add(1)
		fmt.Fprint(w, `"led"`)
	})
	follows := driverDouble(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+leads+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	var asked atomic.Int64
	elects := driverDouble(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "http://"+leads+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	for i, servers := range []string{leads, follows, "127.0.0.1:1," + follows, "127.0.0.1:1, " + leads, elects} {
		var said string
		f := clientFlags{addr: servers, flag: "--server"}
		if err := f.send(t.Context(), http.MethodPost, "/api/x", "body", &said); err != nil || said != "led" || given.Load() != int64(i+1) {
			t.Errorf("%s: %q, %v, %d answers", servers, said, err, given.Load())
		}
	}
}

// A token does not leave the machine in the clear, and a redirect does not lead it out.
func TestClientKeepsItsToken(t *testing.T) {
	t.Setenv(tokenVariable, "secret")
	ask := func(servers string) error {
		f := clientFlags{addr: servers, flag: "--server"}
		return f.ask(t.Context(), http.MethodGet, "/api/x", new(any))
	}
	for _, to := range []string{"http://192.0.2.1:7071/api/x", "https://192.0.2.1:7071/api/x", "https://127.0.0.1:1/api/x", "//192.0.2.1/api/x", "ftp://127.0.0.1/", "http://[/"} {
		sends := driverDouble(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		if err := ask(sends); err == nil || !strings.Contains(err.Error(), "in the clear") && !strings.Contains(err.Error(), "sends to") && !strings.Contains(err.Error(), "parse") {
			t.Errorf("sent to %s: %v", to, err)
		}
	}
	if err := ask("192.0.2.1:7071"); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("asked beyond the machine: %v", err)
	}
}

// Drivers that send to and fro, or of which none ever leads, are given up.
func TestClientGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var rounds atomic.Int64
	var self string
	self = driverDouble(t, func(w http.ResponseWriter, r *http.Request) {
		if rounds.Add(1) == 2*hopsMax {
			cancel()
		}
		http.Redirect(w, r, "http://"+self+"/api/x", http.StatusTemporaryRedirect)
	})
	f := clientFlags{addr: self, flag: "--server"}
	if err := f.ask(ctx, http.MethodGet, "/api/x", new(any)); err == nil {
		t.Error("an answer came out of nothing")
	}
	refuses := driverDouble(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error": "it is wrong"}`)
	})
	f.addr = "127.0.0.1:1," + refuses + ",127.0.0.1:1"
	if err := f.ask(t.Context(), http.MethodGet, "/api/x", new(any)); err == nil || !strings.Contains(err.Error(), "it is wrong") {
		t.Errorf("a refusal: %v", err)
	}
}
