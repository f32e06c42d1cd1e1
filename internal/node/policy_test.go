package node

import (
	"reflect"
	"testing"

	"github.com/grantd/grantd/actors"
	"github.com/grantd/grantd/internal/config"
)

func TestDocumentedDefaultsOfRefreshingAreThoseInForce(t *testing.T) {
	documented, inForce := policy(config.Default().Refresh), actors.Policy{}.WithDefaults()
	d, f := reflect.ValueOf(documented), reflect.ValueOf(inForce)
	for i := range d.NumField() {
		if name := d.Type().Field(i).Name; !d.Field(i).IsZero() && !d.Field(i).Equal(f.Field(i)) {
			t.Errorf("%s: the configuration says %v, the actors use %v", name, d.Field(i), f.Field(i))
		}
	}
}
