// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestExpectedSecretsAreListedWithoutThem(t *testing.T) {
	const token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
	h, r := relayBlock(t, newUpstream(t, nil), "memory", "verify notion {\n expect_secret board wiki\n}")
	list := func() (text string, all []ExpectedSecret) {
		t.Helper()
		all, err := r.app.ExpectedSecrets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), all
	}
	if _, all := list(); len(all) != 2 || all[0].Name != "board" || all[0].Learned || all[1].Name != "wiki" || !all[0].LearnedAt.IsZero() {
		t.Errorf("before a handshake: %+v", all)
	}
	if _, err := r.app.LearnedSecret(t.Context(), h.Name, "notion", "board"); !errors.Is(err, ErrNotLearned) {
		t.Errorf("before a handshake: %v", err)
	}
	if w := serve(t, h, post("/in", `{"verification_token":"`+token+`"}`)); w.Code != 200 {
		t.Fatalf("the handshake got %d", w.Code)
	}
	text, all := list()
	if !all[0].Learned || all[0].LearnedAt.IsZero() || all[1].Learned {
		t.Errorf("after a handshake: %+v", all)
	}
	if strings.Contains(text, token) || logged(token) {
		t.Errorf("the list or the log shows the secret: %s", text)
	}
	if got, err := r.app.LearnedSecret(t.Context(), h.Name, "notion", "board"); err != nil || string(got) != token {
		t.Errorf("revealed %q, %v", got, err)
	}
	if _, err := r.app.LearnedSecret(t.Context(), h.Name, "notion", "other"); !errors.Is(err, ErrNotExpected) {
		t.Errorf("of another name: %v", err)
	}
}
