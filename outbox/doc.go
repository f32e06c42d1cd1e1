// Package outbox delivers events to the end points that operators have
// registered: webhooks, signed as Standard Webhooks has it.
//
// It promises that
//   - every event that an end point wants, and that is committed while a group
//     has an owner now and then, is delivered at least once, or ends parked where
//     it can be seen and replayed; with the same id each time, on whatever node;
//   - the events of one account reach an end point in the order in which they
//     were committed: one that fails holds up the later ones of its account at
//     that end point, and nothing else;
//   - a slow or dead end point holds up no other, and costs no memory: what
//     waits, waits in the store;
//   - no answer of an end point is read beyond a bound, no redirect is followed,
//     and no secret appears in an error, a log or a delivery.
//
// It leaves to others who owns a group (Lead and Yield), how deliveries are
// replicated ([Store]), who the end points are ([Registry]) and which addresses
// may be reached (the http.RoundTripper). DESIGN.md says why it is as it is.
package outbox
