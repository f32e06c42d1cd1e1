// Package storagepb holds the generated messages of storage.proto. Only
// package storage uses them; everybody else sees its Go types.
package storagepb

//go:generate protoc --go_out=. --go_opt=paths=source_relative storage.proto
