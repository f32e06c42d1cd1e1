package httpapi

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes the API in OpenAPI 3.1. It is written by hand: it
// is the contract, and a test holds the server to it.
//
//go:embed openapi.json
var openAPIDocument []byte

func (a *api) openAPI(x *exchange) error {
	h := x.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	x.WriteHeader(http.StatusOK)
	_, _ = x.Write(openAPIDocument)
	return nil
}
