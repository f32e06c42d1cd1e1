package nodetest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grantd/grantd/credential"
)

// Receiver is an HTTP server that receives webhooks and checks the signature of
// each with the library of Standard Webhooks. The connections are in memory, so
// that it can run in a testing/synctest bubble.
type Receiver struct {
	t        testing.TB
	incoming chan net.Conn
	closed   chan struct{}
	server   *http.Server
	client   *http.Transport

	mu       sync.Mutex
	secret   credential.Secret
	answer   func(Message) int
	messages []Message
}

// Message is a webhook as it was received.
type Message struct {
	ID     string
	Body   string
	At     time.Time
	Status int // that it was answered
}

// NewReceiver starts a receiver, which ends with the test.
func NewReceiver(t testing.TB) *Receiver {
	r := &Receiver{t: t, incoming: make(chan net.Conn), closed: make(chan struct{})}
	r.server = &http.Server{Handler: r, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	r.client = &http.Transport{DialContext: r.dial, IdleConnTimeout: time.Second}
	var served sync.WaitGroup
	served.Go(func() { _ = r.server.Serve(r) }) // it ends by being closed
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		if err := r.server.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return r
}

// Transport reaches the receiver, whatever the host.
func (r *Receiver) Transport() http.RoundTripper { return r.client }

func (r *Receiver) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case r.incoming <- there:
		return here, nil
	case <-r.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (r *Receiver) Accept() (net.Conn, error) {
	select {
	case c := <-r.incoming:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	return nil
}

// Addr implements net.Listener.
func (r *Receiver) Addr() net.Addr { return address("receiver") }

// Expect sets the secret that messages are to be signed with.
func (r *Receiver) Expect(secret credential.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

// Answer says with which status messages are answered; nil: 204.
func (r *Receiver) Answer(fn func(Message) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has died
	}
	m := Message{ID: req.Header.Get("webhook-id"), Body: string(text), At: time.Now(), Status: http.StatusNoContent}
	r.mu.Lock()
	secret, answer := r.secret, r.answer
	r.mu.Unlock()
	hook, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err == nil {
		err = hook.Verify(text, req.Header)
	}
	if err != nil {
		r.t.Errorf("message %s: %v", m.ID, err)
	}
	if answer != nil {
		m.Status = answer(m)
	}
	r.mu.Lock()
	r.messages = append(r.messages, m)
	r.mu.Unlock()
	w.WriteHeader(m.Status)
}

// Messages returns what was received so far, whatever it was answered.
func (r *Receiver) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// Taken returns the messages that were accepted, each id once, in the order in
// which they first were. The same id with another body is an error.
func (r *Receiver) Taken() (taken []Message) {
	bodies := make(map[string]string)
	for _, m := range r.Messages() {
		if body, seen := bodies[m.ID]; seen && body != m.Body {
			r.t.Errorf("message %s came as %s and as %s", m.ID, body, m.Body)
		}
		bodies[m.ID] = m.Body
		if m.Status/100 == 2 && !slices.ContainsFunc(taken, func(o Message) bool { return o.ID == m.ID }) {
			taken = append(taken, m)
		}
	}
	return taken
}

// Count is how many messages of a type were taken.
func (r *Receiver) Count(kind credential.EventType) (n int) {
	for _, m := range r.Taken() {
		if strings.Contains(m.Body, `"type":"`+string(kind)+`"`) {
			n++
		}
	}
	return n
}
