package httpapi

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
)

// uiFiles is the dashboard: one page, its style and its script. It knows no
// more than the API tells to the key that its user types in.
//
//go:embed ui
var uiFiles embed.FS

// uiPolicy lets the page load its own files, ask its own server, and nothing else.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func uiTypes(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// page answers GET /ui/ and the files beside it.
func (a *api) page(x *exchange) error {
	name := x.r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	content, err := fs.ReadFile(uiFiles, "ui/"+name)
	if err != nil {
		return &problem{kind: kindNotFound, detail: detailNoRoute}
	}
	h := x.Header()
	h.Set("Content-Type", uiTypes(name))
	h.Set("Content-Security-Policy", uiPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	x.WriteHeader(http.StatusOK)
	_, _ = x.Write(content)
	return nil
}

// toPage sends a browser that has come to the front door to the dashboard.
func (a *api) toPage(x *exchange) error {
	x.Header().Set("Location", "/ui/")
	x.WriteHeader(http.StatusSeeOther)
	return nil
}
