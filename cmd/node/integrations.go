package main

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/grantd/grantd/client"
	"github.com/grantd/grantd/wire"
)

func integrationsCommand() command {
	return command{
		name:  "integrations",
		short: "list, show, put and delete OAuth client registrations",
		sub:   []command{integrationsList(), integrationsShow(), integrationsPut(), integrationsDelete()},
	}
}

func integrationsList() command {
	return listCommand(command{
		name:  "list",
		short: "list integrations in order of id",
	}, func(c *client.Client, _ *input) listing[wire.Integration] {
		return listing[wire.Integration]{
			member: "integrations",
			header: []string{"INTEGRATION", "PROVIDER", "CLIENT ID", "STATE", "REASON", "SCOPES"},
			row: func(i wire.Integration) []string {
				return []string{i.ID, i.Provider, i.ClientID, i.State, i.Reason, words(i.Scopes)}
			},
			page: func(ctx context.Context, cursor string, limit int) ([]wire.Integration, string, error) {
				p, err := c.Integrations(ctx, cursor, limit)
				return p.Integrations, p.NextCursor, err
			},
		}
	})
}

func integrationsShow() command {
	var (
		conn   connection
		asJSON bool
	)
	return command{
		name:  "show",
		args:  []string{"ID"},
		short: "show one integration, without its secret",
		flags: func(fs *flag.FlagSet) { registerJSON(fs, &asJSON); conn.register(fs) },
		run: func(ctx context.Context, in *input) error {
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			i, err := c.Integration(ctx, in.arg(0))
			if err != nil {
				return err
			}
			return showIntegration(in, asJSON, i)
		},
	}
}

// putFlags are the flags of integrations put.
type putFlags struct {
	mcpURL                                  string
	provider, clientID, scopes, redirectURI string
	displayName, returnOrigins              string
	settings                                settings
	keyFile, generateKey, certificateFile   string
	secretStdin, asJSON                     bool
}

func integrationsPut() command {
	var (
		conn connection
		o    putFlags
	)
	return command{
		name:  "put",
		args:  []string{"ID"},
		short: "make an integration, or replace it",
		long: `The client secret is never taken from the command line. It comes from
$` + envClientSecret + `, from the first line of standard input with --secret-stdin, or is
asked for on a terminal. If none is given, an integration that exists keeps its own.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.mcpURL, "mcp-url", "", "`URL` of an MCP server, in place of provider and client id: all else is found out")
			fs.StringVar(&o.provider, "provider", "", "`id` in the catalogue (grantd providers list), or "+wire.ProviderCustom)
			fs.StringVar(&o.clientID, "client-id", "", "client `id` that the provider gave")
			fs.StringVar(&o.scopes, "scopes", "", "`scopes` to ask for, separated by commas")
			fs.StringVar(&o.redirectURI, "redirect-uri", "", "`uri` registered at the provider")
			fs.StringVar(&o.keyFile, "client-key-file", "", "`file` with the client's private key: PEM, a JWK, or the JSON file of a Google service account")
			fs.StringVar(&o.generateKey, "generate-key", "", "make a client key for `algorithm` RS256, PS256, ES256 or EdDSA; its public half is at /v1/integrations/ID/jwks.json")
			fs.StringVar(&o.certificateFile, "client-certificate-file", "", "`file` with the certificate of the client key, in PEM")
			fs.StringVar(&o.displayName, "display-name", "", "`name` of the product that asks, for the person who connects an account")
			fs.StringVar(&o.returnOrigins, "return-origins", "", "`origins` that people may be sent to afterwards, separated by commas")
			fs.Var(&o.settings, "set", "`field=value` replaces a field of the catalogue entry, such as token_url=https://...; may be repeated; a value that is JSON is taken as such")
			fs.BoolVar(&o.secretStdin, "secret-stdin", false, "read the client secret from standard input")
			registerJSON(fs, &o.asJSON)
			conn.register(fs)
		},
		run: func(ctx context.Context, in *input) error {
			n, err := o.integration(in)
			if err != nil {
				return err
			}
			c, err := conn.open(in)
			if err != nil {
				return err
			}
			i, err := c.PutIntegration(ctx, in.arg(0), n)
			if err != nil {
				return err
			}
			return showIntegration(in, o.asJSON, i)
		},
	}
}

// keyAndCertificate reads the files that hold them.
func (o *putFlags) keyAndCertificate() (key wire.Secret, certificate string, err error) {
	switch {
	case o.keyFile != "" && o.generateKey != "":
		return "", "", usagef("--client-key-file and --generate-key exclude each other")
	case o.generateKey != "":
		key = wire.Secret(wire.GenerateKey + ":" + o.generateKey)
	case o.keyFile != "":
		b, err := os.ReadFile(o.keyFile)
		if err != nil {
			return "", "", err
		}
		key = wire.Secret(b)
	}
	if o.certificateFile != "" {
		b, err := os.ReadFile(o.certificateFile)
		if err != nil {
			return "", "", err
		}
		certificate = string(b)
	}
	return key, certificate, nil
}

// integration puts together what is sent.
func (o *putFlags) integration(in *input) (wire.NewIntegration, error) {
	switch {
	case o.mcpURL != "" && o.provider != "":
		return wire.NewIntegration{}, usagef("--mcp-url and --provider exclude each other")
	case o.mcpURL == "" && o.provider == "":
		return wire.NewIntegration{}, usagef("--provider is missing, or --mcp-url in its place")
	case o.mcpURL == "" && o.clientID == "":
		return wire.NewIntegration{}, usagef("--client-id is missing")
	case o.settings.wrong != nil:
		return wire.NewIntegration{}, o.settings.wrong
	}
	key, certificate, err := o.keyAndCertificate()
	if err != nil {
		return wire.NewIntegration{}, err
	}
	from := secretFrom{env: envClientSecret, stdin: o.secretStdin, prompt: "client secret (empty: none, or keep the present one)"}
	if o.clientID == "" { // a client is found, with its secret
		from.prompt = ""
	}
	secret, err := in.secret(from)
	return wire.NewIntegration{
		ClientKey: key, ClientCertificate: certificate,
		MCPURL:       o.mcpURL,
		Provider:     o.provider,
		ClientID:     o.clientID,
		ClientSecret: secret,
		Scopes:       commaList(o.scopes),
		RedirectURI:  o.redirectURI,
		DisplayName:  o.displayName, ReturnOrigins: commaList(o.returnOrigins),
		Settings: o.settings.fields,
	}, err
}

func showIntegration(in *input, asJSON bool, i wire.Integration) error {
	secret := "none"
	if i.ClientSecretSet {
		secret = "stored"
	}
	rows := [][]string{
		{"integration", i.ID}, {"provider", i.Provider}, {"client id", i.ClientID}, {"client secret", secret},
		{"scopes", words(i.Scopes)}, {"redirect uri", i.RedirectURI},
		{"display name", i.DisplayName}, {"return origins", words(i.ReturnOrigins)}, {"state", i.State}, {"reason", i.Reason},
	}
	if m := i.MCP; m != nil {
		rows = append(rows, []string{"mcp server", m.URL}, []string{"mcp resource", m.Resource}, []string{"authorization server", m.AuthorizationServer}, []string{"client", m.Client})
	}
	for _, name := range slices.Sorted(maps.Keys(i.Settings)) {
		rows = append(rows, []string{name, string(i.Settings[name])})
	}
	return show(in.Stdout, asJSON, i, rows...)
}

func integrationsDelete() command {
	return deletion("delete an integration that no account depends on",
		func(id string) string { return "Delete the integration " + id + " and its client secret?" },
		(*client.Client).DeleteIntegration)
}

// settings is a flag.Value that collects field=value. What is wrong it keeps
// until it is asked for: package flag would repeat the value in its error, and
// the value may be a secret that does not belong here.
type settings struct {
	fields map[string]json.RawMessage
	wrong  error
}

// String is empty: there is no default to show.
func (s *settings) String() string { return "" }

// Set takes one field=value.
func (s *settings) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok || name == "":
		s.wrong = usagef("--set: write field=value")
	case name == "client_secret":
		s.wrong = usagef("--set: a client secret is never taken from the command line; put it into $%s", envClientSecret)
	case name == "scope_descriptions":
		s.wrong = usagef("--set: %s is not a field of the catalogue; send it with PUT /v1/integrations/{id}", name)
	case slices.Contains(wire.NewIntegrationFields(), name):
		s.wrong = usagef("--set: %s is not a field of the catalogue; use --%s", name, strings.ReplaceAll(name, "_", "-"))
	}
	raw := json.RawMessage(value)
	if !json.Valid(raw) {
		raw = wire.AppendString(nil, value)
	}
	if s.fields == nil {
		s.fields = map[string]json.RawMessage{}
	}
	s.fields[name] = raw
	return nil
}
