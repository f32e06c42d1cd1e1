package outbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/grantd/grantd/credential"
)

// A secret is secretPrefix and base64 of minSecret to maxSecret bytes, as
// Standard Webhooks has it.
const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

// NewSecret makes a signing secret of 256 random bits.
func NewSecret() credential.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return credential.NewSecret(secretPrefix + base64.StdEncoding.EncodeToString(b[:]))
}

// CheckSecret says what is wrong with a secret, without showing any of it.
func CheckSecret(s credential.Secret) error {
	text, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(b) < minSecret || len(b) > maxSecret {
		return fmt.Errorf("a signing secret is %q and the base64 of %d to %d random bytes; leave it out to have one made", secretPrefix, minSecret, maxSecret)
	}
	return nil
}

// message is what an end point is sent.
type message struct {
	id   string
	at   time.Time // of sending
	body []byte
}

// sign returns the webhook-signature header: one signature for each secret.
func (m *message) sign(secrets []credential.Secret) (string, error) {
	var all []string
	for _, s := range secrets {
		w, err := standardwebhooks.NewWebhook(s.Reveal())
		if err != nil {
			return "", errors.New("a signing secret is not base64") // the error may hold a part of it
		}
		one, err := w.Sign(m.id, m.at, m.body)
		if err != nil {
			return "", errors.New("signing failed")
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return "", errors.New("the end point has no signing secret")
	}
	return strings.Join(all, " "), nil
}

// body is what is sent of an event.
type body struct {
	Type      string   `json:"type"`
	Timestamp string   `json:"timestamp"` // when it happened
	Data      bodyData `json:"data"`
}

type bodyData struct {
	Account     string `json:"account,omitempty"` // tenant/id
	Tenant      string `json:"tenant,omitempty"`
	Integration string `json:"integration,omitempty"`
	State       string `json:"state,omitempty"` // of the account, after the event
	Reason      string `json:"reason,omitempty"`
	Generation  uint64 `json:"generation,omitempty"`
}

// TypeTest is the type of the message that a test sends.
const TypeTest = "webhook:test"

// encode returns the body for an event. The bytes are the same each time.
func encode(e *credential.Event) ([]byte, error) {
	b := body{Type: string(e.Type), Timestamp: e.At.UTC().Format(time.RFC3339Nano), Data: bodyData{
		Tenant: e.Ref.Tenant, Integration: e.Integration, State: string(stateAfter(e.Type)), Reason: e.Reason, Generation: e.Generation,
	}}
	if e.Ref.ID != "" {
		b.Data.Account = e.Ref.String()
	}
	return json.Marshal(b)
}

// stateAfter is the state that an event of this type leaves an account in;
// empty: the type does not tell.
func stateAfter(t credential.EventType) credential.State {
	switch t {
	case credential.EventCreated, credential.EventRefreshed, credential.EventReactivated:
		return credential.StateActive
	case credential.EventAuthError:
		return credential.StateNeedsReauth
	case credential.EventDisconnected:
		return credential.StateDisconnected
	}
	return ""
}
