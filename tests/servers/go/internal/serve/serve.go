// Package serve holds what the authorization servers of this module have in
// common: settings from the environment, and a life that ends with the process
// that started them. What a server answers it leaves to them.
package serve

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Settings are what ../README.md says about the environment.
type Settings struct {
	Listen       string // host:port; port 0: any that is free
	Issuer       string // the server's own address, without a slash at its end
	RedirectURI  string // of every client
	ClientSecret string // of every confidential client
	AccessTTL    time.Duration
}

// FromEnv reads the settings.
func FromEnv() (Settings, error) {
	listen := env("LISTEN", "127.0.0.1:19101")
	seconds, err := strconv.Atoi(env("ACCESS_TOKEN_SECONDS", "5"))
	if err != nil || seconds < 1 {
		return Settings{}, fmt.Errorf("ACCESS_TOKEN_SECONDS is %q; give whole seconds, at least 1", os.Getenv("ACCESS_TOKEN_SECONDS"))
	}
	return Settings{
		Listen:       listen,
		Issuer:       env("ISSUER", "http://"+listen),
		RedirectURI:  env("REDIRECT_URI", "http://127.0.0.1:19999/callback"),
		ClientSecret: env("CLIENT_SECRET", "known-to-everybody-0123456789abcdef"),
		AccessTTL:    time.Duration(seconds) * time.Second,
	}, nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Run makes a handler from the settings and serves it until standard input
// ends. It prints "listening ADDR" once it can be asked.
func Run(newHandler func(Settings) (http.Handler, error)) error {
	settings, err := FromEnv()
	if err != nil {
		return err
	}
	handler, err := newHandler(settings)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", settings.Listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stopped <- srv.Close() // not Shutdown, which waits for connections that nobody has used yet
	}()
	fmt.Println("listening", ln.Addr())
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
