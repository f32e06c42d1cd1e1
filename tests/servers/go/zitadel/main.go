// Command zitadel is zitadel/oidc's own example server, with its own store and
// login page: refresh tokens rotate, and a replayed one is refused without harm
// to its grant. Added to it are clients, and access tokens that live as briefly
// as asked for. ../../README.md tells the settings.
package main

import (
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/grantd/grantd/tests/servers/go/internal/serve"
)

func main() {
	if err := serve.Run(newHandler); err != nil {
		log.Fatal("zitadel: ", err)
	}
}

func newHandler(s serve.Settings) (http.Handler, error) {
	issuer := s.Issuer + "/"
	storage.RegisterClients(
		storage.WebClient(clientBasic, s.ClientSecret, s.RedirectURI),
		storage.WebClient(clientPost, s.ClientSecret, s.RedirectURI),
		storage.NativeClient(clientPublic, s.RedirectURI),
	)
	inner := storage.NewStorage(storage.NewUserStore(issuer))
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return exampleop.SetupServer(issuer, newStore(inner, s.AccessTTL), logger, false), nil
}
