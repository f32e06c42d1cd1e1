package registry

import (
	"context"
	"strings"
	"sync"

	"github.com/grantd/grantd/catalog"
	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/envelope"
	"github.com/grantd/grantd/oauth/clientkey"
)

// GenerateKey in place of a client key makes one: "generate", or with an
// algorithm of clientkey.Algorithms, "generate:ES256". Alone it is RS256, which
// all servers know.
const GenerateKey = "generate"

// Keys are an integration's private keys, ready for use. Each may be nil.
type Keys struct {
	Client      *clientkey.Key
	Certificate *clientkey.Certificate // with the key Client
	DPoP        *clientkey.Key
}

// sealedKeys are the private keys as they are stored, each with the version of
// the integration under which it was sealed.
type sealedKeys struct {
	client, dpop               credential.Sealed
	clientVersion, dpopVersion uint64
}

// openedKeys holds the keys once they were opened: reading a key takes longer
// than a whole refresh. It belongs to one version of an integration.
type openedKeys struct {
	mu   sync.Mutex
	done bool
	keys Keys
}

func (in *Integration) keyLabel(f credential.Field, version uint64) credential.Label {
	return credential.Label{Tenant: envelope.SystemTenant, Account: in.ID, Field: f, Generation: version}
}

// ClientKeys opens the integration's private keys. Keys that there are not are
// nil. They are opened once for each version of the integration.
func (r *Registry) ClientKeys(ctx context.Context, in *Integration) (Keys, error) {
	if in.opened == nil || len(in.keys.client) == 0 && len(in.keys.dpop) == 0 {
		return Keys{}, nil
	}
	in.opened.mu.Lock()
	defer in.opened.mu.Unlock()
	if in.opened.done {
		return in.opened.keys, nil
	}
	var k Keys
	var err error
	if k.Client, err = r.openKey(ctx, in.keyLabel(credential.FieldClientKey, in.keys.clientVersion), in.keys.client); err != nil {
		return Keys{}, err
	}
	if k.DPoP, err = r.openKey(ctx, in.keyLabel(credential.FieldDPoPKey, in.keys.dpopVersion), in.keys.dpop); err != nil {
		return Keys{}, err
	}
	if in.Certificate != "" {
		if k.Certificate, err = clientkey.ParseCertificate(in.Certificate, k.Client); err != nil {
			return Keys{}, err
		}
	}
	in.opened.keys, in.opened.done = k, true
	return k, nil
}

func (r *Registry) openKey(ctx context.Context, label credential.Label, sealed credential.Sealed) (*clientkey.Key, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	text, err := r.sealer.Open(ctx, label, sealed)
	if err != nil {
		return nil, err
	}
	return clientkey.Parse(text)
}

// givenKey is the client key that an operator gave or asked for, checked with
// its certificate; empty: the stored one stays.
func givenKey(spec IntegrationSpec) (credential.Secret, error) {
	text := spec.ClientKey
	if asked, algorithm, _ := strings.Cut(text.Reveal(), ":"); asked == GenerateKey {
		if spec.Certificate != "" {
			return text, invalid("client_certificate cannot belong to a key that is yet to be made; give both")
		}
		if algorithm == "" {
			algorithm = "RS256"
		}
		return clientkey.Generate(algorithm)
	}
	if text.IsZero() {
		return text, nil
	}
	k, err := clientkey.Parse(text)
	if err == nil && spec.Certificate != "" {
		_, err = clientkey.ParseCertificate(spec.Certificate, k)
	}
	return text, err
}

// sealKeys gives the integration its keys: the given one, or those that it had,
// and one for DPoP where its provider wants it. That one is never replaced:
// refresh tokens are bound to it.
func (r *Registry) sealKeys(ctx context.Context, in, old *Integration, given credential.Secret) error {
	in.opened = &openedKeys{}
	if old != nil {
		in.keys = old.keys
		if in.Certificate == "" && given.IsZero() {
			in.Certificate = old.Certificate
		}
	}
	if !given.IsZero() {
		in.keys.clientVersion = in.Version
		var err error
		if in.keys.client, err = r.sealer.Seal(ctx, in.keyLabel(credential.FieldClientKey, in.Version), given); err != nil {
			return err
		}
	}
	in.HasKey = len(in.keys.client) > 0
	if in.Facts.DPoP == catalog.DPoPRequired && len(in.keys.dpop) == 0 {
		made, err := clientkey.Generate("ES256")
		if err != nil {
			return err
		}
		in.keys.dpopVersion = in.Version
		if in.keys.dpop, err = r.sealer.Seal(ctx, in.keyLabel(credential.FieldDPoPKey, in.Version), made); err != nil {
			return err
		}
	}
	if in.Certificate == "" || !given.IsZero() {
		return nil // givenKey has compared them
	}
	k, err := r.openKey(ctx, in.keyLabel(credential.FieldClientKey, in.keys.clientVersion), in.keys.client)
	if err == nil {
		_, err = clientkey.ParseCertificate(in.Certificate, k)
	}
	return err
}
