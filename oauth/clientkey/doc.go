// Package clientkey reads, makes and uses the private keys by which an OAuth
// client proves who it is: those of signed assertions (RFC 7523), of proofs of
// possession (RFC 9449) and of certificates (RFC 8705).
//
// It promises that what it signs is signed by a key of sufficient strength with
// an asymmetric algorithm, that no error shows a part of a key, and that a key
// is read the same way when it is given and when it is used.
//
// It leaves to others what is said in an assertion, where keys are kept, and
// who may use them. It never uses the network.
package clientkey
