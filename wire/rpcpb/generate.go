// Package rpcpb holds the generated messages of rpc.proto, the actor RPC. Some
// of them hold secrets, which String of generated code prints: no message is
// ever given to fmt, to a log or to an error.
package rpcpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative rpc.proto
