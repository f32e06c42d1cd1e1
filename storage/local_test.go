package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestLocalRecordSurvivesAPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := openOn(t, fs).Local()
	if v, err := l.Load("membership"); v != nil || err != nil {
		t.Errorf("Load of a record never saved = %q, %v", v, err)
	}
	for _, v := range []string{"one", "two", ""} {
		if err := l.Save("membership", []byte(v)); err != nil {
			t.Fatalf("Save: %v", err)
		}
		after := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{})).Local()
		if got, err := after.Load("membership"); string(got) != v || got == nil || err != nil {
			t.Errorf("after a power cut Load = %q, %v; want %q", got, err, v)
		}
		if got, err := after.Load("member"); got != nil || err != nil {
			t.Errorf("Load of another record = %q, %v", got, err)
		}
	}
}

func TestLocalRecordsAreApartFromJournalAndGroups(t *testing.T) {
	db := openMem(t)
	if err := db.Local().Save("x", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Journal().Get("x"); err == nil {
		t.Error("the journal shows a local record")
	}
	err := db.Journal().Each(func(key string, _ []byte) (bool, error) {
		t.Errorf("the journal lists %q", key)
		return true, nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := db.Journal().Put("x", []byte("other")); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Local().Load("x"); string(v) != "mine" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
}
