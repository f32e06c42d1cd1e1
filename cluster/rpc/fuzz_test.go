package rpc

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/grantd/grantd/credential"
	"github.com/grantd/grantd/wire/rpcpb"
)

// nobody answers everything with nothing.
type nobody struct{}

func (nobody) Token(context.Context, credential.Ref, time.Duration) (credential.Token, error) {
	return credential.Token{}, nil
}
func (nobody) ReplicaToken(context.Context, credential.Ref, time.Duration) (credential.Token, error) {
	return credential.Token{}, nil
}
func (nobody) Refresh(context.Context, credential.Ref, *uint64) (credential.Account, error) {
	return credential.Account{}, nil
}
func (nobody) Import(context.Context, credential.Import) (credential.Account, bool, error) {
	return credential.Account{}, true, nil
}
func (nobody) Disconnect(context.Context, credential.Ref) (credential.Account, error) {
	return credential.Account{}, nil
}
func (nobody) Account(context.Context, credential.Ref) (credential.Account, error) {
	return credential.Account{}, nil
}
func (nobody) Accounts(context.Context, credential.Query) (credential.Page, error) {
	return credential.Page{}, nil
}
func (nobody) ShardAccounts(context.Context, int, credential.Query) (credential.Page, error) {
	return credential.Page{}, nil
}
func (nobody) History(context.Context, credential.Ref, uint64, int) (credential.History, error) {
	return credential.History{}, nil
}
func (nobody) Offer(context.Context, []byte) (bool, error)                 { return false, credential.ErrNotOwner }
func (nobody) Fate(credential.FateQuery) credential.Fate                   { return credential.Fate{} }
func (nobody) Put(context.Context, string, uint64, []byte) (uint64, error) { return 0, nil }
func (nobody) PutAndTell(context.Context, string, uint64, []byte, []credential.Event) (uint64, error) {
	return 0, nil
}
func (nobody) Emit(context.Context, ...credential.Event) error                       { return nil }
func (nobody) Delete(context.Context, string, uint64) error                          { return credential.ErrNotOwner }
func (nobody) Join(context.Context, string, []byte) ([]byte, error)                  { return nil, nil }
func (nobody) Promise(context.Context, string, []byte) ([]byte, error)               { return nil, nil }
func (nobody) Release(context.Context, string, []byte) ([]byte, error)               { return nil, nil }
func (nobody) Status(context.Context, []uint16) ([]GroupStatus, error)               { return nil, nil }
func (nobody) Authenticate(string) (Key, bool)                                       { return nobody{}, true }
func (nobody) Can(string) bool                                                       { return true }
func (nobody) SeesAccount(credential.Ref) bool                                       { return true }
func (nobody) EveryAccount() bool                                                    { return false }
func (nobody) Agent() (string, string)                                               { return "bot", "k1" }
func (nobody) NoteHandout(context.Context, credential.Ref, credential.Handout) error { return nil }
func (nobody) SeesTenant(string) bool                                                { return true }
func (nobody) SeesIntegration(string) bool                                           { return true }
func (nobody) Scope() (string, bool)                                                 { return "acme", false }
func (nobody) Deliveries(context.Context, uint16, []byte) ([]byte, error)            { return nil, nil }

func (nobody) Replay(context.Context, uint16, []byte) ([]byte, error) { return nil, nil }

func (nobody) Outbox(context.Context, uint16, credential.EventPos, int, time.Duration) (OutboxPage, error) {
	return OutboxPage{}, nil
}

// FuzzAnyRequestIsAnswered also shows that nothing in a message makes the
// server panic: the fuzzer would see it.
func FuzzAnyRequestIsAnswered(f *testing.F) {
	kinds := (&rpcpb.Request{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		req := &rpcpb.Request{Id: 1}
		req.ProtoReflect().Mutable(kinds.Get(i))
		b, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	role := ""
	s := &Server{cfg: ServerConfig{
		Node: "n1", Logger: slog.New(slog.DiscardHandler),
		Identify: func(context.Context) (string, string, bool) { return role, "n2", true },
	}}
	v := Services{
		Owned: nobody{}, Fates: nobody{}, KV: nobody{}, Founding: nobody{}, Status: nobody{}, Outboxes: nobody{}, Webhooks: nobody{}, Routed: nobody{}, Keys: nobody{},
		HasIntegration: func(string) bool { return true },
		Leader:         func(credential.Ref) (string, uint64) { return "n3", 1 },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := &rpcpb.Request{}
		if proto.Unmarshal(b, req) != nil {
			return
		}
		for _, services := range []Services{{}, v} {
			s.Provide(services)
			for _, role = range []string{RoleNode, RoleClient} {
				m := s.handle(t.Context(), req)
				if m == nil || m.GetKind() == nil {
					t.Fatalf("a %T of a %s was not answered", req.GetKind(), role)
				}
				if e := m.GetError(); e != nil {
					if e.GetCode() == 0 || decodeError("n1", e) == nil {
						t.Fatalf("an error without a code")
					}
				}
			}
		}
	})
}
