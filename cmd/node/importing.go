package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/grantd/grantd/wire"
)

// maxImport bounds what is read from standard input; the API takes no more.
const maxImport = 1 << 20

// importFlags are the flags of import.
type importFlags struct {
	integration, kind, scopes, username string
	expiresIn                           int64
	asJSON                              bool
}

func importCommand() command {
	var (
		conn connection
		o    importFlags
	)
	return command{
		name:  "import",
		args:  []string{"[TENANT[/ID]]"},
		short: "bring in one account with credentials obtained elsewhere",
		long: `Without an argument the account is read from standard input: the JSON body of
POST /v1/accounts, {tenant, id, integration, credentials: {type, ...}}; flags
replace what stands there.
With an argument, secrets come from the environment (` + envRefreshToken + `,
` + envAccessToken + `, ` + envAPIKey + `, ` + envPassword + `) or are asked for on a
terminal, never from the command line. Without an ID the server makes one.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.integration, "integration", "", "`id` of the integration that the credentials belong to")
			fs.StringVar(&o.kind, "type", wire.TypeOAuth2, "`type` of the credentials: oauth2, client_credentials, api_key or basic")
			fs.StringVar(&o.scopes, "scopes", "", "`scopes` of the grant, separated by commas")
			fs.StringVar(&o.username, "username", "", "`user` name, for basic")
			fs.Int64Var(&o.expiresIn, "expires-in", 0, "remaining lifetime of the access token in `seconds`")
			registerJSON(fs, &o.asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			account, err := o.account(in)
			if err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			a, err := c.CreateAccount(ctx, account)
			if err != nil {
				return err
			}
			return showAccount(in, o.asJSON, a)
		},
	}
}

// account puts together what is sent.
func (o *importFlags) account(in *input) (wire.NewAccount, error) {
	var a wire.NewAccount
	name := in.arg(0)
	switch {
	case name == "" && in.StdinTerminal:
		return a, usagef("TENANT is missing, and nothing is piped in")
	case name == "":
		if err := readImport(in.Stdin, &a); err != nil {
			return a, err
		}
	default:
		tenant, id, slash := strings.Cut(name, "/")
		if tenant == "" || slash && id == "" || strings.Contains(id, "/") {
			return a, usagef("%q names neither a tenant nor an account; write tenant or tenant/id", name)
		}
		a.Tenant, a.ID = tenant, id
	}
	if o.integration != "" {
		a.Integration = o.integration
	}
	if a.Credentials.Type == "" || in.set["type"] {
		a.Credentials.Type = o.kind
	}
	if o.scopes != "" {
		a.Credentials.Scopes = commaList(o.scopes)
	}
	if in.set["expires-in"] {
		a.Credentials.ExpiresIn = &o.expiresIn
	}
	if o.username != "" {
		a.Credentials.Username = o.username
	}
	if err := checkImportTarget(a); err != nil {
		return a, err
	}
	if name != "" {
		if err := in.readCredentials(&a.Credentials); err != nil {
			return a, err
		}
	}
	return a, checkImportSecrets(a.Credentials)
}

// readImport reads one JSON object, strictly: a misspelt field would be a
// secret that is lost.
func readImport(r io.Reader, a *wire.NewAccount) error {
	dec := json.NewDecoder(io.LimitReader(r, maxImport))
	dec.DisallowUnknownFields()
	if err := dec.Decode(a); err != nil {
		return fmt.Errorf("standard input is not an account in JSON: %s", jsonProblem(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("standard input holds more than one account; import takes one")
	}
	return nil
}

// jsonProblem describes an error of encoding/json without the text that was
// read, which may be a secret.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it breaks off at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %s must be of type %s", kind.Field, kind.Type.Kind())
	case errors.Is(err, io.EOF):
		return "it is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	}
	return "it has a field that is unknown or cannot be read; the fields are tenant, id, integration and credentials"
}

// readCredentials takes the secrets that the type needs from the environment
// or from a person.
func (in *input) readCredentials(c *wire.Credentials) (err error) {
	read := func(into *wire.Secret, env, prompt string) {
		if err == nil {
			*into, err = in.secret(secretFrom{env: env, prompt: prompt})
		}
	}
	switch c.Type {
	case wire.TypeOAuth2:
		read(&c.RefreshToken, envRefreshToken, "refresh token (empty: none)")
		read(&c.AccessToken, envAccessToken, "access token (empty: none)")
	case wire.TypeAPIKey:
		read(&c.APIKey, envAPIKey, "API key")
	case wire.TypeBasic:
		read(&c.Password, envPassword, "password")
	}
	return err
}

// checkImportTarget finds what is missing before anybody is asked for a secret.
func checkImportTarget(a wire.NewAccount) error {
	kinds := []string{wire.TypeOAuth2, wire.TypeClientCredentials, wire.TypeAPIKey, wire.TypeBasic}
	switch {
	case a.Tenant == "":
		return usagef("tenant is missing")
	case a.Integration == "":
		return usagef("--integration is missing")
	case !slices.Contains(kinds, a.Credentials.Type):
		return usagef("--type %q is not one of %s", a.Credentials.Type, strings.Join(kinds, ", "))
	}
	return nil
}

// checkImportSecrets finds what is missing before anything is sent.
func checkImportSecrets(c wire.Credentials) error {
	switch {
	case c.Type == wire.TypeOAuth2 && c.AccessToken == "" && c.RefreshToken == "":
		return usagef("no token; set $%s, $%s or both", envRefreshToken, envAccessToken)
	case c.Type == wire.TypeAPIKey && c.APIKey == "":
		return usagef("no API key of the provider; set $%s", envAPIKey)
	case c.Type == wire.TypeBasic && (c.Username == "" || c.Password == ""):
		return usagef("type %s needs --username and a password in $%s", wire.TypeBasic, envPassword)
	}
	return nil
}
