// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-relay/caddy-relay/relay/store/memory"
	"github.com/caddy-relay/caddy-relay/relay/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(_ testing.TB, now func() time.Time) storetest.Backend {
	return storetest.Backend{Store: memory.New(memory.Options{Now: now})}
}

func TestStore(t *testing.T) { storetest.Run(t, open) }

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }
