// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestLearnedSecretIsListedWithoutItAndShownOnlyWhereItIsToBeRevealed(t *testing.T) {
	const token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
	for _, reveal := range []bool{false, true} {
		options := ""
		if reveal {
			options = "admin_reveal"
		}
		d := newDesk(t, nil, options, "verify notion {\n expect_secret board wiki\n}")
		list := func() []expectedSecret { return get[secretsView](d, "/relay/secrets").Secrets }
		if all := list(); len(all) != 2 || all[0].Name != "board" || all[0].Learned || all[1].Name != "wiki" || !all[0].LearnedAt.IsZero() {
			t.Errorf("before a handshake: %+v", all)
		}
		const board = "/relay/secrets/in/notion/board"
		refused := map[bool]int{false: http.StatusForbidden, true: http.StatusNotFound}[reveal]
		if status, answer := d.do(http.MethodGet, board, ""); status != refused {
			t.Errorf("before a handshake: %d %s", status, answer)
		}
		if w := serve(t, d.relay["in"], post("/in", `{"verification_token":"`+token+`"}`)); w.Code != http.StatusOK {
			t.Fatalf("the handshake got %d", w.Code)
		}
		if all := list(); !all[0].Learned || all[0].LearnedAt.IsZero() || all[1].Learned {
			t.Errorf("after a handshake: %+v", all)
		}
		if _, text := d.do(http.MethodGet, "/relay/secrets", ""); strings.Contains(text, token) {
			t.Errorf("the list shows the secret: %s", text)
		}
		switch status, answer := d.do(http.MethodGet, board, ""); {
		case !reveal && (status != http.StatusForbidden || !strings.Contains(answer, "admin_reveal") || strings.Contains(answer, token)):
			t.Errorf("not to be revealed: %d %s", status, answer)
		case reveal:
			var shown secretView
			if err := json.Unmarshal([]byte(answer), &shown); err != nil || shown.Secret == nil || *shown.Secret != token || !shown.Learned {
				t.Errorf("to be revealed: %d %s", status, answer)
			}
		}
		if logged(token) || reveal != logged(`action="reveal"`) {
			t.Error("the secret is in the log, or that it was revealed is not")
		}
		for _, none := range []string{"in/notion/other", "in/asana/board", "out/notion/board"} {
			if status, _ := d.do(http.MethodGet, "/relay/secrets/"+none, ""); status != refused {
				t.Errorf("%s: %d", none, status)
			}
		}
		d.stop()
	}
}

func TestSecretIsPrintedAlone(t *testing.T) {
	var out strings.Builder
	text := "secret_a"
	printSecret(&out, &secretView{Secret: &text})
	printSecret(&out, &secretView{SecretBase64: []byte{0xff, 0xfe}})
	if out.String() != "secret_a\n//4=\n" {
		t.Errorf("printed %q", out.String())
	}
}
