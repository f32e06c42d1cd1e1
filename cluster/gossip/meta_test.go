package gossip

import (
	"reflect"
	"strings"
	"testing"
)

func TestMetadataComesBackAsItWas(t *testing.T) {
	long := strings.Repeat("x", 80)
	for _, m := range []Meta{
		{Boot: "b"},
		{Boot: "b", Cluster: "c"},
		{Boot: "0192f0c4", RPC: "[2001:db8::1]:7947", HTTP: "n1.example.com:8431", Version: "v1.2.3-rc1+4", DataID: "Zürich", Cluster: "c"},
		{Boot: long, RPC: long, HTTP: long, Version: long, DataID: long, Cluster: long},
	} {
		b, err := m.encode()
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		if got, err := decodeMeta(b); err != nil || got != m {
			t.Errorf("%+v comes back as %+v, %v", m, got, err)
		}
	}
}

func TestMetadataThatIsTooLongOrNotPrintableIsRefused(t *testing.T) {
	big := strings.Repeat("x", 200)
	for _, m := range []Meta{{}, {RPC: "a:1"}, {Boot: "b", RPC: big + big}, {Boot: big, RPC: big, HTTP: big}, {Boot: "a\nb"}, {Boot: "b", HTTP: "\xff"}} {
		if b, err := m.encode(); err == nil {
			t.Errorf("%+v is encoded in %d bytes", m, len(b))
		}
	}
}

// TestMetadataOfANewerVersionIsRead: it has fields that this one does not know.
func TestMetadataOfANewerVersionIsRead(t *testing.T) {
	m := Meta{Boot: "b", Cluster: "c"}
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	b = appendString(append(b, 77), "anything \x00\xff at all")
	b = appendString(append(b, 255), "")
	if got, err := decodeMeta(b); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGarbageIsNoMetadata(t *testing.T) {
	for _, b := range []string{
		"", "\x00", "\x01", "\x02\x01\x01b", "\x01\x01", "\x01\x01\x05b", "\x01\x00\x01b\x01\x01b", "\x01\x01\x01b\x02",
		"\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01b", "\x01\x01\x01\xff", "\x01\x01\x02a\n", "hello",
		"\x01\x01\x01b" + strings.Repeat("\x07\x00", 300),
	} {
		if m, err := decodeMeta([]byte(b)); err == nil {
			t.Errorf("%q is read as %+v", b, m)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	seed, _ := Meta{Boot: "b", RPC: "a:1", Cluster: "c"}.encode()
	f.Add(seed)
	f.Add([]byte("\x01\x01\x01b\x63\x02xy"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("%+v was read from %q and cannot be written: %v", m, b, err)
		}
		if got, err := decodeMeta(again); err != nil || got != m {
			t.Errorf("%+v comes back as %+v, %v", m, got, err)
		}
	})
}

func TestNotesComeBackAsTheyWere(t *testing.T) {
	for _, notes := range [][]note{nil, {{"n1", "b1"}}, {{"n1", "b1"}, {"n2", ""}, {"n3", strings.Repeat("x", 255)}}} {
		if got, err := decodeNotes(encodeNotes(notes)); err != nil || !reflect.DeepEqual(got, notes) {
			t.Errorf("%v come back as %v, %v", notes, got, err)
		}
	}
	many := make([]note, maxNotes+5)
	if got, err := decodeNotes(encodeNotes(many)); err != nil || len(got) != maxNotes {
		t.Errorf("of %d notes %d come back, %v", len(many), len(got), err)
	}
}

func FuzzNotes(f *testing.F) {
	f.Add(encodeNotes([]note{{"n1", "b1"}, {"n2", "b2"}}))
	f.Add([]byte("\x01\xff\xff"))
	f.Add([]byte("\x01" + strings.Repeat("\x00", 3*maxNotes)))
	f.Fuzz(func(t *testing.T, b []byte) {
		notes, err := decodeNotes(b)
		if err != nil {
			return
		}
		if got, err := decodeNotes(encodeNotes(notes)); err != nil || !reflect.DeepEqual(got, notes) {
			t.Errorf("%v come back as %v, %v", notes, got, err)
		}
	})
}
