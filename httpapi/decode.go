package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxBody is the largest request body in bytes.
	maxBody = 1 << 20
	// maxDrain is how much of a body that is too large is read and thrown away,
	// so that a client that is still sending gets to see the answer.
	maxDrain = 16 << 20
	// drainTime is how long that may take.
	drainTime = 5 * time.Second
)

// readBody reads the request's whole body and checks its declared form.
// An empty body is nil.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &problem{kind: kindMediaType, detail: "Compressed bodies are not taken. Send the body without Content-Encoding."}
	}
	if r.ContentLength > maxBody {
		drain(w, r)
		return nil, tooLarge()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &problem{kind: kindInvalid, detail: "The body ended too early or could not be read. Send it again, whole.", cause: err}
	}
	if len(body) > maxBody {
		drain(w, r)
		return nil, tooLarge()
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, checkMediaType(r.Header.Get("Content-Type"))
}

func tooLarge() *problem {
	return &problem{kind: kindTooLarge, detail: "The body is larger than 1 MiB (1048576 bytes), the most that is taken."}
}

func drain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if r.ContentLength > maxDrain {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime)) // not every writer can; then the server's timeouts hold
	_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
}

// checkMediaType takes application/json, and a body of unnamed type for it.
func checkMediaType(contentType string) error {
	if contentType == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	charset := params["charset"]
	if err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return &problem{kind: kindMediaType, detail: "Bodies are JSON in UTF-8. Send it with the header Content-Type: application/json."}
}

// decode reads the JSON object in data into the struct that into points to,
// strictly: names exactly as documented, none twice, none unknown, every value
// of its type, nothing behind the object. What it returns is a *problem that
// says where; it never repeats a value.
func decode(data []byte, into any) error {
	if err := checkShape(data, reflect.TypeOf(into).Elem(), false); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return invalid("The body does not decode: %s", typeErrorPlace(err))
	}
	return nil
}

// decodeOpen is decode for an object that takes further members beside those
// of the struct, and returns them.
func decodeOpen(data []byte, into any) (map[string]json.RawMessage, error) {
	typ := reflect.TypeOf(into).Elem()
	if err := checkShape(data, typ, true); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, invalid("The body does not decode: %s", typeErrorPlace(err))
	}
	var rest map[string]json.RawMessage
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, invalid("The body is not a JSON object.")
	}
	for name := range fieldsOf(typ) {
		delete(rest, name)
	}
	return rest, nil
}

// typeErrorPlace tells which field did not decode, without its value.
func typeErrorPlace(err error) string {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return "field " + te.Field + " has the wrong type"
	}
	return err.Error()
}

// checkShape walks through data before anything is decoded. open lets unknown
// members of the outermost object pass.
func checkShape(data []byte, typ reflect.Type, open bool) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return invalid("The body is empty. Send a JSON object.")
	}
	if !utf8.Valid(data) {
		return invalid("The body is not valid UTF-8. Send JSON in UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	w := shapeWalker{dec: dec, data: data, open: open}
	if err := w.value(typ, "", 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("There is more behind the JSON object, at %s. Send one object only.", place(data, dec.InputOffset()))
	}
	if !json.Valid(data) { // the token reader lets a few things pass
		return invalid("The body is not JSON.")
	}
	if at := loneSurrogate(data); at >= 0 {
		return invalid("A string holds half of a surrogate pair, at %s. Write the whole character.", place(data, int64(at)))
	}
	return nil
}
